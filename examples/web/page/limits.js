// The limits of a schema: in words, and as checks whose answer is what is wrong.

import { compare, format, isMultiple, isNumber } from "./exact.js";
import { compile } from "./pattern.js";

const shownPattern = 200; // characters
const any = 2 ** 31 - 1; // as a maximum of characters or items it means none

// size is a keyword that counts something, or undefined.
export function size(keyword) {
  const value = isNumber(keyword) ? Number(format(keyword)) : NaN;
  return value >= 0 ? value : undefined;
}

const plural = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

// amount says how many there may be of a thing.
export function amount(least, most, thing) {
  if (!(most < any)) return least > 0 ? `At least ${plural(least, thing)}.` : "";
  if (least === most) return `Exactly ${plural(least, thing)}.`;
  return least > 0 ? `${least.toLocaleString("en")} to ${plural(most, thing)}.` : `At most ${plural(most, thing)}.`;
}

// words says what limits a text, a number or a list has.
export function words({ type, pattern, ...schema }) {
  switch (type) {
    case "string": {
      const shown = typeof pattern === "string" && (pattern.length > shownPattern ? `${pattern.slice(0, shownPattern)}…` : pattern);
      return [amount(size(schema.minLength), size(schema.maxLength), "character"), shown && `Pattern: ${shown}`].filter(Boolean).join(" ");
    }
    case "number":
    case "integer":
      return range(schema);
    case "array":
      return amount(size(schema.minItems), size(schema.maxItems), "item");
  }
  return "";
}

// bounds are the limits of a number: the words before them, and when a comparison
// with them is good.
const bounds = {
  minimum: ["At least", (order) => order >= 0],
  exclusiveMinimum: ["More than", (order) => order > 0],
  maximum: ["At most", (order) => order <= 0],
  exclusiveMaximum: ["Less than", (order) => order < 0],
};

const entries = (schema) => Object.entries(bounds).flatMap(([keyword, [before, good]]) => (isNumber(schema[keyword]) ? [[before, good, format(schema[keyword])]] : []));

function range(schema) {
  const { minimum, maximum, multipleOf } = schema;
  const said = isNumber(minimum) && isNumber(maximum)
    ? [`${format(minimum)} to ${format(maximum)}.`] : entries(schema).map(([before, , limit]) => `${before} ${limit}.`);
  if (isNumber(multipleOf)) said.push(`A multiple of ${format(multipleOf)}.`);
  return said.join(" ");
}

// numberProblem returns a check for the text of a number.
export function numberProblem(schema) {
  return (text) => {
    if (text === "") return "";
    for (const [before, good, limit] of entries(schema)) {
      const order = compare(text, limit);
      if (!Number.isNaN(order) && !good(order)) return `${before} ${limit}.`;
    }
    if (schema.type === "integer" && !isMultiple(text, "1")) return "This has to be a whole number.";
    if (isNumber(schema.multipleOf) && !isMultiple(text, format(schema.multipleOf))) return `This has to be a multiple of ${format(schema.multipleOf)}.`;
    return "";
  };
}

// textProblem returns a check for a text. An empty one is checked elsewhere.
export function textProblem({ minLength, maxLength, pattern }) {
  const least = size(minLength) ?? 0;
  const most = size(maxLength) ?? Infinity;
  const expression = compile(pattern);
  return (text) => {
    if (text === "") return "";
    const count = characters(text);
    if (count < least || count > most) return `${amount(least, most, "character")} This has ${plural(count, "character")}.`;
    return expression?.test(text) === false ? `This does not match the pattern ${pattern}` : "";
  };
}

// characters counts them as JSON Schema does, and not as JavaScript.
function characters(text) {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
