// The browser's side of the API: connect, authorize in a popup, list and call
// tools. A module without dependencies, served as it is.
//
//   import { MCPOAuth } from "/api/mcp/mcp-oauth.js";
//   const mcp = new MCPOAuth();
//   const { sessionId } = await mcp.connect("https://mcp.example.com/mcp", { eagerPopup: true });
//   const tools = await mcp.listTools(sessionId);
//   const result = await mcp.callTool(sessionId, "search", { q: "x" }, { onProgress: console.log });
//   await mcp.disconnect(sessionId);

/**
 * @typedef {import("./types").Tool} Tool
 * @typedef {import("./types").CallToolSuccess} CallToolSuccess
 * @typedef {import("./types").ToolProgress} ToolProgress
 * @typedef {import("./types").SessionStatus} SessionStatus
 * @typedef {import("./types").SessionSummary} SessionSummary
 * @typedef {import("./types").ConnectAuthRequired} AuthRequired
 *
 * @typedef {object} Options
 * @property {string} [baseUrl] where the API is; the URL of this module without its file name
 * @property {(authUrl: string, sessionId: string) => void} [onAuthorize] called instead of opening a popup,
 *   to redirect the page or to show a link
 * @property {string} [popup] window.open features
 * @property {number} [pollInterval] milliseconds between two looks at the popup, and before a request to auth/status
 *   that failed is sent again; 1000
 * @property {(text: string) => any} [parse] reads the JSON of an answer, for instance without rounding integers above
 *   2^53; JSON.parse
 * @property {string} [binding] for a page on another site than the API's, where its cookie does not arrive: a random
 *   text as newBinding makes it, the same until the authorization is finished; see finish
 * @property {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} [headers] for every
 *   request, such as the Authorization that shows a host at another site who its user is
 * @property {boolean} [eagerPopup] open the popup before the request is sent, while the browser still knows
 *   that the user clicked; for connect and callTool called directly in a click handler
 *
 * @typedef {{ result?: any, required?: AuthRequired, input?: { requests: any, state: string } }} Answer what came: one of them
 *
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal] gives the call up, also on the MCP server
 * @property {boolean} [eagerPopup]
 * @property {(waiting: boolean) => void} [onAuthorizing] called with true when the call begins to wait for the user to
 *   authorize, and with false when that wait ends
 * @property {(requests: Requests, about: { signal: AbortSignal, problem?: MCPOAuthError }) => Inputs | Promise<Inputs>} [onInput]
 *   asks the user what the MCP server wants to know in the middle of callTool, getPrompt or readResource. May be called
 *   several times, also at once. When signal aborts, the call no longer waits for the answer: take the question away.
 *   With problem it is the same question again, because the last answer was no valid one. Show the whole URL of a
 *   question in URL mode, ask before it is opened, and open it with noopener
 * @property {import("./types").AskMode[]} [ask] what onInput can show; form
 *
 * @typedef {import("./types").InputRequired["inputRequired"]["requests"]} Requests
 * @typedef {import("./types").Inputs} Inputs
 */

/** A failure. code is for programs, message for people. */
export class MCPOAuthError extends Error {
  /**
   * @param {string} code the API's, or "network_error"
   * @param {string} message
   * @param {{ status?: number, requestId?: string, retryAfter?: number, rpcCode?: number, rpcData?: any, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, { cause: more.cause });
    this.name = new.target.name;
    this.code = code;
    /** HTTP status; 0 when there was no answer. */
    this.status = more.status ?? 0;
    /** Names the request in the host's log. */
    this.requestId = more.requestId ?? "";
    /** Seconds to wait before another try; 0 when nothing was said. */
    this.retryAfter = more.retryAfter ?? 0;
    /** The MCP server's own error code and data; for "url_elicitation_required" the data have the URLs to open first, in elicitations. */
    this.rpcCode = more.rpcCode;
    this.rpcData = more.rpcData;
  }
}

/**
 * The user has not authorized: code "popup_blocked", "popup_closed",
 * "access_denied", "authorization_expired" or "authorization_failed". The
 * session exists; waitAuthorized waits on, and the next call asks again.
 */
export class AuthorizationError extends MCPOAuthError {
  /**
   * @param {string} code
   * @param {string} message
   * @param {string} sessionId
   * @param {string} [authUrl]
   */
  constructor(code, message, sessionId, authUrl = "") {
    super(code, message, { status: 401 });
    this.sessionId = sessionId;
    /** To show as a link when the popup was blocked. */
    this.authUrl = authUrl;
  }
}

/** Where the lists are. */
const LISTS = { tools: "tool/list", prompts: "prompt/list", resources: "resource/list", resourceTemplates: "resource/templates" };
/** How often a popup must look closed, with the user back at the page. */
const CLOSED_POLLS = 4;
/** How long the MCP server may take to confirm an authorization, in polls. */
const CONFIRM_POLLS = 20;
/** For how many seconds auth/status may hold a request. */
const HOLD = 25;
/** After how many polls a request that was held is taken for lost. */
const LOST_POLLS = 40;
/** How often to look whether a popup can be closed, and the milliseconds between two looks. */
const CLOSE_LOOKS = 20;
const CLOSE_PAUSE = 250;

/** Makes a value for the option binding. */
export function newBinding() {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (byte) => letters[byte % 32]).join("");
}

/**
 * Opens a window that has no hold on this page. Call it in a click handler;
 * elsewhere a browser blocks it.
 * @param {string} [features]
 */
export function openApart(features = "popup,width=520,height=720") {
  const opened = window.open("", "_blank", features);
  if (opened) opened.opener = null;
  return opened;
}

export class MCPOAuth {
  /** @param {Options} [options] */
  constructor(options = {}) {
    this.options = options;
    const base = options.baseUrl ?? new URL(".", import.meta.url).href;
    this.baseUrl = new URL(base.replace(/\/*$/, "/"), location.href).href;
    /** @type {Window[]} opened in advance */
    this.popups = [];
    /** @type {Map<string, string>} the attempt that each session waits for */
    this.attempts = new Map();
  }

  /**
   * Opens an empty popup, to be used by the next connect or callTool. Call it
   * first thing in a click handler; later a browser would block it.
   */
  openPopup() {
    const popup = openApart(this.options.popup);
    if (!popup) return false;
    try {
      popup.document.title = "Connecting…";
      popup.document.body.textContent = "Connecting…";
    } catch {
      // The browser does not let us decorate it.
    }
    this.popups.push(popup);
    return true;
  }

  /**
   * Connects to an MCP server, with the user's authorization where it is needed.
   * A server that has forgotten this application shows an error on its sign-in
   * page and tells only the user. Let the user say so, give the connect up by its
   * signal, and connect again with fresh.
   * With a sessionId, it connects that session again, and serverUrl may be
   * undefined. The headers, such as an API key, are for the MCP server.
   * @param {string | undefined} serverUrl
   * @param {CallOptions & { serverName?: string, fresh?: boolean, callbackUrl?: string, sessionId?: string, headers?: Record<string, string> }} [options]
   * @returns {Promise<{ sessionId: string }>}
   */
  connect(serverUrl, options = {}) {
    const { serverName, fresh, callbackUrl, sessionId, headers } = options;
    return this.withPopup(options, async (take) => {
      const { result, required } = await this.send("POST", "auth/connect", { serverUrl, serverName, fresh, callbackUrl, sessionId, headers }, options);
      if (required) await this.authorize(required, take, options);
      return { sessionId: (required ?? result).sessionId };
    });
  }

  /**
   * Finishes an authorization on a callback page of the application's own, which
   * the connect named as callbackUrl.
   * @param {URLSearchParams} response the page's query
   */
  async finish(response) {
    let code = "network_error";
    try {
      const { required } = await this.send("POST", "auth/callback", Object.fromEntries(response));
      if (required) throw new AuthorizationError("authorization_failed", "The server asks for authorization again.", required.sessionId ?? "", required.authUrl);
      code = "";
    } catch (error) {
      if (error instanceof MCPOAuthError) code = error.code;
      throw error;
    } finally {
      tell({ source: "mcpoauth", status: code ? "failed" : "connected", code });
    }
  }

  /**
   * @param {string} sessionId
   * @param {CallOptions} [options]
   * @returns {Promise<Tool[]>}
   */
  async listTools(sessionId, options = {}) {
    return (await this.get("tool/list", { sessionId }, options)).tools;
  }

  /**
   * Calls a tool. A result with isError is the tool's own verdict, and is
   * returned like any other.
   * @param {string} sessionId
   * @param {string} toolName
   * @param {Record<string, unknown>} [toolArgs]
   * @param {CallOptions & { onProgress?: (progress: ToolProgress) => void }} [options]
   * @returns {Promise<CallToolSuccess>}
   */
  callTool(sessionId, toolName, toolArgs = {}, options = {}) {
    return this.asking("tool/call", { sessionId, toolName, toolArgs }, options);
  }

  /**
   * One page of a list: "tools", "prompts", "resources" or "resourceTemplates".
   * Its nextCursor, if any, asks for the next one.
   * @param {"tools" | "prompts" | "resources" | "resourceTemplates"} list
   * @param {string} sessionId
   * @param {string} [cursor]
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  listPage(list, sessionId, cursor = "", options = {}) {
    return this.get(LISTS[list], { sessionId, cursor }, options);
  }

  /**
   * @param {string} sessionId
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").Prompt[]>}
   */
  async listPrompts(sessionId, options) {
    return (await this.get("prompt/list", { sessionId }, options)).prompts;
  }

  /**
   * @param {string} sessionId
   * @param {string} name
   * @param {Record<string, string>} [args]
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").GetPromptSuccess>}
   */
  getPrompt(sessionId, name, args = {}, options = {}) {
    return this.asking("prompt/get", { sessionId, name, arguments: args }, options);
  }

  /**
   * @param {string} sessionId
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").Resource[]>}
   */
  async listResources(sessionId, options) {
    return (await this.get("resource/list", { sessionId }, options)).resources;
  }

  /**
   * @param {string} sessionId
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").ResourceTemplate[]>}
   */
  async listResourceTemplates(sessionId, options) {
    return (await this.get("resource/templates", { sessionId }, options)).resourceTemplates;
  }

  /**
   * @param {string} sessionId
   * @param {string} uri
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").ReadResourceSuccess>}
   */
  readResource(sessionId, uri, options = {}) {
    return this.asking("resource/read", { sessionId, uri }, options);
  }

  /**
   * Completions for an argument of a prompt or of a resource template.
   * @param {string} sessionId
   * @param {Omit<import("./types").CompleteRequest, "sessionId">} request
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").CompleteSuccess>}
   */
  complete(sessionId, request, options = {}) {
    return this.retrying({ eagerPopup: false, ...options }, sessionId, () => this.send("POST", "completion", { sessionId, ...request }, options));
  }

  /**
   * What the MCP server said of itself.
   * @param {string} sessionId
   * @param {CallOptions} [options]
   * @returns {Promise<import("./types").ServerInfo>}
   */
  server(sessionId, options) {
    return this.get("server", { sessionId }, options);
  }

  /**
   * Sends a request until the MCP server has no more questions.
   * @param {string} path
   * @param {{ sessionId: string, [member: string]: unknown }} body
   * @param {CallOptions & { onProgress?: (progress: ToolProgress) => void }} options
   * @returns {Promise<any>}
   */
  async asking(path, body, options) {
    const { onInput, ask = ["form"] } = options;
    let request = onInput ? { ...body, ask } : body;
    const { signal = new AbortController().signal } = options;
    for (;;) {
      const { input, result } = await this.retrying(options, body.sessionId, async () => {
        const answer = await this.send("POST", path, request, options);
        return answer.required ? answer : { result: answer };
      });
      if (!input || !onInput) return result;
      request = { ...body, ask, inputs: await onInput(input.requests, { signal }), state: input.state };
    }
  }

  /**
   * @param {string} path
   * @param {{ sessionId: string, cursor?: string }} query
   * @param {CallOptions} [options]
   */
  get(path, query, options = {}) {
    const target = path + "?" + new URLSearchParams(query);
    return this.retrying({ eagerPopup: false, ...options }, query.sessionId, () => this.send("GET", target, undefined, options));
  }

  /** @param {string} sessionId */
  async disconnect(sessionId) {
    await this.send("POST", "auth/disconnect", { sessionId });
    this.attempts.delete(sessionId);
  }

  /**
   * @param {string} sessionId
   * @param {{ attemptId?: string, since?: string, signal?: AbortSignal }} [options] with since, the version of the last
   *   answer, the next one comes when something has changed, or after 25 seconds
   * @returns {Promise<SessionStatus>}
   */
  async status(sessionId, { attemptId, since, signal } = {}) {
    const query = new URLSearchParams({ sessionId, ...(attemptId && { attemptId }), ...(since && { since, wait: String(HOLD) }) });
    return (await this.send("GET", "auth/status?" + query, undefined, { signal })).result;
  }

  /**
   * The signed-in user's sessions, for hosts that have users.
   * @returns {Promise<SessionSummary[]>}
   */
  async sessions() {
    return (await this.send("GET", "auth/sessions")).result.sessions;
  }

  /**
   * Waits until the user has authorized, with a request that the host answers
   * when something changes. What other windows say is only a hint to ask again,
   * for the case that the request got lost.
   * @param {string} sessionId
   * @param {{ signal?: AbortSignal, popup?: Window | null }} [options]
   */
  async waitAuthorized(sessionId, { signal, popup } = {}) {
    const attemptId = this.attempts.get(sessionId);
    const hints = new Hints(new URL(this.baseUrl).origin, signal);
    const pause = this.options.pollInterval ?? 1000;
    /** @type {ReturnType<typeof ask> | undefined} */
    let asked;
    let since = "";
    const ask = () => {
      const ending = new AbortController();
      const answer = this.status(sessionId, { attemptId, since, signal: ending.signal }).then((now) => ({ now, error: undefined }), (error) => ({ now: undefined, error }));
      return { answer, end: () => ending.abort() };
    };
    try {
      for (let closed = 0, confirming = 0, polls = 0; ; ) {
        asked ??= ask();
        const { now, error, hinted } = { hinted: false, ...(await Promise.race([asked.answer, hints.next(pause)])) };
        if (error) {
          if (error.code === "session_not_found" || error.code === "unauthenticated") throw error;
          await hints.next(pause); // the host or its store is away for a moment
        } else if (now) {
          if (ended(now)) break;
          const { version = "" } = now;
          if (version === since) await hints.next(pause); // the time is over
          since = version;
          confirming = now.attempt?.status === "succeeded" ? confirming || 1 : 0;
        } else if (!hinted) {
          if (confirming && ++confirming > CONFIRM_POLLS) break;
          // A window whose page isolates itself (COOP) looks closed as well, but
          // then the user is still in it and not here.
          closed = popup?.closed && document.hasFocus() && !confirming ? closed + 1 : 0;
          if (closed === CLOSED_POLLS) {
            const last = await this.status(sessionId, { attemptId, signal }).catch(() => undefined);
            if (last && ended(last)) break;
            if (last?.attempt?.status !== "succeeded") throw new AuthorizationError("popup_closed", "The window was closed before the authorization was completed.", sessionId);
          }
          if (++polls < LOST_POLLS) continue;
        }
        asked.end();
        asked = undefined;
        polls = 0;
      }
      this.attempts.delete(sessionId);
    } finally {
      asked?.end();
      hints.close();
    }
  }

  /**
   * Waits until the user has authorized: in a popup, which it takes and closes,
   * unless there is onAuthorize.
   * @param {AuthRequired} required
   * @param {() => Window | undefined} take
   * @param {CallOptions} options
   */
  async authorize({ authUrl, sessionId = "", attemptId = "" }, take, { signal, onAuthorizing }) {
    this.attempts.set(sessionId, attemptId);
    if (!/^https?:$/.test(new URL(authUrl).protocol)) {
      throw new AuthorizationError("authorization_failed", "The authorization server's address cannot be used.", sessionId);
    }
    let popup;
    if (this.options.onAuthorize) {
      this.options.onAuthorize(authUrl, sessionId);
    } else {
      popup = take() ?? (this.openPopup() ? this.popups.pop() : undefined);
      if (!popup) throw new AuthorizationError("popup_blocked", "The browser blocked the authorization window.", sessionId, authUrl);
      popup.location.replace(authUrl);
    }
    onAuthorizing?.(true);
    try {
      await this.waitAuthorized(sessionId, { signal, popup });
    } finally {
      close(popup);
      onAuthorizing?.(false);
    }
  }

  /**
   * Runs a call and, if it asks for authorization, once more after that.
   * @param {CallOptions} options
   * @param {string} sessionId
   * @param {() => Promise<Answer>} call
   */
  retrying(options, sessionId, call) {
    return this.withPopup(options, async (take) => {
      let { result, required } = await call();
      if (!required) return result;
      await this.authorize({ ...required, sessionId }, take, options);
      ({ result, required } = await call());
      if (!required) return result;
      this.attempts.set(sessionId, required.attemptId ?? "");
      throw new AuthorizationError("authorization_failed", "The server asks for authorization again.", sessionId, required.authUrl);
    });
  }

  /**
   * Runs fn, which may take the popup that was opened for it, if any. A popup that
   * fn did not take is closed.
   * @template T
   * @param {CallOptions} options
   * @param {(take: () => Window | undefined) => Promise<T>} fn
   * @returns {Promise<T>}
   */
  async withPopup(options, fn) {
    if ((options.eagerPopup ?? this.options.eagerPopup) && !this.options.onAuthorize && !this.popups.length) this.openPopup();
    let popup = this.popups.pop();
    const take = () => {
      const taken = popup;
      popup = undefined;
      return taken;
    };
    try {
      return await fn(take);
    } finally {
      close(popup);
    }
  }

  /**
   * Sends a request; returns the result, or that the user must authorize, and
   * throws everything else. The status or the event's name decides which it is:
   * what an MCP server puts into its results means nothing here.
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {CallOptions & { onProgress?: (progress: ToolProgress) => void }} [options]
   * @returns {Promise<Answer>}
   */
  async send(method, path, body, options = {}) {
    const { signal, onProgress, onInput } = options;
    const events = path === "tool/call" && (onProgress || onInput);
    /** @type {Record<string, string>} */
    const headers = { Accept: events ? "text/event-stream, application/json" : "application/json" };
    if (body) headers["Content-Type"] = "application/json";
    if (this.options.binding) headers["Mcpoauth-Binding"] = this.options.binding;
    const url = new URL(this.baseUrl + path);
    const sessionId = url.searchParams.get("sessionId");
    if (sessionId) {
      headers["Mcpoauth-Session"] = sessionId; // not in the URL, which access logs have
      url.searchParams.delete("sessionId");
    }
    const more = this.options.headers;
    Object.assign(headers, typeof more === "function" ? await more() : more);
    let response, stream, outcome, answer;
    try {
      response = await fetch(url, { method, headers, body: JSON.stringify(body), signal, credentials: "include", cache: "no-store" });
      stream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
      [outcome, answer] = stream
        ? await this.events(response, /** @type {any} */ (body).sessionId, options)
        : [response.ok ? "result" : "error", await readJSON(response, this.options.parse ?? JSON.parse)];
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new MCPOAuthError("network_error", "The connection was interrupted. What the call did is not known.", { cause: error });
    }
    if (outcome === "unasked") throw answer;
    if (outcome === "inputRequired" || (!stream && response.status === 202)) return { input: answer.inputRequired };
    if (outcome === "result") return { result: answer };
    if ((stream || response.status === 401) && answer.requiresAuth === true) return { required: answer };
    throw new MCPOAuthError(answer.code ?? "internal", answer.error ?? "Something went wrong.", {
      status: response.status,
      requestId: response.headers.get("X-Request-Id") ?? "",
      retryAfter: Number(response.headers.get("Retry-After")) || 0,
      rpcCode: answer.rpcCode,
      rpcData: answer.rpcData,
    });
  }

  /**
   * Reads a call's events to the last one, and asks the user what comes between.
   * Where a question cannot be asked or answered that is the outcome: "unasked",
   * and the error. Leaving the stream gives the call up.
   * @param {Response} response
   * @param {string} sessionId
   * @param {CallOptions & { onProgress?: (progress: ToolProgress) => void }} options
   * @returns {Promise<[string, any]>}
   */
  async events(response, sessionId, { signal, onProgress, onInput }) {
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const parse = this.options.parse ?? JSON.parse;
    const open = new AbortController(); // while questions wait
    const close = () => open.abort();
    signal?.addEventListener("abort", close, { once: true });
    /** @type {[string, any] | undefined} */
    let unasked;
    try {
      return await lastEvent(reader, parse, (name, data) => {
        if (name === "progress") return onProgress?.(JSON.parse(data));
        if (name !== "input" || !onInput) return;
        this.answer(sessionId, parse(data), onInput, open.signal).catch((error) => {
          if (open.signal.aborted) return;
          unasked = ["unasked", error];
          reader.cancel();
        });
      });
    } catch (error) {
      if (!unasked) throw error;
      return unasked;
    } finally {
      signal?.removeEventListener("abort", close);
      open.abort();
    }
  }

  /**
   * Answers a question that came in the middle of a call.
   * @param {string} sessionId
   * @param {import("./types").InputAsked} question
   * @param {NonNullable<CallOptions["onInput"]>} onInput
   * @param {AbortSignal} signal
   */
  async answer(sessionId, { inputId, requests }, onInput, signal) {
    for (let problem; ; ) {
      const inputs = await onInput(requests, { signal, problem });
      try {
        const { required } = await this.send("POST", "tool/input", { sessionId, inputId, inputs }, { signal });
        if (!required) return;
        throw new AuthorizationError("authorization_failed", "The server asks for authorization again.", sessionId, required.authUrl);
      } catch (error) {
        if (!(error instanceof MCPOAuthError)) throw error;
        if (error.code === "input_closed") return; // too late: the call goes on without an answer
        if (error.code !== "invalid_input") throw error;
        problem = error;
      }
    }
  }
}

/**
 * Reports whether the user has authorized; throws how the authorization failed.
 * @param {SessionStatus} now
 */
function ended(now) {
  const { sessionId, status, attempt } = now;
  const fail = (/** @type {string} */ code, /** @type {string} */ message) => new AuthorizationError(code, message, sessionId);
  // A callback that was refused leaves the attempt pending.
  if (attempt?.status === "failed" || attempt?.code) throw fail(attempt.code ?? "authorization_failed", attempt.error ?? "The authorization failed.");
  if (attempt?.status === "pending") return false;
  if (status === "connected") return true;
  if (status === "failed") throw fail("authorization_failed", now.error ?? "The authorization failed.");
  // Authorized, and the host is asking the MCP server whether it agrees.
  if (attempt?.status === "succeeded") return false;
  if (attempt || status === "expired") throw fail("authorization_expired", "The authorization took too long. Try again.");
  return false;
}

/** Wakes a wait up when a callback page says that it is done. */
class Hints {
  /**
   * @param {string} origin of the windows whose messages count
   * @param {AbortSignal | undefined} signal ends the wait
   */
  constructor(origin, signal) {
    this.signal = signal;
    this.wake = () => {};
    this.hinted = false;
    this.listeners = new AbortController();
    const hint = () => {
      this.hinted = true;
      this.wake();
    };
    /** @param {MessageEvent} event */
    const hear = (event) => event.data?.source === "mcpoauth" && hint();
    const listen = { signal: this.listeners.signal };
    window.addEventListener("message", (event) => event.origin === origin && hear(event), listen);
    // Timers sleep in a tab that is in the background, and connections break.
    document.addEventListener("visibilitychange", hint, listen);
    signal?.addEventListener("abort", () => this.wake(), listen);
    // Of the API's callback page, or of a page of this origin that finished itself.
    this.channel = typeof BroadcastChannel === "function" ? new BroadcastChannel("mcpoauth") : undefined;
    this.channel?.addEventListener("message", hear);
  }

  /**
   * Waits for a hint, but not for longer than this. An earlier wait ends.
   * @param {number} milliseconds
   * @returns {Promise<{ hinted: boolean, now?: undefined, error?: undefined }>}
   */
  async next(milliseconds) {
    this.signal?.throwIfAborted();
    this.wake();
    if (!this.hinted) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        this.wake = () => (clearTimeout(timer), resolve(undefined));
      });
    }
    this.signal?.throwIfAborted();
    const { hinted } = this;
    this.hinted = false;
    return { hinted };
  }

  close() {
    this.listeners.abort();
    this.channel?.close();
    this.wake();
  }
}

/** @param {import("./types").CallbackMessage} message for the pages of this origin that wait */
function tell(message) {
  if (typeof BroadcastChannel !== "function") return;
  const channel = new BroadcastChannel("mcpoauth");
  channel.postMessage(message);
  channel.close();
}

/**
 * Closes a popup that shows a page of this origin. While it shows another one
 * a browser would refuse, since openApart gave up being its opener. The host may
 * know how an authorization ended before the popup shows the callback page, so
 * this looks again for a while.
 * @param {Window | undefined} popup
 */
function close(popup, looks = CLOSE_LOOKS) {
  if (!popup || popup.closed) return;
  try {
    if (popup.location.href) popup.close();
  } catch {
    // Beyond that the user closes it.
    if (looks > 0) setTimeout(() => close(popup, looks - 1), CLOSE_PAUSE);
  }
}

/**
 * Reads an answer; a proxy's error page counts as an empty one.
 * @param {Response} response
 * @param {(text: string) => any} parse
 */
async function readJSON(response, parse) {
  const text = await response.text();
  try {
    return parse(text);
  } catch (error) {
    if (response.ok) throw error;
    return {};
  }
}

/** The events that end a call. */
const LAST = ["result", "inputRequired", "error"];

/**
 * Reads server-sent events to the last one, and its data.
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @param {(text: string) => any} parse
 * @param {(name: string, data: string) => void} onEvent called for those before the last
 * @returns {Promise<[string, any]>}
 */
async function lastEvent(reader, parse, onEvent) {
  const decoder = new TextDecoder();
  /** @type {string[]} of an event that is not complete; looking at it again with every piece would take quadratic time */
  let pieces = [];
  for (let last = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream ended before the result");
    let piece = decoder.decode(value, { stream: true });
    if (!piece) continue;
    if (last === "\n" && piece[0] === "\n") {
      // The end of an event is split between two pieces.
      pieces.push((pieces.pop() ?? "").slice(0, -1));
      piece = "\n" + piece;
    }
    last = piece.slice(-1);
    const events = piece.split("\n\n");
    const rest = events.pop() ?? "";
    if (!events.length) {
      pieces.push(rest);
      continue;
    }
    events[0] = pieces.join("") + events[0];
    pieces = [rest];
    for (const event of events) {
      const [, name = "", data = ""] = /^event: (\w+)\ndata: ([^]*)$/.exec(event) ?? []; // anything else is a heartbeat
      if (!name) continue;
      if (LAST.includes(name)) return [name, parse(data)];
      try {
        onEvent(name, data);
      } catch (error) {
        reportError(error); // the page's mistake does not end the call
      }
    }
  }
}
