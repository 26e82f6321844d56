// What a server says of itself. All of it is the server's word.

import { el } from "./dom.js";
import { link, raw } from "./result.js";

export function renderAbout({ protocolVersion, serverInfo, capabilities, instructions }) {
  const row = (name, value) => (value === undefined || value === "" ? [] : [el("dt", {}, name), el("dd", {}, value)]);
  const can = Object.keys(capabilities).sort().join(", ");
  return el("div", { class: "panel" },
    el("h3", {}, String(serverInfo.title ?? serverInfo.name ?? "The server")),
    serverInfo.description && el("p", { class: "about" }, String(serverInfo.description)),
    el("dl", { class: "facts" },
      ...row("Name", serverInfo.name && String(serverInfo.name)), ...row("Version", serverInfo.version && String(serverInfo.version)),
      ...row("Website", serverInfo.websiteUrl && link(String(serverInfo.websiteUrl))),
      ...row("Protocol", protocolVersion), ...row("Offers", can || "nothing")),
    el("h4", {}, "Instructions for a model"),
    instructions ? el("pre", { class: "code", tabindex: 0 }, instructions) : el("p", { class: "hint" }, "The server gives none."),
    raw({ protocolVersion, serverInfo, capabilities }, serverInfo.name));
}
