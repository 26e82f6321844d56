// What an empty field means: that nothing is sent, null, or an empty text or list.

import { el } from "./dom.js";

// whenEmpty returns { element, needed, read } for the meanings that a spec allows.
// empty is the value of the type that is empty, if any; a text that is required is
// meant to be filled in all the same. needed reports whether the field must not
// stay empty. The element is undefined where there is no choice.
export function whenEmpty({ schema, required, given, initial }, title, empty, change) {
  const meanings = [];
  if (!required) meanings.push(["Empty: not sent", undefined]);
  if (schema.nullable) meanings.push(["Empty: null", null]);
  const needed = meanings.length === 0 && !Array.isArray(empty);
  if (needed) meanings.push(["Must be filled in", undefined]);
  if (empty !== undefined) meanings.push([Array.isArray(empty) ? "Empty: empty list" : "Empty: empty text", empty]);
  const chosen = given ? meanings.findIndex(([, value]) => JSON.stringify(value) === JSON.stringify(initial)) : 0;
  const select = el("select", { class: "when-empty", "aria-label": `When ${title} is empty`, onchange: () => mark() },
    ...meanings.map(([text], i) => el("option", { value: i, selected: i === chosen }, text)));
  const mark = () => {
    select.classList.toggle("changed", select.value !== "0");
    change?.();
  };
  select.classList.toggle("changed", select.value !== "0");
  return {
    element: meanings.length > 1 ? select : undefined,
    needed: () => needed && select.value === "0",
    read: () => meanings[select.value][1],
  };
}
