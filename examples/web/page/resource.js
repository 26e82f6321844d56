// A resource, or a template for the addresses of many.

import { el } from "./dom.js";
import { Panel } from "./panel.js";
import { suggestAll, textSchema } from "./prompt.js";
import { renderContents } from "./result.js";
import { expand, variables } from "./template.js";

export class ResourcePanel extends Panel {
  constructor(client, session, resource) {
    super(client, session, {
      title: resource.title ?? resource.name, name: resource.uri, description: resource.description, verb: "Read", nothing: "",
    });
    this.resource = resource;
    this.fillForm(textSchema([]));
  }

  send(_, options) {
    return this.client.readResource(this.session.id, this.resource.uri, options);
  }

  render(result) {
    return renderContents(result, this.resource.name);
  }
}

export class TemplatePanel extends Panel {
  constructor(client, session, template) {
    super(client, session, {
      title: template.title ?? template.name, name: template.uriTemplate, description: template.description, verb: "Read", nothing: "",
    });
    Object.assign(this, { template: template.uriTemplate, name: template.name });
    const names = variables(this.template);
    this.fillForm(textSchema(names.map((name) => ({ name, required: true }))));
    suggestAll(this, names, { type: "ref/resource", uri: this.template });
    this.address = el("p", { class: "hint code", role: "status" });
    this.fields.append(this.address);
    this.form.addEventListener("input", () => this.preview());
    this.preview();
  }

  preview() {
    this.address.textContent = expand(this.template, this.fields.read());
  }

  send(args, options) {
    return this.client.readResource(this.session.id, expand(this.template, args), options);
  }

  render(result) {
    return renderContents(result, this.name);
  }
}
