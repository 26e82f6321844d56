// What a server returned, shown by kind. All of it is the server's: it
// becomes text, or a picture or a sound from a data URL, and nothing that runs.

import { el } from "./dom.js";
import { format } from "./exact.js";
import { fileName, longText } from "./long.js";
import { clipped } from "./notice.js";

const shownParts = 50; // of a result; more are built for a click

// renderResult shows a CallToolSuccess of the tool of that name.
export function renderResult(result, name) {
  const structured = result.structuredContent;
  const same = JSON.stringify(structured);
  const blocks = some(
    result.content.filter((block) => !(structured !== undefined && block.type === "text" && sameJSON(block.text, same))),
    (block) => renderBlock(block, name));
  if (structured !== undefined) blocks.push(json("Structured", structured, name));
  const verdict = result.isError ? [el("p", { class: "verdict" }, "The tool reported an error.")] : [];
  return shown(result, name, blocks, "The tool returned nothing.", result.isError ? "result failed" : "result", verdict);
}

// renderMessages shows a GetPromptSuccess.
export function renderMessages(result, name) {
  const blocks = some(result.messages, ({ role, content }) => el("div", { class: "message" },
    el("p", { class: "role" }, String(role)), ...some([content].flat(), (block) => renderBlock(block ?? {}, name))));
  return shown(result, name, blocks, "The prompt has no messages.", "result", result.description ? [el("p", { class: "hint" }, String(result.description))] : []);
}

// renderContents shows a ReadResourceSuccess. A page for an MCP App is shown as
// the text that it is, and does not run.
export function renderContents(result, name) {
  return shown(result, name, some(result.contents, (contents) => renderResource(contents, name)), "The resource is empty.", "result", []);
}

const shown = (result, name, blocks, nothing, kind, before) => el("section", { class: kind, "aria-label": "Result" },
  ...before, ...(blocks.length ? blocks : [el("p", { class: "hint" }, nothing)]), raw(result, name));

// some renders the first of many parts, and a button for more.
function some(items, render) {
  const parts = items.slice(0, shownParts).map(render);
  const rest = items.slice(shownParts);
  if (rest.length === 0) return parts;
  const button = el("button", { type: "button", class: "small more", onclick: () => button.replaceWith(...some(rest, render)) },
    `Show more (${rest.length.toLocaleString("en")})`);
  return [...parts, button];
}

// raw is all of a result, built when it is opened.
export function raw(result, name) {
  const details = el("details", { ontoggle: () => {
    if (details.childElementCount === 1) details.append(json("JSON", result, name));
  } }, el("summary", {}, "Raw JSON"));
  return details;
}

// renderError shows what went wrong instead.
export function renderError(error) {
  const detail = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(" · ");
  const message = String(error.message || error);
  const short = clipped(message);
  const all = short === message ? [] : [text("Message", message, "error")];
  return el("section", { class: "result failed", "aria-label": "Error" },
    el("p", { class: "verdict", dir: "auto" }, short),
    error.retryAfter ? el("p", {}, `Try again in ${error.retryAfter} s.`) : undefined,
    ...all, detail && el("p", { class: "hint" }, detail));
}

function sameJSON(text, other) {
  try {
    return JSON.stringify(JSON.parse(text)) === other;
  } catch {
    return false;
  }
}

function renderBlock(block, name) {
  switch (block.type) {
    case "text":
      return text("Text", String(block.text), name);
    case "image":
      return part(`Image · ${block.mimeType}`, [], media("img", block, { alt: "The image that the tool returned" }));
    case "audio":
      return part(`Audio · ${block.mimeType}`, [], media("audio", block, { controls: true, "aria-label": "The sound that the tool returned" }));
    case "resource":
      return renderResource(block.resource ?? {}, name);
    case "resource_link":
      return part("Link", [], el("p", { class: "text", dir: "auto" }, link(block.uri, block.title ?? block.name)),
        block.description && el("p", { class: "hint", dir: "auto" }, block.description),
        el("p", { class: "hint" }, [block.uri, block.mimeType, block.size !== undefined && `${format(block.size)} bytes`].filter(Boolean).join(" · ")));
    default:
      return json(String(block.type), block, name);
  }
}

// part is a piece of a result, with buttons beside its title.
const part = (title, actions, ...children) => el("div", { class: "part" },
  el("div", { class: "part-head" }, el("h4", { dir: "auto" }, title), ...actions), ...children);

function text(title, value, name) {
  const { body, actions } = longText(value, "p", { file: fileName(name, "txt") });
  return part(title, actions, body);
}

function json(title, value, name) {
  const { body, actions } = longText(format(value), "pre", { file: fileName(name, "json"), type: "application/json" });
  return part(title, actions, body);
}

function renderResource({ uri, mimeType, text: contents, blob }, name) {
  const title = ["Resource", mimeType].filter(Boolean).join(" · ");
  const address = el("p", { class: "hint" }, uri);
  if (contents !== undefined) {
    const { body, actions } = longText(String(contents), "pre", { file: fileName(name, "txt") });
    return part(title, actions, address, body);
  }
  if (String(mimeType).startsWith("image/")) return part(title, [], address, media("img", { data: blob, mimeType }, { alt: uri }));
  return part(title, [], el("p", { class: "text" }, el("a", { href: `data:application/octet-stream;base64,${blob}`, download: "resource" }, "Download"), ` ${uri}`));
}

// media shows a picture or plays a sound, and says so where it cannot. A
// picture runs no scripts, not even an SVG.
function media(tag, { data, mimeType }, attributes) {
  const kind = tag === "img" ? "image/" : "audio/";
  const failed = () => el("p", { class: "hint" }, `The browser cannot show this ${mimeType ?? "data"}.`);
  if (!String(mimeType).startsWith(kind)) return failed();
  const node = el(tag, { ...attributes, onerror: () => node.replaceWith(failed()) });
  node.src = `data:${mimeType};base64,${data}`;
  return node;
}

// link makes a link of what a browser may open, and text of everything else.
export function link(uri, title) {
  const safe = URL.canParse(uri) && ["http:", "https:"].includes(new URL(uri).protocol);
  return safe ? el("a", { href: uri, target: "_blank", rel: "noopener noreferrer" }, title ?? uri) : title ?? uri;
}
