// Suggestions for a text field, from the server while the user types.

import { el, newId } from "./dom.js";

const pause = 250; // milliseconds without a key before the server is asked

// suggest adds them to an input. complete returns the server's values for a text.
export function suggest(input, complete) {
  const list = el("datalist", { id: newId() });
  input.setAttribute("list", list.id);
  input.after(list);
  let timer;
  let asked = 0;
  const ask = async () => {
    const turn = ++asked;
    const values = await complete(input.value).catch(() => []); // it is only a help
    if (turn !== asked) return; // an older answer
    list.replaceChildren(...values.map((value) => el("option", { value: String(value) })));
  };
  input.addEventListener("focus", ask);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, pause);
  });
}
