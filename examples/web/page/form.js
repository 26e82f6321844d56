// A form made from a JSON Schema. What fields cannot express becomes a field for
// JSON, so that every tool can be called.

import { el } from "./dom.js";
import { isObject } from "./exact.js";
import { allowance, jsonField } from "./field.js";
import { group } from "./object.js";
import { fits, resolve } from "./schema.js";
import { variantField } from "./variant.js";

// buildForm returns { element, read }. read gives the arguments, without the
// fields that were left empty; the browser has checked them by then. nothing is
// what a form without fields says.
export function buildForm(schema, initial, nothing) {
  const resolved = { ...resolve(schema, schema), title: "Arguments" };
  const spec = {
    schema: { ...resolved, type: "object" }, name: "arguments", required: true, initial, given: initial !== undefined,
    root: schema, depth: 0, budget: { left: allowance },
  };
  if (resolved.variants) return variantField({ ...spec, schema: resolved }, true) ?? argumentsField(initial);
  if (!isObject(resolved.properties) && resolved.additionalProperties !== false) return argumentsField(initial, resolved.description);
  if (initial !== undefined && !fits(initial, spec.schema)) return argumentsField(initial);
  const members = group(spec);
  const element = el("div", { class: "fields", onkeydown: sendByKey }, ...members.elements);
  if (members.elements.length === 0 && nothing) element.append(el("p", { class: "hint" }, nothing));
  return { element, read: members.read };
}

// sendByKey submits with Ctrl+Enter: Enter alone begins a new line of a text.
function sendByKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form?.requestSubmit();
}

// argumentsField takes all arguments as JSON.
export const argumentsField = (initial, description) =>
  jsonField({ schema: { title: "Arguments", type: "object", description }, name: "arguments", initial: initial ?? {} });
