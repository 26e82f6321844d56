// A session on the page: its line in the list of sessions, and its view with
// what the server offers. Views stay in the document while another one is shown,
// so that calls go on and forms keep what was typed.

import { renderAbout } from "./about.js";
import { el, newId } from "./dom.js";
import { List } from "./list.js";
import { cancelButton, explain, Notice, withPopup } from "./notice.js";
import { PromptPanel } from "./prompt.js";
import { ResourcePanel, TemplatePanel } from "./resource.js";
import { ToolPanel } from "./tool.js";
import { back } from "./way.js";

// statuses of the API: what the badge says, its kind, and what to do.
const statuses = {
  connected: ["Connected", "good"],
  authorizing: ["Waiting for you", "busy"],
  authorization_required: ["Sign in again", "busy", "Your sign-in at this server has ended. Sign in again to use its tools."],
  failed: ["Not connected", "bad", "The server could not be connected. Sign in to try again."],
  expired: ["Expired", "bad"],
};

export class SessionView {
  // on has select(view), leave(view) and end(view).
  constructor(client, session, on) {
    this.leave = () => on.leave(this);
    Object.assign(this, { client, on, id: session.sessionId, questions: 0, loaded: false });
    this.host = URL.canParse(session.serverUrl) ? new URL(session.serverUrl).host : session.serverUrl;
    this.name = session.serverName || this.host;
    this.badges = [el("span", { class: "badge" }), el("span", { class: "badge" })];
    this.line = el("button", { type: "button", onclick: () => on.select(this, true) },
      el("span", { class: "name", dir: "auto" }, this.name), this.badges[0], el("span", { class: "hint" }, this.host));
    this.item = el("li", {}, this.line);
    this.back = el("button", { type: "button", class: "small back", onclick: () => back(this.leave) }, "All servers");
    this.title = el("h2", { tabindex: -1, dir: "auto" }, this.name);
    this.notice = new Notice(el("div", { role: "status" }));
    this.again = el("button", { type: "button", class: "primary", onclick: () => this.load() }, "Sign in");
    this.end = el("button", { type: "button", onclick: () => this.disconnect() }, "Disconnect");
    this.lists = {
      tools: new List({ one: "tool", many: "tools" }),
      prompts: new List({ one: "prompt", many: "prompts" }),
      resources: new List({ one: "resource", many: "resources" }),
    };
    this.body = el("div", { class: "offer", hidden: true });
    this.element = el("section", { class: "session", "aria-label": this.name, hidden: true },
      el("div", { class: "session-head" },
        this.back, el("div", {}, el("div", { class: "title" }, this.title, this.badges[1]), el("p", { class: "hint code" }, session.serverUrl)),
        el("div", { class: "actions" }, this.again, this.end)),
      this.notice.element, this.body);
    this.show(session.status);
    this.notice.say(statuses[session.status]?.[2] ?? "");
  }

  // show takes a status of the API.
  show(status) {
    this.status = status;
    const [text, kind] = this.questions ? ["Asks you", "busy"] : statuses[status] ?? [status, ""];
    for (const badge of this.badges) {
      badge.textContent = text;
      badge.className = `badge ${kind}`;
    }
    this.again.hidden = status === "connected";
  }

  // asks counts the questions that wait for the user.
  asks(change) {
    this.questions += change;
    this.show(this.status);
  }

  // load lists what the server has, which may ask the user to authorize.
  async load() {
    if (this.loading) return;
    this.loading = new AbortController();
    const { signal } = this.loading;
    const loading = () => this.notice.say("Loading the tools…", "busy");
    const onAuthorizing = (waiting) => {
      if (waiting) this.notice.say("Sign in in the window that opened.", "busy", cancelButton(this.loading));
      else loading();
    };
    this.again.disabled = true;
    loading();
    try {
      const fetch = () => this.fetch(signal, onAuthorizing);
      this.fill(await withPopup(this.client, this.notice, this.loading, fetch, fetch, onAuthorizing));
      this.show("connected");
      this.notice.clear();
    } catch (error) {
      if (signal.aborted) this.notice.say("Cancelled.");
      else await this.failed(error);
    }
    this.again.disabled = false;
    this.loading = undefined;
  }

  // fetch gets what the server has. The tools come first: where the user must
  // authorize, one window is enough.
  async fetch(signal, onAuthorizing) {
    const { client, id } = this;
    const tools = await client.listTools(id, { signal, onAuthorizing });
    const server = await client.server(id, { signal });
    const has = (capability) => capability in server.capabilities;
    const [prompts, resources, templates] = await Promise.all([
      has("prompts") ? client.listPrompts(id, { signal }) : [],
      has("resources") ? client.listResources(id, { signal }) : [],
      has("resources") ? client.listResourceTemplates(id, { signal }).catch(templateless) : [],
    ]);
    return { server, tools, prompts, resources, templates };
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

  fill({ server, tools, prompts, resources, templates }) {
    this.completes = "completions" in server.capabilities;
    const item = (thing, key, Panel) => ({
      key, hint: thing.description ?? ((thing.title ?? thing.name) === key ? "" : key), title: thing.title ?? thing.annotations?.title ?? thing.name,
      words: `${key} ${thing.name} ${thing.title ?? ""} ${thing.description ?? ""}`,
      panel: () => new Panel(this.client, this, thing),
    });
    this.lists.tools.fill(tools.map((tool) => item(tool, tool.name, ToolPanel)));
    this.lists.prompts.fill(prompts.map((prompt) => item(prompt, prompt.name, PromptPanel)));
    this.lists.resources.fill([
      ...resources.map((resource) => item(resource, resource.uri, ResourcePanel)),
      ...templates.map((template) => item(template, template.uriTemplate, TemplatePanel)),
    ]);
    this.showTabs({
      Tools: this.lists.tools.element,
      ...(prompts.length && { Prompts: this.lists.prompts.element }),
      ...(resources.length + templates.length && { Resources: this.lists.resources.element }),
      About: renderAbout(server),
    });
    this.loaded = true;
  }

  // showTabs is the switch between the kinds of things that the server has.
  showTabs(tabs) {
    const name = newId();
    const show = (shown) => { for (const [title, element] of Object.entries(tabs)) element.hidden = title !== shown; };
    this.body.replaceChildren(
      el("div", { class: "tabs" }, el("div", { class: "modes", role: "radiogroup", "aria-label": "Show" }, ...Object.keys(tabs).map((title) =>
        el("label", {}, el("input", { type: "radio", name, checked: title === "Tools", onchange: () => show(title) }), title)))),
      ...Object.values(tabs));
    show("Tools");
    this.body.hidden = false;
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
    for (const list of Object.values(this.lists)) list.cancel();
  }
}

// templateless is for servers that have resources, and have never heard of
// templates.
function templateless(error) {
  if (error.code !== "mcp_error") throw error;
  return [];
}
