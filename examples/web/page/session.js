// A session on the page: its line in the list of sessions, and its view with
// the tools. Views stay in the document while another one is shown, so that
// calls go on and forms keep what was typed.

import { el, newId } from "./dom.js";
import { explain, Notice, withPopup } from "./notice.js";
import { ToolPanel } from "./tool.js";

const statuses = {
  connected: ["Connected", "good"],
  authorizing: ["Waiting for you", "busy"],
  authorization_required: ["Sign in again", "busy"],
  failed: ["Not connected", "bad"],
  expired: ["Expired", "bad"],
};

export class SessionView {
  // on has select(view) and end(view).
  constructor(client, session, on) {
    Object.assign(this, { client, on, id: session.sessionId, panels: new Map(), tools: [] });
    const url = URL.canParse(session.serverUrl) ? new URL(session.serverUrl).host : session.serverUrl;
    this.name = session.serverName || url;
    this.badges = [el("span", { class: "badge" }), el("span", { class: "badge" })];
    this.line = el("button", { type: "button", onclick: () => on.select(this, true) },
      el("span", { class: "name" }, this.name), this.badges[0], el("span", { class: "hint" }, url));
    this.item = el("li", {}, this.line);
    this.title = el("h2", { tabindex: -1 }, this.name);
    this.notice = new Notice(el("div", { role: "status" }));
    this.again = el("button", { type: "button", onclick: () => this.load() }, "Sign in");
    this.end = el("button", { type: "button", onclick: () => this.disconnect() }, "Disconnect");
    this.makeTools();
    this.element = el("section", { class: "session", "aria-label": this.name, hidden: true },
      el("div", { class: "session-head" },
        el("div", {}, el("div", { class: "title" }, this.title, this.badges[1]), el("p", { class: "hint code" }, session.serverUrl)),
        el("div", { class: "actions" }, this.again, this.end)),
      this.notice.element, this.body);
    this.show(session.status);
  }

  makeTools() {
    const id = newId();
    this.search = el("input", { id, type: "search", placeholder: "Search tools", autocomplete: "off", oninput: () => this.filter() });
    this.count = el("p", { class: "hint", role: "status" });
    this.list = el("ul", { class: "tools", "aria-label": "Tools" });
    this.panel = el("div", { class: "panel" }, el("p", { class: "placeholder" }, "Pick a tool to use it."));
    this.body = el("div", { class: "session-body", hidden: true },
      el("div", { class: "side" }, el("div", { class: "side-stay" },
        el("label", { for: id, class: "hidden" }, "Search tools"), this.search, this.count, this.list)),
      this.panel);
  }

  // show takes a status of the API.
  show(status) {
    this.status = status;
    const [text, kind] = statuses[status] ?? [status, ""];
    for (const badge of this.badges) {
      badge.textContent = text;
      badge.className = `badge ${kind}`;
    }
    this.again.hidden = status === "connected";
  }

  // load lists the tools, which may ask the user to authorize.
  async load() {
    if (this.loading) return;
    this.loading = new AbortController();
    const { signal } = this.loading;
    this.again.disabled = true;
    this.notice.say("Loading the tools…", "busy");
    try {
      const list = () => this.client.listTools(this.id, { signal });
      this.tools = await withPopup(this.client, this.notice, signal, list, list);
      this.show("connected");
      this.notice.clear();
      this.fill();
    } catch (error) {
      if (!signal.aborted) await this.failed(error);
    }
    this.again.disabled = false;
    this.loading = undefined;
  }

  // failed says why, and asks the API where the session stands now.
  async failed(error) {
    this.notice.say(explain(error), "bad", error.code === "session_not_found" ? undefined : el("button", { type: "button", class: "small", onclick: () => this.load() }, "Try again"));
    try {
      this.show((await this.client.status(this.id)).status);
    } catch {
      this.show(error.code === "session_not_found" ? "expired" : this.status);
    }
  }

  fill() {
    this.entries = this.tools.map((tool) => {
      const button = el("button", { type: "button", onclick: () => this.pick(tool, button) },
        el("span", { class: "name" }, tool.title ?? tool.annotations?.title ?? tool.name),
        el("span", { class: "hint" }, tool.description ?? tool.name));
      return { tool, button, item: el("li", {}, button) };
    });
    this.list.replaceChildren(...this.entries.map((entry) => entry.item));
    this.body.hidden = false;
    this.filter();
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { tool, item } of this.entries ?? []) {
      const text = `${tool.name} ${tool.title ?? ""} ${tool.description ?? ""}`.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      if (!item.hidden) shown++;
    }
    const total = this.tools.length;
    this.count.textContent = words.length ? `${shown} of ${total} tools` : total === 1 ? "1 tool" : `${total} tools`;
  }

  pick(tool, button) {
    let panel = this.panels.get(tool.name);
    if (!panel) {
      panel = new ToolPanel(this.client, this, tool);
      this.panels.set(tool.name, panel);
    }
    for (const entry of this.entries) entry.button.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    this.panel.replaceChildren(panel.element);
    panel.title.focus();
  }

  async disconnect() {
    this.end.disabled = true;
    this.stop();
    this.notice.say("Disconnecting…", "busy");
    try {
      await this.client.disconnect(this.id);
    } catch (error) {
      if (error.code !== "session_not_found") {
        this.end.disabled = false;
        this.notice.say(explain(error), "bad");
        return;
      }
    }
    this.on.end(this);
  }

  // stop gives up whatever is going on.
  stop() {
    this.loading?.abort();
    for (const panel of this.panels.values()) panel.cancel();
  }
}
