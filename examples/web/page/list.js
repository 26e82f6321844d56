// A list of what a server has of one kind, with a search, and the panel of what
// was picked. Panels stay while another one is shown, so that calls go on and
// forms keep what was typed. A narrow screen has either the list or the panel.

import { el, newId } from "./dom.js";
import { back, forward } from "./way.js";

export class List {
  // kind is what the list is of, as in { one: "tool", many: "tools" }.
  constructor(kind) {
    Object.assign(this, { kind, entries: [], panels: new Map(), picked: undefined });
    const id = newId();
    const search = `Search ${kind.many}`;
    this.search = el("input", { id, type: "search", placeholder: search, autocomplete: "off", oninput: () => this.filter() });
    this.count = el("p", { class: "hint", role: "status" });
    this.list = el("ul", { class: "tools", "aria-label": kind.many[0].toUpperCase() + kind.many.slice(1) });
    this.back = el("button", { type: "button", class: "small back", onclick: () => back(this.leave) }, `All ${kind.many}`);
    this.panel = el("div", { class: "panel" }, el("p", { class: "placeholder" }, `Pick a ${kind.one} to use it.`));
    this.element = el("div", { class: "session-body" },
      el("div", { class: "side" },
        el("div", { class: "find" }, el("label", { for: id, class: "hidden" }, search), this.search, this.count), this.list),
      this.panel);
  }

  // fill shows items: { key, title, hint, words (to search in), panel (makes it) }.
  fill(items) {
    this.entries = items.map((item) => {
      const button = el("button", { type: "button", onclick: () => this.pick(item, button) },
        el("span", { class: "name", dir: "auto" }, item.title), el("span", { class: "hint", dir: "auto" }, item.hint));
      if (item.key === this.picked) button.setAttribute("aria-current", "true");
      return { ...item, button, line: el("li", {}, button) };
    });
    this.list.replaceChildren(...this.entries.map((entry) => entry.line));
    this.filter();
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { words: text, line } of this.entries) {
      line.hidden = !words.every((word) => text.toLowerCase().includes(word));
      if (!line.hidden) shown++;
    }
    const total = this.entries.length;
    const { one, many } = this.kind;
    this.count.textContent = words.length ? `${shown} of ${total} ${many}` : total === 1 ? `1 ${one}` : `${total} ${many}`;
  }

  pick(item, button) {
    if (!this.panels.has(item.key)) this.panels.set(item.key, item.panel());
    const panel = this.panels.get(item.key);
    this.picked = item.key;
    for (const entry of this.entries) entry.button.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    this.panel.replaceChildren(this.back, panel.element);
    this.panel.scrollTop = 0;
    const before = this.element.classList.contains("picked");
    this.element.classList.add("picked");
    panel.title.focus({ preventScroll: true });
    this.panel.scrollIntoView({ block: "nearest" });
    if (!this.back.checkVisibility()) return;
    scrollTo(0, 0);
    if (!before) forward(this.leave);
  }

  // leave goes back to the list, to where it was.
  leave = () => {
    this.element.classList.remove("picked");
    const entry = this.entries.find(({ key }) => key === this.picked);
    (entry && !entry.line.hidden ? entry.button : this.search).focus();
  };

  cancel() {
    for (const panel of this.panels.values()) panel.cancel();
  }
}
