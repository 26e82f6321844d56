// A tool: its form, which can also be JSON.

import { el, newId } from "./dom.js";
import { argumentsField } from "./form.js";
import { Panel } from "./panel.js";
import { renderResult } from "./result.js";

export class ToolPanel extends Panel {
  constructor(client, session, tool) {
    super(client, session, {
      title: tool.title ?? tool.annotations?.title ?? tool.name, name: tool.name, description: tool.description,
      verb: "Run", nothing: "This tool takes no arguments.",
    });
    this.tool = tool;
    this.head.append(this.modes());
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
    if (mode === "form") this.fillForm(this.tool.inputSchema ?? {}, initial);
    else this.fill(argumentsField(initial));
  }

  send(args, options) {
    return this.client.callTool(this.session.id, this.tool.name, args, options);
  }

  render(result) {
    return renderResult(result, this.tool.name);
  }
}
