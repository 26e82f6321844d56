// JSON with numbers that JavaScript would round, such as integers above 2^53.
// Browsers without JSON.rawJSON (before 2025) get rounded ones.

const exact = typeof JSON.rawJSON === "function";
const literal = /^-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

// rounds reports whether JavaScript would change the number that a text is.
function rounds(text) {
  const value = Number(text);
  if (!literal.test(text)) return false;
  return !Number.isFinite(value) || (text.replace(/[eE].*|\D/g, "").length > 15 && String(value) !== text);
}

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

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !isNumber(value);

// same reports whether two JSON values are equal. The order of members counts.
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// decimal takes a number's text apart into an integer and a power of ten.
function decimal(text) {
  const [, sign, whole, part = "", power = "0"] = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  if (whole === undefined || Math.abs(power) > 400) return undefined;
  return { units: BigInt(sign + (whole + part || "0")), power: Number(power) - part.length };
}

// aligned gives two numbers as integers of the same power of ten, or undefined.
function aligned(a, b) {
  const [x, y] = [decimal(a), decimal(b)];
  if (!x || !y) return undefined;
  const power = Math.min(x.power, y.power);
  return [x, y].map((n) => n.units * 10n ** BigInt(n.power - power));
}

// compare is negative where a < b, and NaN where a text is no number. Both are
// the texts of numbers.
export function compare(a, b) {
  const pair = aligned(a, b);
  if (!pair) return NaN;
  return pair[0] < pair[1] ? -1 : pair[0] > pair[1] ? 1 : 0;
}

// isMultiple reports whether a is a multiple of b; true where b is not above 0.
export function isMultiple(a, b) {
  const pair = aligned(a, b);
  return !pair || pair[1] <= 0n || pair[0] % pair[1] === 0n;
}
