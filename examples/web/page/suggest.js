// Suggestions for a text field, from the server while the user types.

import { el } from "./dom.js";

const pause = 250; // milliseconds without a key before the server is asked
const most = 8; // suggestions at once

// suggest adds them below a field. complete returns the server's values for a text.
export function suggest(input, complete) {
  const list = el("div", { class: "suggestions", role: "group", "aria-label": "Suggestions" });
  input.closest(".field").append(list);
  let timer;
  let asked = 0;
  const take = (value) => {
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    clearTimeout(timer);
    list.replaceChildren();
    input.focus();
  };
  const ask = async () => {
    const turn = ++asked;
    const values = await complete(input.value).catch(() => []); // it is only a help
    if (turn !== asked) return; // an older answer
    list.replaceChildren(...values.map(String).filter((value) => value !== input.value).slice(0, most).map((value) =>
      el("button", { type: "button", class: "small", onclick: () => take(value) }, el("bdi", {}, value))));
  };
  input.addEventListener("focus", () => input.value === "" && ask());
  input.addEventListener("input", () => {
    asked++; // what is on its way is for another text
    clearTimeout(timer);
    timer = setTimeout(ask, pause);
  });
}
