import { openApart } from "/api/mcp/mcp-oauth.js";
import { el } from "./dom.js";

// Notice says in one place how something goes, with what the user can do about
// it. Its element is a live region.
export class Notice {
  constructor(element) {
    this.element = element;
  }

  // say replaces what was there. It is read aloud, so that of a long text only the
  // beginning is shown. kind is "busy", "good", "bad" or nothing.
  say(text, kind = "", ...actions) {
    this.element.className = `notice ${kind}`;
    this.element.replaceChildren(...(text ? [el("span", { class: "said", dir: "auto" }, clipped(text)), ...actions.filter(Boolean)] : []));
  }

  clear() {
    this.say("");
  }
}

const most = 400; // characters

// clipped is the beginning of a text of the server that should have been short.
export const clipped = (text) => (text.length > most ? `${text.slice(0, most)}…` : text);

// cancelButton gives a call up by its AbortController.
export const cancelButton = (attempt) => el("button", { type: "button", class: "small", onclick: () => attempt.abort() }, "Cancel");

// withPopup makes a call that may have to open a window for the user to
// authorize. Where the browser blocked that window it offers a link, which no
// browser blocks, and goes on with resume once the user is back. attempt is the
// AbortController of the call; onAuthorizing is the client's, of the same call.
export async function withPopup(client, notice, attempt, call, resume, onAuthorizing) {
  try {
    return await call();
  } catch (error) {
    if (error.code !== "popup_blocked" || !/^https?:/.test(error.authUrl)) throw error;
    const link = el("a", { href: error.authUrl, target: "_blank", rel: "noopener noreferrer", class: "button", onclick: (event) => {
      // A small window where that works, else what the link does.
      const popup = openApart();
      if (!popup) return;
      event.preventDefault();
      popup.location.replace(link.href);
    } }, "Continue");
    onAuthorizing?.(true);
    notice.say("The browser blocked the window. Continue there, and come back.", "busy", link, cancelButton(attempt));
    link.focus();
    await client.waitAuthorized(error.sessionId, { signal: attempt.signal });
    notice.clear();
    onAuthorizing?.(false);
    return resume(error.sessionId);
  }
}

// explain puts an error into words.
export function explain(error) {
  switch (error.code) {
    case "access_denied":
      return "You said no, so nothing was connected. You can try again.";
    case "popup_closed":
      return "The window was closed before you answered. You can try again.";
    case "authorization_expired":
      return "You took too long to answer. Please try again.";
  }
  return error.message || String(error);
}
