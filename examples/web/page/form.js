// A form made from a JSON Schema. What it cannot express becomes a field for
// JSON, so that every tool can be called.

import { el, newId } from "./dom.js";
import { format, isNumber, number, parse } from "./exact.js";

// How deep objects may be nested before their fields become JSON.
const maxDepth = 5;

// buildForm returns { element, read }. read gives the arguments, without the
// fields that were left empty; the browser has checked them by then. nothing is
// what a form without fields says.
export function buildForm(schema, initial, nothing) {
  const resolved = resolve(schema, schema);
  const properties = isObject(resolved.properties) ? Object.keys(resolved.properties) : [];
  const closed = properties.length > 0 || resolved.additionalProperties === false || isObject(resolved.properties);
  if (!closed) return jsonField({ schema: { title: "Arguments", ...resolved, type: "object" }, name: "arguments", required: true, initial: initial ?? {} });
  const members = group(resolved, { root: schema, depth: 0, initial });
  const element = el("div", { class: "fields" }, ...members.elements);
  if (properties.length === 0 && nothing) element.append(el("p", { class: "hint" }, nothing));
  return { element, read: members.read };
}

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v) && !isNumber(v);

// resolve takes a schema to the keywords that fields are made of: references
// followed, "or null" removed, lists of constants as an enum.
function resolve(schema, root, depth = 0) {
  if (!isObject(schema) || depth > 20) return {};
  const { $ref, allOf, anyOf, oneOf, ...own } = schema;
  const again = (inner) => resolve({ ...inner, ...own }, root, depth + 1);
  if (typeof $ref === "string") return again(follow(root, $ref));
  if (allOf?.length === 1) return again(allOf[0]);
  const choices = (anyOf ?? oneOf)?.filter((choice) => choice?.type !== "null");
  if (choices?.length === 1) return again(choices[0]);
  if (choices?.length && choices.every((choice) => isObject(choice) && "const" in choice)) {
    return { ...own, enum: choices.map((c) => c.const), labels: choices.map((c) => c.title ?? String(c.const)) };
  }
  if (choices || allOf) return { title: own.title, description: own.description, default: own.default };
  const types = [own.type ?? (own.properties ? "object" : undefined)].flat().filter((type) => type !== "null");
  return { ...own, type: types.length === 1 ? types[0] : undefined };
}

// follow finds what a local reference (RFC 6901) points to.
function follow(root, ref) {
  if (!ref.startsWith("#")) return {};
  let at = root;
  for (const part of decodeURIComponent(ref.slice(1)).split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    at = Object.hasOwn(at ?? {}, key) ? at[key] : undefined;
  }
  return at ?? {};
}

// field makes one field. spec is { schema, name, required, initial, root, depth }.
function field(spec) {
  spec = { ...spec, schema: resolve(spec.schema, spec.root) };
  spec.initial = spec.initial ?? spec.schema.default ?? spec.schema.const;
  const { schema } = spec;
  if (Array.isArray(schema.enum) || "const" in schema) return choiceField(spec);
  switch (schema.type) {
    case "string":
    case "number":
    case "integer":
      return textField(spec);
    case "boolean":
      return spec.required || spec.initial !== undefined ? checkField(spec) : choiceField({ ...spec, schema: { ...schema, enum: [true, false], labels: ["Yes", "No"] } });
    case "object":
      if (isObject(schema.properties) && spec.depth < maxDepth) return objectField(spec);
      break;
    case "array":
      if (isObject(schema.items) && !schema.prefixItems && spec.depth < maxDepth) return severalField(spec) ?? listField(spec);
  }
  return jsonField(spec);
}

// labelled puts a label and the description to an input.
function labelled({ schema, name, required, hideLabel }, input, type) {
  const id = newId();
  input.id = id;
  const parts = [el("label", { for: id, class: hideLabel && "hidden" }, schema.title ?? name, required ? el("span", { class: "required" }, " required") : undefined,
    type && el("span", { class: "type" }, type))];
  if (hideLabel) parts[0].dataset.label = schema.title ?? name;
  const hint = hideLabel ? "" : hintOf(schema);
  parts.push(input);
  if (hint) {
    parts.push(el("p", { class: "hint", id: `${id}-hint` }, hint));
    input.setAttribute("aria-describedby", `${id}-hint`);
  }
  return el("div", { class: "field" }, ...parts);
}

const hintOf = (schema) => [schema.description, limits(schema)].filter(Boolean).join(" ");

function limits({ minimum, maximum, type }) {
  if (type !== "integer" && type !== "number") return "";
  if (isNumber(minimum) && isNumber(maximum)) return `${format(minimum)} to ${format(maximum)}.`;
  return isNumber(minimum) ? `At least ${format(minimum)}.` : isNumber(maximum) ? `At most ${format(maximum)}.` : "";
}

const inputTypes = { email: "email", uri: "url", url: "url", date: "date", password: "password" };

function textField(spec) {
  const { schema, required, initial } = spec;
  const numeric = schema.type !== "string";
  const example = schema.examples?.[0];
  const attributes = { required, placeholder: example === undefined ? undefined : String(example), autocomplete: "off" };
  let input;
  if (numeric) {
    input = el("input", {
      ...attributes, type: "number", step: schema.multipleOf ?? (schema.type === "integer" ? 1 : "any"),
      min: schema.minimum === undefined ? undefined : format(schema.minimum), max: schema.maximum === undefined ? undefined : format(schema.maximum),
    });
  } else {
    const long = schema.maxLength > 200 || schema.format === "textarea";
    Object.assign(attributes, { minlength: schema.minLength, maxlength: schema.maxLength, pattern: long ? undefined : schema.pattern });
    input = long ? el("textarea", { ...attributes, rows: 3 }) : el("input", { ...attributes, type: inputTypes[schema.format] ?? "text" });
  }
  if (initial !== undefined && initial !== null) input.value = typeof initial === "string" ? initial : format(initial);
  return {
    element: labelled(spec, input, numeric ? schema.type : undefined),
    read: () => (input.value === "" ? undefined : numeric ? number(input.value) : input.value),
  };
}

function checkField({ schema, name, initial }) {
  const id = newId();
  const input = el("input", { type: "checkbox", id, "aria-describedby": schema.description && `${id}-hint` });
  input.checked = initial === true;
  const element = el("div", { class: "field check" }, input, el("label", { for: id }, schema.title ?? name),
    schema.description && el("p", { class: "hint", id: `${id}-hint` }, schema.description));
  return { element, read: () => input.checked };
}

function choiceField(spec) {
  const { schema, required, initial } = spec;
  const values = schema.enum ?? [schema.const];
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const select = el("select", { required }, el("option", { value: "" }, required ? "Choose…" : "Not set"),
    ...values.map((value, i) => el("option", { value: i, selected: initial !== undefined && same(value, initial) },
      schema.labels?.[i] ?? schema.enumNames?.[i] ?? (typeof value === "string" ? value : JSON.stringify(value)))));
  return { element: labelled(spec, select), read: () => (select.value === "" ? undefined : values[select.value]) };
}

// severalField has a box to tick for each of a list of constants, and undefined
// for every other list.
function severalField(spec) {
  const { schema, name, required, root } = spec;
  const items = resolve(schema.items, root);
  const values = items.enum;
  const initial = spec.initial ?? [];
  const keys = values?.map((value) => JSON.stringify(value));
  const given = Array.isArray(initial) && new Set(initial.map((value) => JSON.stringify(value)));
  if (!keys?.length || !given || given.size !== initial.length || ![...given].every((key) => keys.includes(key))) return undefined;
  const least = schema.minItems ?? 0;
  const most = schema.maxItems ?? values.length;
  const inputs = values.map((_, i) => el("input", { type: "checkbox", id: newId(), checked: given.has(keys[i]), onchange: () => check() }));
  const check = () => {
    const count = inputs.filter((input) => input.checked).length;
    const fits = (count >= least && count <= most) || (count === 0 && !required);
    inputs[0].setCustomValidity(fits ? "" : least === most ? `Choose ${least}.` : `Choose ${least} to ${most}.`);
  };
  check();
  const titleId = newId();
  return {
    element: el("div", { class: "box", role: "group", "aria-labelledby": titleId },
      el("p", { class: "box-title", id: titleId }, schema.title ?? name, required ? el("span", { class: "required" }, " required") : undefined),
      schema.description && el("p", { class: "hint" }, schema.description),
      el("div", { class: "checks" }, ...inputs.map((input, i) => el("div", { class: "field check" }, input, el("label", { for: input.id },
        items.labels?.[i] ?? items.enumNames?.[i] ?? (typeof values[i] === "string" ? values[i] : keys[i])))))),
    read: () => {
      const chosen = values.filter((_, i) => inputs[i].checked);
      return chosen.length > 0 || required ? chosen : undefined;
    },
  };
}

// group makes the fields of an object. Members of initial that have no field
// are kept as they are.
function group(schema, { root, depth, initial }) {
  const given = isObject(initial) ? initial : {};
  const fields = Object.entries(schema.properties ?? {}).map(([name, member]) => [name, field({
    schema: member, name, root, depth: depth + 1, required: (schema.required ?? []).includes(name),
    initial: Object.hasOwn(given, name) ? given[name] : undefined,
  })]);
  const known = new Set(fields.map(([name]) => name));
  const others = Object.entries(given).filter(([name]) => !known.has(name));
  return {
    elements: fields.map(([, f]) => f.element),
    // fromEntries, because it defines "__proto__" like any other member.
    read: () => Object.fromEntries([...fields.map(([name, f]) => [name, f.read()]).filter(([, value]) => value !== undefined), ...others]),
  };
}

// objectField is a box; where it is optional, with a switch. Fields in a
// disabled fieldset are neither checked nor sent.
function objectField(spec) {
  const { schema, name, required, initial } = spec;
  const members = group(schema, spec);
  const body = el("fieldset", { class: "fields", "aria-label": schema.title ?? name }, ...members.elements);
  const title = el("span", { "data-label": schema.title ?? name }, schema.title ?? name);
  const hint = schema.description && el("p", { class: "hint" }, schema.description);
  if (required) return { element: el("div", { class: "box" }, el("p", { class: "box-title" }, title), hint, body), read: members.read };

  const id = newId();
  const include = el("input", { type: "checkbox", id, onchange: () => show() });
  const show = () => { body.disabled = body.hidden = !include.checked; };
  include.checked = initial !== undefined;
  show();
  return {
    element: el("div", { class: "box" }, el("div", { class: "field check" }, include, el("label", { for: id }, title)), hint, body),
    read: () => (include.checked ? members.read() : undefined),
  };
}

// listField is a list with buttons to add and remove.
function listField(spec) {
  const { schema, name, required, root, depth } = spec;
  const label = schema.title ?? name;
  const one = label.replace(/([^s])s$/, "$1");
  const rows = [];
  const list = el("ol", { class: "rows" });
  const add = el("button", { type: "button", class: "small", onclick: () => append().querySelector("input, select, textarea")?.focus() }, `Add ${one.toLowerCase()}`);
  const append = (initial) => {
    const item = field({ schema: schema.items, name: one, root, depth: depth + 1, required: true, initial, hideLabel: true });
    const remove = el("button", { type: "button", class: "small quiet", onclick: () => {
      rows.splice(rows.indexOf(row), 1);
      row.element.remove();
      number();
      add.focus();
    } }, "Remove");
    const row = { element: el("li", {}, item.element, remove), read: item.read, remove };
    rows.push(row);
    list.append(row.element);
    number();
    return row.element;
  };
  const number = () => {
    rows.forEach((row, i) => {
      row.remove.setAttribute("aria-label", `Remove ${one.toLowerCase()} ${i + 1}`);
      const title = row.element.querySelector("[data-label]");
      if (title) title.textContent = `${title.dataset.label} ${i + 1}`;
      row.remove.hidden = rows.length <= (schema.minItems ?? 0);
    });
    add.disabled = rows.length >= (schema.maxItems ?? Infinity);
  };
  const hint = [schema.description, hintOf(resolve(schema.items, root))].filter(Boolean).join(" ");
  const initial = Array.isArray(spec.initial) ? spec.initial : [];
  initial.forEach((value) => append(value));
  while (rows.length < (schema.minItems ?? 0)) append();
  const titleId = newId();
  return {
    element: el("div", { class: "box", role: "group", "aria-labelledby": titleId },
      el("p", { class: "box-title", id: titleId }, label, required ? el("span", { class: "required" }, " required") : undefined),
      hint && el("p", { class: "hint" }, hint), list, add),
    read: () => (rows.length > 0 || required ? rows.map((row) => row.read() ?? null) : undefined),
  };
}

// jsonField takes any JSON.
export function jsonField(spec) {
  const { schema, required, initial } = spec;
  const input = el("textarea", { rows: 5, required, spellcheck: "false", class: "code", oninput: () => check() });
  const check = () => {
    let problem = "";
    try {
      const value = input.value.trim() === "" ? {} : parse(input.value);
      if (schema.type === "object" && !isObject(value)) problem = "This has to be a JSON object, in braces.";
    } catch (error) {
      problem = `This is not JSON: ${error.message}`;
    }
    input.setCustomValidity(problem);
  };
  if (initial !== undefined) input.value = format(initial);
  check();
  return { element: labelled(spec, input, "JSON"), read: () => (input.value.trim() === "" ? undefined : parse(input.value)) };
}
