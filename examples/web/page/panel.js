// What tools, prompts and resources have in common: a form, a request to the
// server that may take long or ask something, and its result.

import { el } from "./dom.js";
import { buildForm } from "./form.js";
import { longText } from "./long.js";
import { clipped, explain, Notice, withPopup } from "./notice.js";
import { Questions } from "./question.js";
import { renderError } from "./result.js";

const shownDescription = 700; // characters

export class Panel {
  // about has title, name, description, verb (of the button) and nothing (what
  // the form says without fields).
  constructor(client, session, about) {
    Object.assign(this, { client, session, about });
    this.title = el("h3", { tabindex: -1, dir: "auto" }, about.title);
    this.head = el("div", { class: "tool-head" }, el("div", {}, this.title, about.name === about.title ? undefined : el("p", { class: "hint code" }, about.name)));
    this.fields = el("div", {});
    this.run = el("button", { class: "primary" }, about.verb);
    this.stop = el("button", { type: "button", hidden: true, onclick: () => this.cancel() }, "Cancel");
    this.form = el("form", { onsubmit: (event) => { event.preventDefault(); this.call(); } },
      this.fields, el("div", { class: "actions" }, this.run, this.stop));
    this.notice = new Notice(el("div", { role: "status" }));
    this.bar = el("progress", { "aria-label": "Progress of the call" });
    this.said = el("span", { dir: "auto" });
    this.progress = el("div", { class: "progress", hidden: true }, this.bar, this.said);
    this.spoken = el("p", { class: "hidden", role: "status" });
    this.questions = new Questions(session, () => this.element);
    this.result = el("div", { class: "results" });
    this.element = el("article", {}, this.head, about.description && el("div", { class: "about" }, longText(String(about.description), "p", { shown: shownDescription }).body),
      this.form, this.spoken, this.notice.element, this.progress, this.questions.element, this.result);
  }

  // fill puts a form for a schema in place. made has element and read.
  fill(made) {
    this.fields.replaceChildren(made.element);
    this.fields.read = made.read;
  }

  fillForm(schema, initial) {
    this.fill(buildForm(schema, initial, this.about.nothing));
  }

  // A kind of panel has send(args, options), which makes the request, and
  // render(result).

  async call() {
    if (this.running) return;
    const args = this.fields.read() ?? {};
    this.running = new AbortController();
    const { signal } = this.running;
    let spoken = "";
    this.run.disabled = true;
    this.stop.hidden = false;
    this.result.replaceChildren();
    this.notice.clear();
    this.wait();
    try {
      const result = await this.visiting(args, this.running);
      this.notice.clear();
      this.result.replaceChildren(this.render(result));
      spoken = summary(this.result);
      await Promise.allSettled([...this.result.querySelectorAll("img")].map((image) => image.decode())); // they have no height before
      this.session.show("connected");
    } catch (error) {
      if (signal.aborted) this.notice.say("Cancelled.");
      else spoken = this.failed(error);
    }
    this.spoken.textContent = spoken;
    this.progress.hidden = true;
    this.stop.hidden = true;
    this.run.disabled = false;
    this.running = undefined;
    this.element.lastChild.firstChild?.scrollIntoView({ block: "nearest" });
    // Cancel had the focus, and is gone; the result is just announced.
    if (document.activeElement === document.body) this.run.focus();
  }

  // visiting sends the request, and again after the user has visited what the
  // server wants visited first.
  async visiting(args, attempt) {
    const { signal } = attempt;
    const onAuthorizing = (waiting) => this.say(waiting ? "Waiting for you to sign in…" : "Running…");
    const options = {
      signal, ask: ["form", "url"], onProgress: (p) => this.report(p),
      onAuthorizing,
      onInput: (requests, about) => this.asked(requests, about),
    };
    const send = () => this.send(args, options);
    for (;;) {
      try {
        return await withPopup(this.client, this.notice, attempt, send, send, onAuthorizing);
      } catch (error) {
        if (error.code !== "url_elicitation_required") throw error;
        const places = error.rpcData.elicitations;
        const requests = Object.fromEntries(places.map((params, i) => [i, { params: { ...params, mode: "url" } }]));
        const answers = await this.asked(requests, { signal });
        if (Object.values(answers).some(({ action }) => action !== "accept")) throw error;
      }
    }
  }

  async asked(requests, about) {
    this.say("Waiting for your answer…");
    const answers = await this.questions.ask(requests, about);
    this.say("Running…");
    return answers;
  }

  // failed shows an error, and returns what to say of it aloud.
  failed(error) {
    this.notice.clear();
    if (error.name === "AuthorizationError") {
      this.notice.say(explain(error), "bad"); // which is read aloud itself
      return "";
    }
    this.result.replaceChildren(renderError(error));
    return summary(this.result);
  }

  // say shows how the call goes, and says it aloud.
  say(text) {
    this.said.textContent = text;
    this.spoken.textContent = text;
  }

  // wait shows a bar that does not know how far it is.
  wait() {
    this.bar.removeAttribute("value");
    this.say("Running…");
    this.progress.hidden = false;
    this.progress.scrollIntoView({ block: "nearest" });
  }

  report({ progress, total, message }) {
    if (total > 0) {
      this.bar.max = total;
      this.bar.value = progress;
    }
    this.said.textContent = clipped(message ?? "") || (total > 0 ? `${Math.round((100 * progress) / total)} %` : `${progress} so far`);
  }

  cancel() {
    this.running?.abort();
  }
}

// summary is what is said aloud of a result: all of it only if it is short.
function summary(result) {
  const [verdict, text] = [".verdict", ".text"].map((kind) => result.querySelector(kind)?.textContent ?? "");
  const short = text.length > 200 ? "" : text;
  return [verdict || "Done.", short || "The result is below."].join(" ");
}
