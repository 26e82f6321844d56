// What a server asks the user in the middle of a call: a form, or a page
// elsewhere that the user is to visit. Nothing is sent, fetched or opened before
// the user says so.

import { el } from "./dom.js";
import { buildForm } from "./form.js";
import { longText } from "./long.js";
import { Notice } from "./notice.js";

export class Questions {
  // session is whose server asks; around returns the element in which the user
  // is waiting.
  constructor(session, around) {
    Object.assign(this, { session, around, given: new WeakMap() });
    this.element = el("div", { class: "questions" });
  }

  // ask shows questions until all are answered, and returns the answers by name.
  // signal takes them away. problem says what was wrong with the last answers to
  // the same questions, which are shown again.
  async ask(requests, { signal, problem }) {
    const before = this.given.get(requests) ?? {};
    const cards = Object.entries(requests).map(([name, request]) => ({ name, ...this.card(request.params ?? {}, before[name], problem) }));
    const elements = cards.map((card) => card.element);
    const gone = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
    this.element.append(...elements);
    this.session.asks(1);
    this.focus(cards[0]);
    try {
      signal.throwIfAborted();
      const answers = Promise.all(cards.map(async (card) => [card.name, await card.answer]));
      const inputs = Object.fromEntries(await Promise.race([answers, gone]));
      this.given.set(requests, inputs);
      return inputs;
    } finally {
      gone.catch(() => {}); // the caller may not wait any more
      for (const element of elements) element.remove();
      this.session.asks(-1);
    }
  }

  // focus scrolls to the question, and moves the keyboard focus only if the user
  // is not at work elsewhere.
  focus(card) {
    card?.element.scrollIntoView({ block: "nearest" });
    const { activeElement } = document;
    if (card && (activeElement === document.body || this.around().contains(activeElement))) card.title.focus();
  }

  card(params, before, problem) {
    return params.mode === "url" ? this.visit(params) : this.fill(params, before, problem);
  }

  // frame is a card with the server's words and the buttons that every question
  // has. It is done with what settle is called with.
  frame(message, content, button) {
    let settle;
    const answer = new Promise((resolve) => { settle = resolve; });
    const title = el("h4", { tabindex: -1 }, el("bdi", {}, this.session.name), " asks");
    const element = el("form", { class: "question", "aria-label": `${this.session.name} asks` },
      title, longText(String(message ?? ""), "p", {}).body, ...content,
      el("div", { class: "actions" }, button,
        el("button", { type: "button", onclick: () => settle({ action: "decline" }) }, "Decline"),
        el("button", { type: "button", class: "quiet", onclick: () => settle({ action: "cancel" }) }, "Not now")));
    return { element, title, answer, settle };
  }

  // fill is a question with a form.
  fill({ message, requestedSchema }, before, problem) {
    const form = buildForm(requestedSchema ?? { properties: {} }, before?.content, "");
    const notice = new Notice(el("div", { role: "alert" }));
    if (problem) notice.say(problem.message, "bad");
    const card = this.frame(message,
      [form.element, notice.element, el("p", { class: "hint" }, `What you enter is sent to ${this.session.host}. Enter no passwords here.`)],
      el("button", { class: "primary" }, "Send"));
    card.element.addEventListener("submit", (event) => {
      event.preventDefault();
      card.settle({ action: "accept", content: form.read() });
    });
    return card;
  }

  // visit is a question for which the user is to open a page: the server's choice,
  // so that all of the address is shown, as the browser reads it. Only a click
  // opens it, in a window without a hold on this one.
  visit({ message, url }) {
    const target = URL.canParse(url) ? new URL(url) : undefined;
    const web = target && ["http:", "https:"].includes(target.protocol);
    const done = el("button", { class: "primary", hidden: true }, "I am done there");
    const open = web && el("a", { class: "button", href: target.href, target: "_blank", rel: "noopener noreferrer", onclick: () => {
      open.classList.add("plain");
      done.hidden = false;
      hint.textContent = "It is open in another tab. Come back when you are done there.";
    } }, `Open ${target.host}`);
    const hint = el("p", { class: "hint", role: "status" }, !web ? "This address cannot be opened." : warning(target));
    const card = this.frame(message, [
      el("div", { class: "address" }, el("p", { class: "host" }, web ? target.host : "No web address"), el("p", { class: "hint code" }, target?.href ?? String(url))),
      hint,
    ], el("span", { class: "actions" }, open || undefined, done));
    card.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!done.hidden) card.settle({ action: "accept" });
    });
    return card;
  }
}

// warning says what is odd about an address.
function warning({ protocol, hostname, username }) {
  const oddities = [
    protocol === "http:" && "The connection to it is not encrypted.",
    username && "It has a user name in it, which can make it look like another one.",
    hostname.split(".").some((label) => label.startsWith("xn--")) && "Its name has letters that can look like others.",
  ].filter(Boolean);
  return oddities.length ? `Look closely at this address. ${oddities.join(" ")}` : "Open it only if you know and trust this address.";
}
