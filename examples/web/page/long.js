// A text that may be long. The beginning is shown, the rest after a click; all of
// it can be copied and downloaded.

import { el } from "./dom.js";

const shownCharacters = 2000;
const shownLines = 25;
const pieceCharacters = 8000;

// longText returns { body, actions }: the text, and buttons for it. kind is the
// element that holds the text; file is the name of a download.
export function longText(text, kind, { file, type = "text/plain", shown = shownCharacters }) {
  const begun = beginning(text, shown);
  const all = begun.length === text.length;
  const body = el(kind, { class: kind === "pre" ? "code" : "text", tabindex: kind === "pre" || !all ? 0 : undefined, dir: "auto" }, begun);
  const told = el("span", { class: "hint", role: "status" });
  const button = (name, onclick) => el("button", { type: "button", class: "small quiet", onclick }, name);
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = "Copied.";
    } catch {
      told.textContent = "The browser does not allow it.";
    }
  });
  const actions = [told, copy, button("Download", () => save(text, file, type))];
  if (all) return { body, actions };

  let open = false;
  const more = el("button", { type: "button", class: "small more", "aria-expanded": "false", onclick: () => {
    open = !open;
    show();
    if (!open) body.scrollIntoView({ block: "nearest" });
  } });
  const show = () => {
    body.replaceChildren(...(open ? pieces(text) : [`${begun}…`]));
    body.classList.toggle("open", open);
    body.scrollTop = 0;
    more.textContent = open ? "Show less" : `Show all (${bytes(text.length)})`;
    more.setAttribute("aria-expanded", String(open));
  };
  show();
  return { body: el("div", { class: "long" }, body, more), actions };
}

// beginning is what is shown of a text at once: all of it, if it is short.
function beginning(text, shown) {
  let end = Math.min(text.length, shown);
  for (let at = -1, lines = 0; lines < shownLines; lines++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0 || at >= end) break;
    if (lines === shownLines - 1) end = at;
  }
  if (text.length - end < 200) end = text.length; // not worth a click
  return text.slice(0, end).replace(/[\uD800-\uDBFF]$/, "");
}

// pieces cuts a text, at the ends of lines where it can. The browser lays out only
// the pieces in view: a megabyte at once would take seconds.
function pieces(text) {
  const parts = [];
  for (let at = 0; at < text.length; ) {
    const line = text.indexOf("\n", at + pieceCharacters) + 1;
    const space = text.indexOf(" ", at + pieceCharacters) + 1;
    const end = [line, space, at + 2 * pieceCharacters].find((end) => end > 0 && end <= at + 2 * pieceCharacters);
    parts.push(el("span", { class: "piece" }, text.slice(at, end)));
    at = end;
  }
  return parts;
}

// bytes says how much a number of bytes is.
export function bytes(count) {
  const [unit, divisor] = count < 1e3 ? ["bytes", 1] : count < 1e6 ? ["kB", 1e3] : ["MB", 1e6];
  return `${(count / divisor).toLocaleString("en", { maximumFractionDigits: divisor > 1 ? 1 : 0 })} ${unit}`;
}

function save(text, file, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// fileName makes a name for a file of what a server calls something.
export const fileName = (name, extension) => `${String(name ?? "").replace(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 60) || "result"}.${extension}`;
