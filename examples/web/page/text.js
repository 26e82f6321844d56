// Fields for texts and numbers.

import { el } from "./dom.js";
import { whenEmpty } from "./empty.js";
import { format, isNumber, number } from "./exact.js";
import { checked, labelled, titleOf } from "./field.js";
import { numberProblem, size, textProblem } from "./limits.js";
import { text } from "./schema.js";

// lines are the formats of which a text is never longer than a line: the input's
// type, and the keyboard of a phone. The browser's own ideas of an address or an
// e-mail address are stricter than JSON Schema's, and not used.
const lines = {
  date: { type: "date" }, password: { type: "password" },
  email: { inputmode: "email" }, "idn-email": { inputmode: "email" }, uri: { inputmode: "url" }, url: { inputmode: "url" }, iri: { inputmode: "url" },
  "date-time": { placeholder: "2026-01-31T12:00:00Z" }, time: { placeholder: "12:00:00Z" },
};

// textField is undefined for a number that no field can hold.
export function textField(spec) {
  const { schema, initial } = spec;
  const numeric = schema.type !== "string";
  const value = initial === undefined || initial === null ? "" : typeof initial === "string" ? initial : format(initial);
  let input = numeric ? numberInput(schema) : textInput(schema);
  if (!holds(input, value)) {
    if (numeric) return undefined;
    input = textArea(schema);
    input.value = value;
  }
  const begun = input.value;
  const [example] = Array.isArray(schema.examples) ? schema.examples : [];
  if (example !== undefined) input.placeholder = text(example);
  const mayBeEmpty = !numeric && ((schema.format !== "date" && !(size(schema.minLength) > 0)) || initial === "");
  const empty = whenEmpty(spec, titleOf(spec), mayBeEmpty ? "" : undefined, () => show());
  const show = () => {
    input.required = empty.needed();
    if (empty.element) empty.element.hidden = input.value !== "";
  };
  checked(input, numeric ? numberProblem(schema) : textProblem(schema));
  input.addEventListener("input", show);
  show();
  const read = () => {
    if (input.value === "") return empty.read();
    if (input.value === begun) return initial; // as it was, with its line ends
    return numeric ? number(input.value) : input.value;
  };
  return { element: labelled(spec, input, { type: numeric ? schema.type : undefined, aside: empty.element }), read };
}

// holds puts a value into an input, and reports whether it is shown as it is: a date
// field shows dates only, and a line has no line ends.
function holds(input, value) {
  input.value = value;
  return input.value === value.replace(/\r\n?/g, "\n");
}

// numberInput has no step: the browser would count it from the minimum.
function numberInput({ minimum, maximum }) {
  const limit = (value) => (isNumber(value) ? format(value) : undefined);
  return el("input", { type: "number", step: "any", min: limit(minimum), max: limit(maximum), autocomplete: "off" });
}

function textInput(schema) {
  const line = Object.hasOwn(lines, String(schema.format)) && lines[schema.format];
  return line ? el("input", { type: "text", ...line, autocomplete: "off" }) : textArea(schema);
}

function textArea({ maxLength, format: kind }) {
  return el("textarea", { rows: size(maxLength) > 200 || kind === "textarea" ? 3 : 1, autocomplete: "off", dir: "auto" });
}
