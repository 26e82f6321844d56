// As much of a browser as the front end's code needs: cookies, popups in which a
// user decides, and messages between windows of one origin.

const { HOST, CONTROL, MCP } = process.env;
export { MCP };

const network = globalThis.fetch;
const cookies = new Map();

/** The browser's own requests, with its cookies. */
export async function browse(url, options = {}) {
  const headers = new Headers(options.headers);
  headers.set("Cookie", [...cookies].map(([name, value]) => `${name}=${value}`).join("; "));
  const response = await network(new URL(url, HOST), { ...options, headers, redirect: "manual" });
  for (const cookie of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
    cookies.set(name, value);
  }
  return response;
}
globalThis.fetch = browse;

/** Asks the test to do something at the servers. */
export async function control(what, parameters = {}) {
  const response = await network(`${CONTROL}/${what}?${new URLSearchParams(parameters)}`);
  if (!response.ok) throw new Error(`${what}: ${await response.text()}`);
  return response.text();
}

/** What the user does in a popup, one after another; "approve" by default. */
export const user = { decisions: [], popups: [], blocksPopups: false, channel: true, authorizing: Promise.resolve() };

class Popup {
  closed = false;
  opener = window;
  document = { body: {} };
  location = { replace: (url) => void (user.authorizing = this.visit(url)) };

  close() {
    this.closed = true;
  }

  async visit(url) {
    this.url = url;
    const decide = user.decisions.shift() ?? "approve";
    if (decide === "leave open") return;
    if (decide === "close") return this.close();
    if (decide instanceof Function) await decide();
    const callback = await control(decide === "deny" ? "deny" : "approve", { url });
    if (decide === "elsewhere") return network(callback, { headers: { Accept: "text/html" } }); // where the cookie does not arrive
    const page = await (await browse(callback, { headers: { Accept: "text/html" } })).text();
    this.page = page;
    // What the page's script does; in another process group it has no opener.
    const [, status, code] = /status: "(\w+)", code: "(\w*)"/.exec(page);
    if (user.channel) {
      const channel = new BroadcastChannel("mcpoauth");
      channel.postMessage({ source: "mcpoauth", status, code });
      setTimeout(() => channel.close(), 50);
    }
    if (status === "connected") this.close();
  }
}

globalThis.location = new URL("/app", HOST);
globalThis.window = Object.assign(new EventTarget(), {
  open(url) {
    if (user.blocksPopups) return null;
    const popup = new Popup();
    user.popups.push(popup);
    if (url) popup.location.replace(url);
    return popup;
  },
});
globalThis.document = Object.assign(new EventTarget(), { hasFocus: () => true });
globalThis.reportError = (error) => user.reported?.push(error);

// Node's messages have no origin; a browser's do.
const listen = BroadcastChannel.prototype.addEventListener;
BroadcastChannel.prototype.addEventListener = function (type, listener) {
  listen.call(this, type, (event) => listener({ data: event.data, origin: new URL(HOST).origin }));
};
