// Runs worker.mjs in workerd. ORIGIN is its public origin. With CLIENT_DOCUMENT,
// clients are Client ID Metadata Documents, which are read from there; otherwise
// they register.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Miniflare, Response } from "miniflare";
import { serveMCP } from "./mcp.mjs";

const { ORIGIN, CLIENT_DOCUMENT } = process.env;
const library = "@cloudflare/workers-oauth-provider";

/** Passes a request of the Worker on to what is outside of it. */
async function outside(request, handle) {
  const body = request.method === "GET" || request.method === "HEAD" ? undefined : await request.text();
  const answer = await handle(new Request(request.url, { method: request.method, headers: [...request.headers], body }));
  return new Response(await answer.text(), { status: answer.status, headers: [...answer.headers] });
}

const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  modules: [
    { type: "ESModule", path: "worker.mjs", contents: readFileSync(new URL("worker.mjs", import.meta.url), "utf8") },
    { type: "ESModule", path: library, contents: readFileSync(fileURLToPath(import.meta.resolve(library)), "utf8") },
  ],
  compatibilityDate: "2026-07-01",
  compatibilityFlags: ["global_fetch_strictly_public"],
  kvNamespaces: ["OAUTH_KV"],
  bindings: { ORIGIN, DOCUMENTS: Boolean(CLIENT_DOCUMENT) },
  serviceBindings: { MCP: (request) => outside(request, (inside) => serveMCP(inside, inside.headers.get("X-User"))) },
  outboundService: (request) => outside(request, () => fetch(CLIENT_DOCUMENT)),
});
console.log(`listening on ${(await miniflare.ready).origin}`);
