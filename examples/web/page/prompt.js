// A prompt: its arguments, and the messages that it becomes.

import { Panel } from "./panel.js";
import { renderMessages } from "./result.js";
import { suggest } from "./suggest.js";

export class PromptPanel extends Panel {
  constructor(client, session, prompt) {
    super(client, session, {
      title: prompt.title ?? prompt.name, name: prompt.name, description: prompt.description,
      verb: "Get prompt", nothing: "This prompt takes no arguments.",
    });
    this.prompt = prompt;
    const args = prompt.arguments ?? [];
    this.fillForm(textSchema(args));
    suggestAll(this, args.map((arg) => arg.name), { type: "ref/prompt", name: prompt.name });
  }

  send(args, options) {
    return this.client.getPrompt(this.session.id, this.prompt.name, args, options);
  }

  render(result) {
    return renderMessages(result, this.prompt.name);
  }
}

// textSchema is a schema for arguments that are all texts.
export const textSchema = (args) => ({
  type: "object",
  required: args.filter((arg) => arg.required).map((arg) => arg.name),
  properties: Object.fromEntries(args.map(({ name, title, description }) => [name, { type: "string", title, description }])),
});

// suggestAll adds suggestions to the fields of a panel's arguments.
export function suggestAll({ client, session, fields }, names, ref) {
  if (!session.completes) return;
  fields.querySelectorAll("textarea").forEach((input, i) => suggest(input, async (value) => {
    const given = fields.read();
    delete given[names[i]];
    const { completion } = await client.complete(session.id, { ref, argument: { name: names[i], value }, context: { arguments: given } });
    return completion.values ?? [];
  }));
}
