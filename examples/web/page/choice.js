// Fields for what is one of a list, and for yes or no.

import { el, newId } from "./dom.js";
import { same } from "./exact.js";
import { checked, hintOf, labelled, titleOf } from "./field.js";
import { text } from "./schema.js";

const maxOptions = 500; // of a list to pick from; longer ones are searched

// choicesOf returns { value, label } for each constant of a schema.
export function choicesOf(schema) {
  const values = schema.enum ?? ("const" in schema ? [schema.const] : []);
  const labels = schema.labels ?? (Array.isArray(schema.enumNames) ? schema.enumNames : []);
  return values.map((value, i) => ({ value, label: String(labels[i] ?? text(value)) }));
}

export function choiceField(spec) {
  const { schema, required, initial } = spec;
  const choices = choicesOf(schema);
  if (schema.nullable && !choices.some(({ value }) => value === null)) choices.push({ value: null, label: "null" });
  if (choices.length > maxOptions) return searchField(spec, choices);
  const select = el("select", { required }, el("option", { value: "" }, required ? "Choose…" : "Not set"),
    ...choices.map(({ value, label }, i) => el("option", { value: i, selected: initial !== undefined && same(value, initial) }, label)));
  return { element: labelled(spec, select), read: () => (select.value === "" ? undefined : choices[select.value].value) };
}

// lists are the suggestions for a long enum, which many fields may have.
const lists = new WeakMap();

// searchField suggests, where a list of options would be too long.
function searchField(spec, choices) {
  const { schema, required, initial } = spec;
  const values = new Map();
  for (const { value, label } of choices) values.set(values.has(label) ? JSON.stringify(value) : label, value);
  if (!lists.has(schema.enum)) {
    lists.set(schema.enum, el("datalist", { id: newId() }, ...[...values.keys()].map((label) => el("option", { value: label }))));
    document.body.append(lists.get(schema.enum));
  }
  const input = el("input", { type: "text", required, list: lists.get(schema.enum).id, placeholder: `Search ${choices.length.toLocaleString("en")} values`, autocomplete: "off" });
  if (initial !== undefined) input.value = [...values].find(([, value]) => same(value, initial))?.[0] ?? "";
  checked(input, (label) => (label === "" || values.has(label) ? "" : "This is not one of the values."));
  return { element: labelled(spec, input), read: () => (input.value === "" ? undefined : values.get(input.value)) };
}

// checkField is a box to tick; where a value may be left out, a list.
export function checkField(spec) {
  const { schema, required, initial } = spec;
  if (schema.nullable || !(required || initial !== undefined)) return choiceField({ ...spec, schema: { ...schema, enum: [true, false], labels: ["Yes", "No"] } });
  const id = newId();
  const hint = hintOf(schema, { id: `${id}-hint` });
  const input = el("input", { type: "checkbox", id, "aria-describedby": hint?.id });
  input.checked = initial === true;
  return { element: el("div", { class: "field check" }, input, el("label", { for: id, "data-label": titleOf(spec) }, titleOf(spec)), hint), read: () => input.checked };
}
