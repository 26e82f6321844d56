// JSON with numbers that JavaScript would round, such as integers above 2^53.
// Browsers without JSON.rawJSON (before 2025) get rounded ones.

const exact = typeof JSON.rawJSON === "function";
const rounds = (text) => /^-?\d+$/.test(text) && !Number.isSafeInteger(Number(text));

// parse keeps such numbers as JSON.rawJSON objects, which format writes back.
export function parse(text) {
  if (!exact) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && rounds(context.source) ? JSON.rawJSON(context.source) : value);
}

// format writes JSON for people.
export const format = (value) => JSON.stringify(value, null, 2);

// number reads the text of a number field.
export const number = (text) => (exact && rounds(text) ? JSON.rawJSON(text) : Number(text));

// isNumber reports whether parse may have made a value of a JSON number.
export const isNumber = (value) => typeof value === "number" || (exact && JSON.isRawJSON(value));
