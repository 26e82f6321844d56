// Fields for an object: its members, built when they are shown.

import { el, newId } from "./dom.js";
import { isObject } from "./exact.js";
import { allowance, field, hintOf, jsonField, requiredMark, titleOf } from "./field.js";

const shownAtOnce = 100; // members of an object; more are built for a click

// group makes the fields of an object's members. Members of spec.initial that
// have no field are kept.
export function group(spec) {
  const { schema, initial } = spec;
  const given = isObject(initial) ? initial : {};
  const properties = isObject(schema.properties) ? schema.properties : {};
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const names = Object.keys(properties);
  const made = new Map();
  const make = (name) => {
    const member = field({
      schema: properties[name], name, root: spec.root, depth: spec.depth + 1, budget: spec.budget,
      required: required.has(name), fresh: !isObject(initial), initial: Object.hasOwn(given, name) ? given[name] : undefined,
    });
    if (member) made.set(name, member);
    return member ? [member.element] : [];
  };
  const later = names.filter((name, i) => i >= shownAtOnce && !required.has(name) && !Object.hasOwn(given, name));
  const waiting = new Set(later);
  const elements = names.filter((name) => !waiting.has(name)).flatMap(make);
  if (later.length > 0) elements.push(moreButton(later, make, spec.budget));

  const kept = Object.fromEntries(Object.entries(given).filter(([name]) => !made.has(name)));
  const others = otherMembers(schema, kept, [...required].some((name) => !Object.hasOwn(properties, name)), spec);
  if (others) elements.push(others.element);
  return {
    elements,
    // fromEntries, because it defines "__proto__" like any other member.
    read: () => Object.fromEntries([
      ...names.filter((name) => made.has(name)).map((name) => [name, made.get(name).read()]).filter(([, value]) => value !== undefined),
      ...Object.entries(others ? others.read() ?? {} : kept),
    ]),
  };
}

// moreButton builds the members that wait, some with each click.
function moreButton(names, make, budget) {
  const button = el("button", { type: "button", class: "small more", onclick: () => {
    budget.left = allowance;
    const elements = names.splice(0, shownAtOnce).flatMap(make);
    button.before(...elements);
    if (names.length === 0) button.remove();
    else say();
    elements[0]?.querySelector("input, select, textarea")?.focus();
  } });
  const say = () => { button.textContent = `Show more fields (${names.length.toLocaleString("en")})`; };
  say();
  return button;
}

// otherMembers is a field for members that the schema allows and does not name,
// or undefined where there are none.
function otherMembers(schema, kept, needed, { root, depth, budget }) {
  const { additionalProperties: more } = schema;
  const open = more === true || isObject(more) || ["patternProperties", "dependentSchemas", "then", "else"].some((keyword) => keyword in schema);
  if (!open && !needed && Object.keys(kept).length === 0) return undefined;
  return jsonField({
    schema: { title: "Other members", type: "object" }, root, depth, budget, required: needed,
    initial: Object.keys(kept).length > 0 ? kept : undefined,
  });
}

// hasFields reports whether an object is better shown as fields than as JSON.
export const hasFields = ({ properties, additionalProperties }) =>
  isObject(properties) && (Object.keys(properties).length > 0 || additionalProperties === false);

// objectField is a box; where the object may be left out, with a switch, and built
// when that is turned on.
export function objectField(spec) {
  const { schema, required, initial, budget } = spec;
  if (!hasFields(schema)) return undefined;
  const name = titleOf(spec);
  const title = el("bdi", { "data-label": name }, name);
  const hint = hintOf({ description: schema.description });
  if (required && !schema.nullable) {
    const members = group(spec);
    const titleId = newId();
    return {
      element: el("div", { class: "box", role: "group", "aria-labelledby": titleId },
        el("p", { class: "box-title", id: titleId }, title, requiredMark(spec)), hint, el("div", { class: "fields" }, ...members.elements)),
      read: members.read,
    };
  }
  const id = newId();
  const body = el("fieldset", { class: "fields", "aria-label": name });
  const include = el("input", { type: "checkbox", id, "aria-expanded": "false", onchange: () => {
    budget.left = allowance;
    show();
  } });
  let members;
  // Fields in a disabled fieldset are neither checked nor sent.
  const show = () => {
    body.disabled = body.hidden = !include.checked;
    include.setAttribute("aria-expanded", String(include.checked));
    if (!include.checked || members) return;
    members = group(spec);
    body.append(...members.elements);
  };
  include.checked = isObject(initial);
  show();
  const left = required || initial === null ? null : undefined;
  return {
    element: el("div", { class: "box" }, el("div", { class: "field check" }, include, el("label", { for: id }, title)), hint, body),
    read: () => (include.checked ? members.read() : left),
  };
}
