// What a server returned, shown by kind. All of it is the server's: it
// becomes text, or a picture or a sound from a data URL, and nothing that runs.

import { el } from "./dom.js";
import { format } from "./exact.js";

// renderResult shows a CallToolSuccess.
export function renderResult(result) {
  const structured = result.structuredContent;
  const same = JSON.stringify(structured);
  const blocks = result.content
    .filter((block) => !(structured !== undefined && block.type === "text" && sameJSON(block.text, same)))
    .map(renderBlock);
  if (structured !== undefined) blocks.push(part("Structured", json(structured)));
  if (blocks.length === 0) blocks.push(el("p", { class: "hint" }, "The tool returned nothing."));
  return el("div", { class: result.isError ? "result failed" : "result" },
    result.isError ? el("p", { class: "verdict" }, "The tool reported an error.") : undefined,
    ...blocks,
    el("details", {}, el("summary", {}, "Raw JSON"), json(result)));
}

// renderMessages shows a GetPromptSuccess.
export function renderMessages(result) {
  const blocks = result.messages.map(({ role, content }) => el("div", { class: "message" },
    el("p", { class: "role" }, String(role)), ...[content].flat().map((block) => renderBlock(block ?? {}))));
  return shown(result, blocks, "The prompt has no messages.", result.description && el("p", { class: "hint" }, String(result.description)));
}

// renderContents shows a ReadResourceSuccess. A page for an MCP App is shown as
// the text that it is, and does not run.
export function renderContents(result) {
  return shown(result, result.contents.map(renderResource), "The resource is empty.");
}

const shown = (result, blocks, nothing, ...before) => el("div", { class: "result" },
  ...before, ...(blocks.length ? blocks : [el("p", { class: "hint" }, nothing)]),
  el("details", {}, el("summary", {}, "Raw JSON"), json(result)));

// renderError shows what went wrong instead.
export function renderError(error) {
  const detail = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(" · ");
  return el("div", { class: "result failed" },
    el("p", { class: "verdict" }, error.message || String(error)),
    error.retryAfter ? el("p", {}, `Try again in ${error.retryAfter} s.`) : undefined,
    detail && el("p", { class: "hint" }, detail));
}

function sameJSON(text, other) {
  try {
    return JSON.stringify(JSON.parse(text)) === other;
  } catch {
    return false;
  }
}

function renderBlock(block) {
  switch (block.type) {
    case "text":
      return part("Text", el("p", { class: "text" }, String(block.text)));
    case "image":
      return part(`Image · ${block.mimeType}`, media("img", block, { alt: "The image that the tool returned" }));
    case "audio":
      return part(`Audio · ${block.mimeType}`, media("audio", block, { controls: true, "aria-label": "The sound that the tool returned" }));
    case "resource":
      return renderResource(block.resource ?? {});
    case "resource_link":
      return part("Link", el("p", { class: "text" }, link(block.uri, block.title ?? block.name)),
        block.description && el("p", { class: "hint" }, block.description),
        el("p", { class: "hint" }, [block.uri, block.mimeType, block.size !== undefined && `${format(block.size)} bytes`].filter(Boolean).join(" · ")));
    default:
      return part(String(block.type), json(block));
  }
}

const part = (title, ...children) => el("section", {}, el("h4", {}, title), ...children);
const json = (value) => el("pre", { class: "code", tabindex: 0 }, format(value));

function renderResource({ uri, mimeType, text, blob }) {
  const title = ["Resource", mimeType].filter(Boolean).join(" · ");
  if (text !== undefined) return part(title, el("p", { class: "hint" }, uri), el("pre", { class: "code", tabindex: 0 }, String(text)));
  if (String(mimeType).startsWith("image/")) return part(title, el("p", { class: "hint" }, uri), media("img", { data: blob, mimeType }, { alt: uri }));
  return part(title, el("p", { class: "text" }, el("a", { href: `data:application/octet-stream;base64,${blob}`, download: "resource" }, "Download"), ` ${uri}`));
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
