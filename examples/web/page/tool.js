// A tool: its form, its call, its result.

import { el, newId } from "./dom.js";
import { buildForm, jsonField } from "./form.js";
import { explain, Notice, withPopup } from "./notice.js";
import { renderError, renderResult } from "./result.js";

export class ToolPanel {
  constructor(client, session, tool) {
    Object.assign(this, { client, session, tool });
    this.title = el("h3", { tabindex: -1 }, tool.title ?? tool.annotations?.title ?? tool.name);
    this.fields = el("div", {});
    this.run = el("button", { class: "primary" }, "Run");
    this.stop = el("button", { type: "button", hidden: true, onclick: () => this.cancel() }, "Cancel");
    this.form = el("form", { onsubmit: (event) => { event.preventDefault(); this.call(); } },
      this.fields, el("div", { class: "actions" }, this.run, this.stop));
    this.notice = new Notice(el("div", { role: "status" }));
    this.bar = el("progress", { "aria-label": "Progress of the call" });
    this.said = el("span", { role: "status" });
    this.progress = el("div", { class: "progress", hidden: true }, this.bar, this.said);
    this.result = el("div", { role: "status", class: "results" });
    this.element = el("article", {},
      el("div", { class: "tool-head" }, el("div", {}, this.title, el("p", { class: "hint code" }, tool.name)), this.modes()),
      tool.description && el("p", { class: "about" }, tool.description), this.form, this.notice.element, this.progress, this.result);
    this.show("form", undefined);
  }

  // modes is the switch between the form and JSON.
  modes() {
    const name = newId();
    const choice = (value, text) => el("label", {}, el("input", { type: "radio", name, value, checked: value === "form", onchange: () => this.change(value) }), text);
    this.radios = el("div", { class: "modes", role: "radiogroup", "aria-label": "Arguments as" }, choice("form", "Form"), choice("json", "JSON"));
    return this.radios;
  }

  change(mode) {
    try {
      this.show(mode, this.fields.read());
    } catch { // not JSON yet: the field says so
      this.radios.querySelector("[value=json]").checked = true;
      this.form.reportValidity();
    }
  }

  show(mode, initial) {
    const schema = this.tool.inputSchema ?? {};
    const made = mode === "form" ? buildForm(schema, initial) : jsonField({ schema: { title: "Arguments", type: "object" }, name: "arguments", initial: initial ?? {} });
    this.form.firstChild.replaceChildren(made.element);
    this.fields.read = made.read;
  }

  async call() {
    if (this.running) return;
    const args = this.fields.read() ?? {};
    this.running = new AbortController();
    const { signal } = this.running;
    this.run.disabled = true;
    this.stop.hidden = false;
    this.result.replaceChildren();
    this.notice.clear();
    this.wait();
    try {
      const call = () => this.client.callTool(this.session.id, this.tool.name, args, { signal, onProgress: (p) => this.report(p) });
      const result = await withPopup(this.client, this.notice, signal, call, call);
      this.notice.clear();
      this.result.replaceChildren(renderResult(result));
      await Promise.allSettled([...this.result.querySelectorAll("img")].map((image) => image.decode())); // they have no height before
      this.session.show("connected");
    } catch (error) {
      if (signal.aborted) this.notice.say("Cancelled.");
      else this.failed(error);
    }
    this.progress.hidden = true;
    this.stop.hidden = true;
    this.run.disabled = false;
    this.running = undefined;
    this.element.lastChild.firstChild?.scrollIntoView({ block: "nearest" });
    // Cancel had the focus, and is gone; the result is just announced.
    if (document.activeElement === document.body) this.run.focus();
  }

  failed(error) {
    this.notice.clear();
    if (error.name === "AuthorizationError") this.notice.say(explain(error), "bad");
    else this.result.replaceChildren(renderError(error));
  }

  // wait shows a bar that does not know how far it is.
  wait() {
    this.bar.removeAttribute("value");
    this.said.textContent = "Running…";
    this.progress.hidden = false;
    this.progress.scrollIntoView({ block: "nearest" });
  }

  report({ progress, total, message }) {
    if (total > 0) {
      this.bar.max = total;
      this.bar.value = progress;
    }
    this.said.textContent = message || (total > 0 ? `${Math.round((100 * progress) / total)} %` : `${progress} so far`);
  }

  cancel() {
    this.running?.abort();
  }
}
