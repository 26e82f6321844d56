// URI templates (RFC 6570), with values that are texts.

const expression = /\{([+#./;?&]?)([^{}]*)\}/g;

// How an expression begins, what is between its values, and whether it has names.
const operators = {
  "": ["", ","], "+": ["", ","], "#": ["#", ","], ".": [".", "."], "/": ["/", "/"],
  ";": [";", ";", true], "?": ["?", "&", true], "&": ["&", "&", true],
};

// parts are the variables of an expression, without their modifiers.
const parts = (list) => list.split(",").map((part) => /^([^:*]*)(?::(\d+))?/.exec(part.trim())).filter(([, name]) => name);

// variables returns the names in a template, each once.
export const variables = (template) => [...new Set([...template.matchAll(expression)].flatMap(([, , list]) => parts(list).map(([, name]) => name)))];

// expand puts values into a template. Missing values are left out.
export function expand(template, values) {
  return template.replace(expression, (_, operator, list) => {
    const [first, between, named] = operators[operator];
    const reserved = operator === "+" || operator === "#";
    const done = parts(list).flatMap(([, name, length]) => {
      if (!Object.hasOwn(values, name)) return [];
      const value = [...values[name]].slice(0, length ?? Infinity).join("");
      const text = reserved ? encodeURI(value).replace(/%25(?=[0-9a-f]{2})/gi, "%") : strict(value);
      if (!named) return [text];
      return [operator === ";" && text === "" ? name : `${name}=${text}`];
    });
    return done.length ? first + done.join(between) : "";
  });
}

// strict escapes all but the unreserved characters.
const strict = (value) => encodeURIComponent(value).replace(/[!'()*]/g, (char) => "%" + char.charCodeAt(0).toString(16).toUpperCase());
