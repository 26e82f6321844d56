// The fields of a form. A field is { element, read }, and read returns undefined
// where nothing is sent. Each is made of a spec:
//
//   schema    resolved, see schema.js
//   name      of the member, shown where the schema has no title
//   required  whether something has to be sent
//   initial   the value to begin with; given, if it is no default
//   root      the whole schema, for references
//   depth     how many objects and lists are around it
//   budget    { left }, the parts that may still be built without a click
//   hideLabel for what is in a list, where a number is enough

import { arrayField } from "./array.js";
import { choiceField, checkField } from "./choice.js";
import { isObject, format, parse } from "./exact.js";
import { el, newId } from "./dom.js";
import { words } from "./limits.js";
import { objectField } from "./object.js";
import { fits, resolve } from "./schema.js";
import { textField } from "./text.js";
import { variantField } from "./variant.js";

const maxDepth = 6; // beyond it, everything is JSON

// allowance is how many fields are built without a click.
export const allowance = 500;

// field makes a field of a spec whose schema is as the server wrote it, or
// undefined where nothing fits the schema.
export function field(spec) {
  const schema = resolve(spec.schema, spec.root);
  if (schema === false) return undefined;
  spec = { ...spec, schema, given: spec.initial !== undefined };
  if (!spec.given) spec.initial = beginning(spec);
  if (spec.given && !fits(spec.initial, schema)) return jsonField(spec);
  return (kinds.get(kindOf(spec)) ?? jsonField)(spec) ?? jsonField(spec);
}

// beginning is the value of a field that is new: the default, or what must be sent.
function beginning({ schema, required, fresh }) {
  if ("default" in schema && schema.default !== null && (fresh || required) && fits(schema.default, schema)) return schema.default;
  return required && "const" in schema ? schema.const : undefined;
}

const kinds = new Map(Object.entries({
  choice: choiceField, variants: variantField, string: textField, number: textField, integer: textField, boolean: checkField, object: objectField, array: arrayField,
}));

function kindOf({ schema, depth, budget }) {
  if (Array.isArray(schema.enum) || "const" in schema) return "choice";
  const kind = schema.variants ? "variants" : schema.type;
  const nested = ["variants", "object", "array"].includes(kind);
  budget.left--;
  return nested && (depth >= maxDepth || budget.left < 0) ? "json" : kind;
}

export const titleOf = ({ schema, name }) => String(schema.title || name);

// requiredMark stands beside the title of what must be sent. In a list the number
// of the row says enough.
export const requiredMark = ({ required, hideLabel }) => (required && !hideLabel ? el("span", { class: "required" }, "required") : undefined);

// hintOf is the description and the limits, or undefined.
export function hintOf({ description, ...schema }, attributes = {}) {
  const text = [description && String(description), words(schema)].filter(Boolean).join(" ");
  return text ? el("p", { class: "hint", dir: "auto", ...attributes }, text) : undefined;
}

// labelled puts a label, the description, and what else there is to an input.
// aside stands beside the label.
export function labelled(spec, input, { type, aside } = {}) {
  const id = newId();
  input.id = id;
  const label = el("label", { for: id, "data-label": spec.hideLabel && titleOf(spec) }, el("bdi", {}, titleOf(spec)), requiredMark(spec));
  const hint = spec.hideLabel ? undefined : hintOf(spec.schema, { id: `${id}-hint` });
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return el("div", { class: "field" },
    el("div", { class: spec.hideLabel ? "label hidden" : "label" }, label, type && el("span", { class: "type" }, type), spec.hideLabel ? undefined : aside),
    input, spec.hideLabel ? aside : undefined, hint);
}

// checked has the browser refuse what problem finds fault with.
export function checked(input, problem) {
  const check = () => input.setCustomValidity(problem(input.value));
  input.addEventListener("input", check);
  check();
  return check;
}

// jsonField takes any JSON.
export function jsonField(spec) {
  const { schema, initial } = spec;
  const input = el("textarea", { rows: 5, required: spec.required, spellcheck: "false", autocapitalize: "off", class: "code" });
  if (initial !== undefined) input.value = format(initial);
  checked(input, (text) => {
    if (text.trim() === "") return "";
    try {
      return shape(parse(text), schema);
    } catch (error) {
      return `This is not JSON: ${error.message}`;
    }
  });
  return { element: labelled(spec, input, { type: "JSON" }), read: () => (input.value.trim() === "" ? undefined : parse(input.value)) };
}

function shape(value, { type, nullable }) {
  if (value === null && nullable) return "";
  if (type === "object" && !isObject(value)) return "This has to be a JSON object, in braces.";
  return type === "array" && !Array.isArray(value) ? "This has to be a JSON list, in brackets." : "";
}
