// Tests mcp-oauth.js against the live servers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MCP, browse, control, user } from "./browser.mjs";
import { AuthorizationError, MCPOAuth, MCPOAuthError, newBinding } from "../../httpapi/mcp-oauth.js";

const client = (options) => new MCPOAuth({ baseUrl: "/api/mcp", pollInterval: 20, ...options });
const fails = (promise, code) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.code, code, error.stack);
    return true;
  });

test("connect, list, call, disconnect", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP, { serverName: "Mine" });
  assert.equal((await mcp.status(sessionId)).status, "connected");
  assert.ok((await mcp.listTools(sessionId)).some((tool) => tool.name === "echo"));
  const result = await mcp.callTool(sessionId, "echo", { q: "x" });
  assert.equal(result.isError, false);
  assert.equal((await mcp.callTool(sessionId, "fail")).isError, true, "a tool's own failure is a result");
  await mcp.disconnect(sessionId);
  await fails(mcp.listTools(sessionId), "session_not_found");
  await fails(mcp.sessions(), "not_found"); // this host has no users
});

test("errors say what a page needs", async () => {
  await assert.rejects(client().connect("ftp://x"), (error) => {
    assert.ok(error instanceof MCPOAuthError && !(error instanceof AuthorizationError));
    assert.deepEqual([error.code, error.status, error.retryAfter, error.requestId.length], ["invalid_request", 400, 0, 26]);
    return true;
  });
  await fails(client({ baseUrl: "http://127.0.0.1:1/api/mcp" }).connect(MCP), "network_error");
});

test("the popup gets no hold on the page", async () => {
  user.popups = [];
  await client().connect(MCP, { eagerPopup: true });
  assert.equal(user.popups.length, 1);
  assert.equal(user.popups[0].opener, null);
  // The user closes it, when the callback page has loaded.
  for (let i = 0; i < 6_000 && !user.popups[0].closed; i++) await new Promise((done) => setTimeout(done, 10));
  assert.equal(user.popups[0].closed, true);
});

test("a popup that shows the callback page a moment later is closed", async () => {
  user.popups = [];
  user.decisions = ["deny"];
  const mcp = client();
  mcp.openPopup();
  let looks = 0;
  const { location } = user.popups[0];
  Object.defineProperty(location, "href", { get() {
    if (++looks < 3) throw new DOMException("a page of another origin", "SecurityError");
    return "/callback";
  } });
  await fails(mcp.connect(MCP), "access_denied");
  assert.equal(looks, 1, "one timer looks at the popup");
  for (let i = 0; i < 6_000 && !user.popups[0].closed; i++) await new Promise((done) => setTimeout(done, 10));
  assert.equal(user.popups[0].closed, true);
});

test("a popup that was not needed is closed", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  user.popups = [];
  mcp.openPopup();
  user.popups[0].location.href = "about:blank";
  await mcp.listTools(sessionId);
  assert.equal(user.popups[0].closed, true);
});

test("a page learns when the user has to authorize", async () => {
  const mcp = client();
  const said = [];
  const options = { onAuthorizing: (waiting) => said.push(waiting) };
  const { sessionId } = await mcp.connect(MCP, options);
  assert.deepEqual(said, [true, false]);
  await mcp.callTool(sessionId, "echo", {}, options);
  assert.deepEqual(said, [true, false], "a call that needs no authorization");
  user.decisions = ["deny"];
  await control("revoke");
  await fails(mcp.callTool(sessionId, "echo", {}, options), "access_denied");
  assert.deepEqual(said, [true, false, true, false]);
});

// A host whose answers a test writes: [status, content type, body, …] in turn.
const answering = async (answers, run) => {
  const real = globalThis.fetch;
  const calls = [];
  globalThis.fetch = async (url, init) => {
    calls.push({ url: String(url), ...init });
    const [status, type, body] = answers[Math.min(calls.length, answers.length) - 1];
    return new Response(body, { status, headers: { "Content-Type": type } });
  };
  try {
    await run(calls);
  } finally {
    globalThis.fetch = real;
  }
};
const looksLike401 = { content: [], isError: false, requiresAuth: true, authUrl: "http://127.0.0.1/", attemptId: "x" };

test("a result that looks like a 401 is a result", async () => {
  const json = JSON.stringify(looksLike401);
  for (const answer of [[200, "application/json", json], [200, "text/event-stream", `event: result\ndata: ${json}\n\n`]]) {
    await answering([answer], async (calls) => {
      user.popups = [];
      assert.deepEqual(await client().callTool("s", "echo", {}, { onProgress() {} }), looksLike401);
      assert.equal(calls.length, 1, "the tool runs once");
      assert.equal(user.popups.length, 0);
    });
  }
});

test("only 401 asks for authorization", async () => {
  const body = JSON.stringify({ requiresAuth: true, authUrl: "https://as.example/", error: "No.", code: "upstream_error" });
  await answering([[502, "application/json", body]], async (calls) => {
    await fails(client().callTool("s", "echo"), "upstream_error");
    assert.equal(calls.length, 1);
  });
});

// Pieces of every size, and an event that is split at every place.
test("streams in pieces", async () => {
  const result = { content: [{ type: "text", text: "a\u2028b…" }], isError: false };
  const stream = new TextEncoder().encode(`: still working\n\nevent: progress\ndata: {"progress":1}\n\nevent: result\ndata: ${JSON.stringify(result)}\n\n`);
  for (let size = 1; size < 40; size++) {
    const body = new ReadableStream({
      start(controller) {
        for (let i = 0; i < stream.length; i += size) controller.enqueue(stream.slice(i, i + size));
        controller.close();
      },
    });
    await answering([[200, "text/event-stream", body]], async () => {
      const progress = [];
      assert.deepEqual(await client().callTool("s", "echo", {}, { onProgress: (p) => progress.push(p) }), result);
      assert.deepEqual(progress, [{ progress: 1 }], `pieces of ${size}`);
    });
  }
});

// 8 MiB in pieces of 1 KiB: looking at all of them with each piece is 32 GiB of work.
test("a large stream takes linear time", { timeout: 120_000 }, async () => {
  const piece = new TextEncoder().encode("x".repeat(1024));
  let left = 8192;
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('event: result\ndata: {"content":[],"isError":false,"x":"')),
    pull(controller) {
      if (left-- > 0) return controller.enqueue(piece);
      controller.enqueue(new TextEncoder().encode('"}\n\n'));
      controller.close();
    },
  });
  await answering([[200, "text/event-stream", body]], async () => {
    assert.equal((await client().callTool("s", "echo", {}, { onProgress() {} })).x.length, 8192 * 1024);
  });
});

test("what the server asks is asked, in the same call", async () => {
  const asked = JSON.stringify({ inputRequired: { requests: { q: { method: "elicitation/create" } }, state: "sealed" } });
  const done = JSON.stringify({ content: [], isError: false, inputRequired: {} });
  for (const [type, first, last] of [
    ["application/json", asked, done],
    ["text/event-stream", `event: inputRequired\ndata: ${asked}\n\n`, `event: result\ndata: ${done}\n\n`],
  ]) {
    await answering([[type === "application/json" ? 202 : 200, type, first], [200, type, last]], async (calls) => {
      const onInput = (requests) => (assert.deepEqual(Object.keys(requests), ["q"]), { q: { action: "decline" } });
      assert.deepEqual(await client().callTool("s", "echo", { a: 1 }, { onInput, onProgress() {} }), JSON.parse(done));
      assert.deepEqual(JSON.parse(calls[0].body), { sessionId: "s", toolName: "echo", toolArgs: { a: 1 }, ask: ["form"] });
      assert.deepEqual(JSON.parse(calls[1].body), {
        sessionId: "s", toolName: "echo", toolArgs: { a: 1 }, ask: ["form"], inputs: { q: { action: "decline" } }, state: "sealed",
      });
    });
  }
});

// A stream that a test writes piece by piece, and what is posted to tool/input.
const conversation = async (run) => {
  const real = globalThis.fetch;
  const posted = [];
  const replies = [];
  let stream;
  globalThis.fetch = async (url, init) => {
    if (!String(url).endsWith("tool/input")) {
      assert.equal(init.headers.Accept, "text/event-stream, application/json");
      const body = new ReadableStream({ start: (controller) => void (stream = controller), cancel: () => void posted.push("given up") });
      init.signal?.addEventListener("abort", () => stream.error(init.signal.reason));
      return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    }
    posted.push(JSON.parse(init.body));
    const [status, code] = replies.shift() ?? [200];
    return new Response(JSON.stringify(status === 200 ? { success: true } : { error: "No.", code }), { status, headers: { "Content-Type": "application/json" } });
  };
  const event = (name, data) => stream.enqueue(new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`));
  const until = async (done) => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  try {
    await run({ event, until, posted, replies });
  } finally {
    globalThis.fetch = real;
  }
};
const question = { inputId: "i1", requests: { q: { method: "elicitation/create", params: { message: "Sure?" } } } };
const finished = { content: [], isError: false };

test("a question in a stream is answered beside it, and the call goes on", { timeout: 120_000 }, async () => {
  await conversation(async ({ event, until, posted, replies }) => {
    const asked = [];
    const onInput = (requests, { problem }) => (asked.push([requests, problem?.code]), { q: { action: "accept", content: { n: asked.length } } });
    const calling = client().callTool("s", "book", {}, { onInput, onProgress() {} });
    replies.push([400, "invalid_input"]);
    await new Promise((resolve) => setTimeout(resolve));
    event("input", question);
    await until(() => posted.length === 2);
    event("progress", { progress: 1 });
    event("result", finished);
    assert.deepEqual(await calling, finished);
    assert.deepEqual(asked, [[question.requests, undefined], [question.requests, "invalid_input"]]);
    assert.deepEqual(posted, [1, 2].map((n) => ({ sessionId: "s", inputId: "i1", inputs: { q: { action: "accept", content: { n } } } })));
  });
});

test("a question whose call ends is withdrawn, and so is one that comes too late", { timeout: 120_000 }, async () => {
  for (const end of ["result", "error", "abort", "closed"]) {
    await conversation(async ({ event, until, posted, replies }) => {
      let signal;
      const stop = new AbortController();
      const onInput = (_, about) => {
        signal = about.signal;
        if (end === "closed") return {};
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("withdrawn"))));
      };
      const calling = client().callTool("s", "book", {}, { onInput, signal: stop.signal });
      calling.catch(() => {});
      replies.push([409, "input_closed"]);
      await new Promise((resolve) => setTimeout(resolve));
      event("input", question);
      await until(() => signal);
      assert.equal(signal.aborted, false);
      if (end === "closed") await until(() => posted.length === 1);
      if (end === "error") event("error", { error: "Gone.", code: "upstream_error" });
      else if (end === "abort") stop.abort();
      else event("result", finished);
      if (end === "error") await fails(calling, "upstream_error");
      else if (end === "abort") await assert.rejects(calling, { name: "AbortError" });
      else assert.deepEqual(await calling, finished);
      assert.equal(signal.aborted, true, end);
    });
  }
});

test("a question that cannot be asked or answered gives the call up", { timeout: 120_000 }, async () => {
  for (const [onInput, reply, message] of [
    [() => { throw new Error("a bug of the page"); }, [200], "a bug of the page"],
    [() => ({}), [404, "session_not_found"], "No."],
  ]) {
    await conversation(async ({ event, posted, replies }) => {
      replies.push(reply);
      const calling = client().callTool("s", "book", {}, { onInput });
      await new Promise((resolve) => setTimeout(resolve));
      event("input", question);
      await assert.rejects(calling, { message });
      assert.equal(posted.at(-1), "given up");
    });
  }
});

test("an error says what the MCP server said", async () => {
  const body = JSON.stringify({ error: "Visit first.", code: "url_elicitation_required", rpcCode: -32042, rpcData: { elicitations: [{ mode: "url" }] } });
  await answering([[400, "application/json", body]], async () => {
    await assert.rejects(client().callTool("s", "echo"), (error) => (assert.deepEqual([error.rpcCode, error.rpcData], [-32042, { elicitations: [{ mode: "url" }] }]), true));
  });
});

// The page and its callback page are of an origin of their own.
test("a page on another site finishes itself, and the page that waits looks at once", { timeout: 120_000 }, async () => {
  const binding = newBinding();
  const page = client({ binding, pollInterval: 3_600_000 });
  user.channel = false;
  user.decisions = ["leave open"];
  const refused = fails(page.connect(MCP), "invalid_callback");
  while (user.decisions.length) await new Promise((resolve) => setTimeout(resolve, 5));
  const answer = async (how) => new URL(await control(how, { url: user.popups.at(-1).url })).searchParams;
  await fails(client({ binding: newBinding() }).finish(await answer("deny")), "invalid_callback");
  await refused;

  user.decisions = ["leave open"];
  const again = page.connect(MCP);
  while (user.decisions.length) await new Promise((resolve) => setTimeout(resolve, 5));
  await client({ binding }).finish(await answer("approve"));
  await again;
  user.channel = true;
});

test("a callback that is refused is noticed, also where no message arrives", { timeout: 120_000 }, async () => {
  user.channel = false;
  for (const [decision, code] of [["elsewhere", "invalid_callback"], ["deny", "access_denied"]]) {
    user.decisions = [decision];
    await fails(client().connect(MCP), code);
  }
  user.channel = true;
});

test("a page on another site brings its binding", async () => {
  const binding = newBinding();
  assert.match(binding, /^[A-Z2-7]{26}$/);
  assert.notEqual(newBinding(), binding);
  await answering([[200, "application/json", '{"success":true,"message":"Authorization completed"}']], async (calls) => {
    await client({ binding }).finish(new URLSearchParams("code=c&state=s"));
    assert.equal(calls[0].headers["Mcpoauth-Binding"], binding);
    assert.equal(calls[0].body, '{"code":"c","state":"s"}');
  });
});

test("no message arrives: auth/status answers when the user is done", async () => {
  user.channel = false;
  const real = globalThis.fetch;
  const looks = [];
  globalThis.fetch = (url, init) => (String(url).includes("auth/status") && looks.push(new URL(url).searchParams), real(url, init));
  user.decisions = [() => new Promise((resolve) => setTimeout(resolve, 300))]; // many polls
  await client().connect(MCP);
  globalThis.fetch = real;
  user.channel = true;
  assert.ok(looks.length >= 2 && looks.length <= 4, String(looks.length)); // now, and after each change: taken, succeeded, connected
  assert.equal(looks[0].has("wait"), false);
  assert.ok(looks.slice(1).every((query) => query.get("wait") === "25" && query.get("since")));
});

test("a look at auth/status that fails or gets lost is repeated", { timeout: 120_000 }, async () => {
  const real = globalThis.fetch;
  let looks = 0;
  const lost = [];
  globalThis.fetch = (url, init) => {
    if (!String(url).includes("auth/status")) return real(url, init);
    if (++looks === 1) return Promise.reject(new TypeError("the network is away"));
    if (looks === 3) return new Promise((_, reject) => init.signal.addEventListener("abort", () => (lost.push("ended"), reject(init.signal.reason))));
    return real(url, init);
  };
  user.channel = false;
  user.decisions = [async () => {
    while (!lost.length) await new Promise((resolve) => setTimeout(resolve, 5));
  }];
  await client({ pollInterval: 5 }).connect(MCP);
  user.channel = true;
  globalThis.fetch = real;
  assert.deepEqual(lost, ["ended"]);
});

test("denied, then tried again", async () => {
  user.decisions = ["deny"];
  const mcp = client();
  let failed;
  await assert.rejects(mcp.connect(MCP), (error) => ((failed = error), error instanceof AuthorizationError));
  assert.equal(failed.code, "access_denied");
  assert.ok((await mcp.listTools(failed.sessionId)).length, "the next call asks again");
});

test("popup blocked: a link instead", async () => {
  user.blocksPopups = true;
  const mcp = client();
  let failed;
  await assert.rejects(mcp.connect(MCP, { eagerPopup: true }), (error) => ((failed = error), true));
  user.blocksPopups = false;
  assert.equal(failed.code, "popup_blocked");
  const waiting = mcp.waitAuthorized(failed.sessionId);
  await browse(await control("approve", { url: failed.authUrl }), { headers: { Accept: "text/html" } });
  await waiting;
  assert.ok((await mcp.listTools(failed.sessionId)).length);
});

test("popup closed by hand", async () => {
  user.decisions = ["close"];
  await fails(client().connect(MCP), "popup_closed");
});

test("a popup that only looks closed, because its page isolated itself", async () => {
  document.hasFocus = () => false; // the user is in the popup
  user.decisions = [async () => {
    user.popups.at(-1).close();
    await new Promise((resolve) => setTimeout(resolve, 300)); // many polls
  }];
  await client().connect(MCP);
  document.hasFocus = () => true;
});

test("a sign-in page that shows an error: the user says so, and gets a new client", async () => {
  const mcp = client();
  await control("forget");
  const leaving = new AbortController();
  user.decisions = ["leave open"];
  const stuck = mcp.connect(MCP, { signal: leaving.signal });
  while (user.decisions.length) await new Promise((resolve) => setTimeout(resolve, 5));
  leaving.abort();
  await assert.rejects(stuck, { name: "AbortError" });
  const { sessionId } = await mcp.connect(MCP, { fresh: true });
  assert.ok((await mcp.listTools(sessionId)).length);
});

test("redirect mode, and a page that comes back without a memory", async () => {
  const opened = [];
  const mcp = client({ onAuthorize: (authUrl, sessionId) => opened.push([authUrl, sessionId]) });
  const leaving = new AbortController();
  const connecting = mcp.connect(MCP, { signal: leaving.signal });
  while (!opened.length) await new Promise((resolve) => setTimeout(resolve, 5));
  leaving.abort();
  await assert.rejects(connecting, { name: "AbortError" });
  const [[authUrl, sessionId]] = opened;
  const waiting = client().waitAuthorized(sessionId);
  await browse(await control("approve", { url: authUrl }), { headers: { Accept: "text/html" } });
  await waiting;
});

test("authorization revoked in mid-use: the call completes", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  await control("revoke");
  assert.equal((await mcp.callTool(sessionId, "echo", { q: "x" }, { eagerPopup: true })).isError, false);
});

test("step-up waits for its own end, not for the session's use by another tab", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  let during;
  user.decisions = [async () => {
    await client().callTool(sessionId, "echo");
    during = (await mcp.status(sessionId)).status;
    await new Promise((resolve) => setTimeout(resolve, 100)); // some polls
  }];
  const result = await mcp.callTool(sessionId, "admin");
  assert.equal(during, "connected");
  assert.equal(result.isError, false);
});

test("step-up denied: the session goes on", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  user.decisions = ["deny"];
  await fails(mcp.callTool(sessionId, "admin"), "access_denied");
  assert.equal((await mcp.callTool(sessionId, "echo")).isError, false);
});

test("several sessions wait side by side", async () => {
  const mcp = client();
  user.decisions = ["approve", "deny", "approve"];
  const outcomes = await Promise.allSettled([mcp.connect(MCP), mcp.connect(MCP), mcp.connect(MCP)]);
  assert.deepEqual(outcomes.map((o) => o.status).sort(), ["fulfilled", "fulfilled", "rejected"]);
});

test("progress, with a page that makes a mistake in between", async () => {
  user.reported = [];
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  const steps = [];
  const onProgress = ({ progress, total }) => {
    steps.push(`${progress}/${total}`);
    if (progress === 2) throw new Error("a bug of the page");
  };
  const result = await mcp.callTool(sessionId, "slow", { count: 3, intervalMs: 5 }, { onProgress });
  assert.deepEqual(steps, ["1/3", "2/3", "3/3"]);
  assert.equal(result.content[0].text, "3 steps");
  assert.equal(user.reported.length, 1);
  assert.equal((await mcp.callTool(sessionId, "admin", {}, { onProgress })).isError, false, "authorization is asked for in a stream as well");
  await fails(mcp.callTool(sessionId, "protocol_error", {}, { onProgress }), "mcp_error");
});

test("cancel reaches the MCP server", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  const stop = new AbortController();
  await assert.rejects(mcp.callTool(sessionId, "slow", { count: 1000, intervalMs: 20 }, { onProgress: () => stop.abort(), signal: stop.signal }), { name: "AbortError" });
  assert.equal(await control("cancelled"), "1");
});

test("no URL has a session ID, and a page's own headers go along", async () => {
  await answering([[200, "application/json", "{}"]], async (calls) => {
    let token = 0;
    const mcp = client({ headers: async () => ({ Authorization: `Bearer ${++token}` }) });
    await mcp.status("S", { attemptId: "A" });
    await mcp.listTools("S");
    await mcp.connect("u", { headers: { "X-Api-Key": "k" } });
    await mcp.connect(undefined, { sessionId: "S" });
    await client({ headers: { "X-Csrf": "c" } }).disconnect("S");
    for (const call of calls) assert.ok(!call.url.includes("sessionId"), call.url);
    assert.ok(calls[0].url.includes("attemptId=A"), calls[0].url);
    assert.deepEqual(calls.map((call) => call.headers["Mcpoauth-Session"]), ["S", "S", undefined, undefined, undefined]);
    assert.deepEqual(calls.map((call) => call.headers.Authorization), ["Bearer 1", "Bearer 2", "Bearer 3", "Bearer 4", undefined]);
    assert.equal(calls[4].headers["X-Csrf"], "c");
    assert.deepEqual(JSON.parse(calls[2].body), { serverUrl: "u", headers: { "X-Api-Key": "k" } });
    assert.deepEqual(JSON.parse(calls[3].body), { sessionId: "S" });
  });
});

test("a session is connected again", async () => {
  const mcp = client();
  const { sessionId } = await mcp.connect(MCP);
  assert.equal((await mcp.connect(undefined, { sessionId })).sessionId, sessionId);
  await control("revoke");
  assert.equal((await mcp.connect(MCP, { sessionId })).sessionId, sessionId, "the user authorizes again");
  assert.ok((await mcp.listTools(sessionId)).length > 0);
});
