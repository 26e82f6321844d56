// Fields for texts and numbers.

import { el } from "./dom.js";
import { whenEmpty } from "./empty.js";
import { format, number } from "./exact.js";
import { checked, labelled, titleOf } from "./field.js";
import { numberProblem, size, textProblem } from "./limits.js";

// lines are the formats of which a text is never longer than a line: the input's
// type, and the keyboard of a phone. The browser's own ideas of an address or an
// e-mail address are stricter than JSON Schema's, and not used.
const lines = {
  date: { type: "date" }, password: { type: "password" },
  email: { inputmode: "email" }, "idn-email": { inputmode: "email" }, uri: { inputmode: "url" }, url: { inputmode: "url" }, iri: { inputmode: "url" },
  "date-time": { placeholder: "2026-01-31T12:00:00Z" }, time: { placeholder: "12:00:00Z" },
};

export function textField(spec) {
  const { schema, initial } = spec;
  const numeric = schema.type !== "string";
  const input = numeric ? numberInput(schema) : textInput(schema, initial);
  if (Array.isArray(schema.examples) && schema.examples.length > 0) input.placeholder = typeof schema.examples[0] === "string" ? schema.examples[0] : format(schema.examples[0]);
  if (typeof initial === "string") input.value = initial;
  else if (initial !== undefined && initial !== null) input.value = format(initial);
  const mayBeEmpty = !numeric && ((schema.format !== "date" && !(size(schema.minLength) > 0)) || initial === "");
  const empty = whenEmpty(spec, titleOf(spec), mayBeEmpty ? "" : undefined, () => show());
  const show = () => {
    input.required = empty.needed();
    if (empty.element) empty.element.hidden = input.value !== "";
  };
  checked(input, numeric ? numberProblem(schema) : textProblem(schema));
  input.addEventListener("input", show);
  show();
  return {
    element: labelled(spec, input, { type: numeric ? schema.type : undefined, aside: empty.element }),
    read: () => (input.value === "" ? empty.read() : numeric ? number(input.value) : input.value),
  };
}

// numberInput has no step: the browser would count it from the minimum.
function numberInput({ minimum, maximum }) {
  const limit = (value) => (value === undefined ? undefined : format(value));
  return el("input", { type: "number", step: "any", min: limit(minimum), max: limit(maximum), autocomplete: "off" });
}

function textInput({ format: kind, maxLength }, initial) {
  const line = Object.hasOwn(lines, kind ?? "") ? lines[kind] : undefined;
  const fitting = kind !== "date" || initial === undefined || initial === null || /^\d{4}-\d\d-\d\d$/.test(initial);
  if (line && fitting && !/[\r\n]/.test(initial ?? "")) return el("input", { type: "text", ...line, autocomplete: "off" });
  return el("textarea", { rows: size(maxLength) > 200 || kind === "textarea" ? 3 : 1, autocomplete: "off", dir: "auto" });
}
