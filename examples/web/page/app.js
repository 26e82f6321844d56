// The page: connect, and the list of sessions. The library's mcp-oauth.js does
// the talking to the host. The rest of what is on the screen is in session.js,
// panel.js (what is common to tools, prompts and resources), question.js (what a
// server asks the user), form.js (made of the fields in field.js) and result.js.

import { MCPOAuth } from "/api/mcp/mcp-oauth.js";
import { el } from "./dom.js";
import { parse } from "./exact.js";
import { cancelButton, explain, Notice, withPopup } from "./notice.js";
import { SessionView } from "./session.js";
import { forward } from "./way.js";

const $ = (id) => document.getElementById(id);
const client = new MCPOAuth({ baseUrl: "/api/mcp", parse });
const views = new Map(); // session ID → SessionView
const notice = new Notice($("connect-notice"));
let presets = [];
let connecting; // the AbortController of the connect in progress

function submit(event) {
  event.preventDefault();
  if (!connecting) connect();
}

// connect connects to the server of the form. A server that has forgotten this
// application shows an error on its sign-in page and tells only the user:
// fresh asks for a new client registration.
async function connect(fresh = false) {
  const attempt = (connecting = new AbortController());
  const { signal } = attempt;
  const serverUrl = $("url").value.trim();
  const serverName = presets.find((preset) => preset.url === serverUrl)?.name;
  let again = false;
  const broken = el("button", { type: "button", class: "small", onclick: () => {
    again = client.openPopup(); // while the browser knows that the user clicked
    attempt.abort();
  } }, "The sign-in page shows an error");
  $("connect-button").disabled = true;
  if (fresh) notice.say("Connecting again. Answer in the new window, and close the one with the error.", "busy", cancelButton(attempt));
  else notice.say("Connecting. If a window opens, answer there.", "busy", cancelButton(attempt), broken);
  try {
    const { sessionId } = await withPopup(client, notice, attempt,
      () => client.connect(serverUrl, { serverName, fresh, signal }), (id) => ({ sessionId: id }));
    notice.say("Connected.", "good");
    const view = add({ sessionId, serverUrl, serverName, status: "connected" });
    select(view, true);
    await view.load();
  } catch (error) {
    if (signal.aborted) notice.say("Cancelled. If a window is still open, you can close it.");
    else notice.say(explain(error), "bad");
    // A window that isolates itself looks closed, and may still be answered.
    if (error.sessionId && error.code !== "popup_closed") await client.disconnect(error.sessionId).catch(() => {}); // else it expires
  } finally {
    connecting = undefined;
    $("connect-button").disabled = false;
    if (document.activeElement === document.body) $("connect-button").focus(); // what had the focus is gone
  }
  if (again) await connect(true);
}

// add shows a session, once.
function add(session) {
  let view = views.get(session.sessionId);
  if (!view) {
    view = new SessionView(client, session, { select, leave, end });
    views.set(view.id, view);
    $("sessions").append(view.item);
    $("main").append(view.element);
    $("sessions-section").hidden = false;
  }
  return view;
}

// select shows one session. Moving the focus to it is for when a person asked.
function select(view, focus) {
  for (const other of views.values()) {
    other.element.hidden = other !== view;
    if (other === view) other.line.setAttribute("aria-current", "true");
    else other.line.removeAttribute("aria-current");
  }
  $("empty").hidden = view !== undefined;
  const before = document.body.classList.contains("in-session");
  document.body.classList.toggle("in-session", view !== undefined);
  if (!view) return;
  if (focus) view.title.focus();
  if (focus && !before && view.back.checkVisibility()) forward(view.leave);
  if (view.status === "connected" && !view.loaded) view.load();
}

// leave goes back to the list of sessions, on a screen that is too narrow for both.
function leave(view) {
  document.body.classList.remove("in-session");
  view.line.focus();
}

function remove(view) {
  views.delete(view.id);
  view.item.remove();
  view.element.remove();
  $("sessions-section").hidden = views.size === 0;
  if (!view.element.hidden) select([...views.values()].at(-1));
}

// end is for when a person has disconnected.
function end(view) {
  notice.say(`Disconnected from ${view.name}.`);
  remove(view);
  $("url").focus();
}

// refresh takes over what the host knows: after a reload, and when another tab
// of this user has connected or disconnected. Sessions that are on their way are
// not shown, but neither removed: another tab may be waiting for them, or a call
// in this one.
async function refresh() {
  const sessions = await client.sessions();
  const known = new Set(sessions.map((session) => session.sessionId));
  for (const session of sessions) {
    if (!["connected", "authorization_required", "failed"].includes(session.status)) continue;
    if (!views.has(session.sessionId)) notice.clear();
    add(session).show(session.status);
  }
  for (const view of [...views.values()]) {
    if (!known.has(view.id)) {
      view.stop();
      remove(view);
    }
  }
  if ([...views.values()].every((view) => view.element.hidden)) select([...views.values()].at(-1));
}

function showPresets() {
  $("presets").append(...presets.map((preset) => el("label", {},
    el("input", { type: "radio", name: "preset", value: preset.url, onchange: () => { $("url").value = preset.url; } }),
    el("span", { class: "name" }, preset.name), el("span", { class: "hint" }, preset.hint))));
  $("presets").querySelector("input").click();
  $("url").addEventListener("input", () => {
    for (const radio of $("presets").querySelectorAll("input")) radio.checked = radio.value === $("url").value;
  });
}

$("connect").addEventListener("submit", submit);
try {
  presets = await (await fetch("presets.json")).json();
  showPresets();
  await refresh();
} catch (error) {
  notice.say(explain(error), "bad");
}

// Something may have changed: the callback page says that the user has answered,
// or the user comes back from another tab. A connect of this page waits itself.
const sync = () => connecting || refresh().catch(() => {}); // the next action says more
new BroadcastChannel("mcpoauth").addEventListener("message", sync);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && sync());
document.documentElement.dataset.ready = "true";
