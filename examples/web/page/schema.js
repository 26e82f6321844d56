// JSON Schema, taken to what fields can be made of. Where this is not exact it is
// loose: the page must not refuse what the server would take.

import { format, isNumber, isObject, same } from "./exact.js";

const maxParts = 500; // of one schema, so that schemas which multiply end

// resolve returns a schema with what it refers to and what it combines in one:
// type is one type or undefined, nullable says that null fits too, and variants
// are { label, schema }, of which one applies. For what no field can be made of
// that is {}; for what nothing fits, false.
export function resolve(schema, root) {
  const budget = { left: maxParts };
  let flat = flatten(schema, root, budget);
  let nullable = flat.nullable === true;
  for (let depth = 0; isObject(flat) && depth < 20; depth++) {
    const { anyOf, oneOf, ...rest } = flat;
    const several = [anyOf, oneOf].filter(Array.isArray);
    if (several.length === 0) return plain(rest, nullable);
    if (several.length === 2 || rest.mixed || budget.left < 0) break;
    const [nulls, choices] = split(several[0].map((choice) => flatten(choice, root, budget)).filter((choice) => choice !== false));
    if (nulls.length > 0 && allows(rest.type, "null")) nullable = true;
    if (choices.length !== 1) return choices.length === 0 && !nullable ? false : choose(rest, choices, nullable);
    flat = merge(rest, choices[0]);
  }
  return flat === false ? false : unclear(flat);
}

// unclear is a schema of which no more is known than what people read.
const unclear = ({ title, description }) => ({ title, description });

// flatten follows references and puts the parts of allOf together. seen are the
// references on the way here.
function flatten(schema, root, budget, seen = []) {
  if (schema === false) return false;
  if (!isObject(schema) || --budget.left < 0) return {};
  const { $ref, allOf, ...own } = schema;
  const parts = (Array.isArray(allOf) ? allOf : []).map((part) => flatten(part, root, budget, seen));
  if (typeof $ref === "string" && !seen.includes($ref)) parts.unshift(flatten(follow(root, $ref), root, budget, [...seen, $ref]));
  return parts.reduce(merge, own);
}

// follow finds what a local reference (RFC 6901) points to.
function follow(root, ref) {
  if (ref !== "#" && !ref.startsWith("#/")) return {};
  let at = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const key = decode(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return {};
    at = at[key];
  }
  return at;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a % that stands for itself
  }
}

const least = (a, b) => (Number(format(a)) <= Number(format(b)) ? a : b);
const most = (a, b) => (least(a, b) === a ? b : a);
const list = (value) => (Array.isArray(value) ? value : []);

// both are the keywords that are combined where two schemas have them.
const both = {
  type: (a, b) => {
    const common = [a].flat().filter((type) => allows(b, type));
    return common.length > 0 ? common : [b].flat().filter((type) => allows(a, type));
  },
  enum: (a, b) => list(a).filter((value) => list(b).some((other) => same(value, other))),
  required: (a, b) => [...new Set([...list(a), ...list(b)])],
  items: (a, b) => ({ allOf: [a, b] }),
  properties: (a, b) => {
    const all = new Map(Object.entries(b ?? {}));
    for (const [name, schema] of Object.entries(a ?? {})) all.set(name, all.has(name) ? { allOf: [schema, all.get(name)] } : schema);
    return Object.fromEntries(all);
  },
  minimum: most, exclusiveMinimum: most, minLength: most, minItems: most,
  maximum: least, exclusiveMaximum: least, maxLength: least, maxItems: least,
};

// merge makes a schema for what fits both. What people read comes from a.
function merge(a, b) {
  if (a === false || b === false) return false;
  const merged = { ...b, ...a };
  for (const key of Object.keys(a)) if (Object.hasOwn(b, key) && Object.hasOwn(both, key)) merged[key] = both[key](a[key], b[key]);
  const choices = (schema) => "anyOf" in schema || "oneOf" in schema;
  if ((choices(a) && choices(b)) || a.mixed || b.mixed) merged.mixed = true;
  return merged;
}

// allows reports whether the value of the keyword type includes a type.
const allows = (types, type) => types === undefined || [types].flat().includes(type) || (type === "integer" && [types].flat().includes("number"));

const isNull = (schema) => schema.type === "null" || schema.const === null || same(schema.enum, [null]);
const split = (schemas) => [schemas.filter(isNull), schemas.filter((schema) => !isNull(schema))];

// plain is for a schema without choices.
function plain(schema, nullable) {
  let types = [schema.type ?? (schema.properties ? "object" : [])].flat();
  if (schema.nullable === true || (types.includes("null") && !schema.enum)) nullable = true;
  types = types.filter((type) => type !== "null");
  if (types.length <= 1) return { ...schema, type: types[0], nullable };
  if (schema.enum || "const" in schema) return { ...schema, type: undefined, nullable };
  return { ...schema, type: undefined, nullable, variants: types.map((type) => ({ label: String(type), schema: { ...schema, type, nullable: false } })) };
}

// choose is for a schema of which one of several choices applies.
function choose(schema, choices, nullable) {
  const constant = (choice) => "const" in choice || list(choice.enum).length === 1;
  if (choices.every(constant)) {
    const values = choices.map((choice) => ("const" in choice ? choice.const : choice.enum[0]));
    return { ...schema, nullable, enum: values, labels: choices.map((choice, i) => String(choice.title || text(values[i]))) };
  }
  const labels = choices.map(label);
  const unique = (name, i) => (labels.indexOf(name) === labels.lastIndexOf(name) ? name : `${name} (${i + 1})`);
  const common = { ...schema, title: undefined, description: undefined, default: undefined };
  return {
    ...schema, nullable, type: undefined,
    variants: choices.map((choice, i) => ({ label: unique(labels[i], i), schema: merge(choice, common) })),
  };
}

// label says what a choice is: by its title, a member with a constant, its type, or
// what it requires.
function label(schema, i) {
  const kind = Object.values(isObject(schema.properties) ? schema.properties : {}).find((member) => isObject(member) && "const" in member);
  if (schema.title) return String(schema.title);
  if (kind) return text(kind.const);
  if (typeof schema.type === "string" && schema.type !== "object") return [schema.type, schema.format].filter(Boolean).join(", ");
  if (list(schema.required).length > 0) return `with ${schema.required.join(", ")}`;
  return typeof schema.type === "string" ? schema.type : `Option ${i + 1}`;
}

// text is a constant for people.
export const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// fits reports whether a value may be what a resolved schema describes, as far as
// a field for it could show the value.
export function fits(value, schema) {
  if (value === null && (schema.nullable || schema.variants)) return schema.nullable;
  if (Array.isArray(schema.enum)) return schema.enum.some((other) => same(value, other));
  if ("const" in schema) return same(value, schema.const);
  switch (schema.type) {
    case "string":
      return typeof value === "string";
    case "number":
    case "integer":
      return isNumber(value);
    case "boolean":
      return typeof value === "boolean";
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
  }
  return true;
}

// fitting is the index of the variant that a value is of, or -1.
export function fitting(value, variants, root, depth = 0) {
  return variants.findIndex(({ schema }) => {
    const resolved = resolve(schema, root);
    if (resolved === false || !fits(value, resolved)) return false;
    if (resolved.variants && (depth > 2 || fitting(value, resolved.variants, root, depth + 1) < 0)) return false;
    if (!isObject(value)) return true;
    return list(resolved.required).every((name) => Object.hasOwn(value, name)) && Object.entries(resolved.properties ?? {}).every(([name, member]) => {
      const known = resolve(member, root);
      return !Object.hasOwn(value, name) || (known !== false && fits(value[name], known));
    });
  });
}
