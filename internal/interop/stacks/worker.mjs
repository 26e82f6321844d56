// The Worker: @cloudflare/workers-oauth-provider in front of an MCP server,
// with the consent page of its documentation. The sign-in is left out: the user
// is Alice.
import { insufficientScope, OAuthProvider } from "@cloudflare/workers-oauth-provider";

const escape = (value) => value.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);

const page = (details, handle) => `<!doctype html><h1>Allow ${escape(details.clientName)}?</h1><form method="post">
<input type="hidden" name="handle" value="${escape(handle)}">
${details.scope.map((scope) => `<input type="checkbox" name="scope" value="${escape(scope)}" checked>`).join("")}
<button name="decision" value="deny">Deny</button><button name="decision" value="approve">Allow</button></form>`;

const pages = {
  async fetch(request, env) {
    const oauth = env.OAUTH_PROVIDER;
    if (new URL(request.url).pathname !== "/authorize") return new Response("not found", { status: 404 });
    if (request.method === "GET") {
      const authorization = await oauth.parseAuthRequest(request);
      const details = await oauth.describeConsent(authorization);
      const consent = await oauth.beginConsent(authorization);
      consent.headers.set("Content-Type", "text/html; charset=utf-8");
      return new Response(page(details, consent.handle), { headers: consent.headers });
    }
    const form = await request.formData();
    if (form.get("decision") !== "approve") {
      const { headers } = await oauth.denyConsent(request, form.get("handle"));
      return new Response(null, { status: 302, headers });
    }
    const approved = await oauth.approveConsent(request, form.get("handle"), { scope: form.getAll("scope") });
    const { redirectTo } = await oauth.completeAuthorization({
      request: approved.request,
      userId: "alice",
      metadata: {},
      scope: approved.request.scope,
      props: { userId: "alice" },
    });
    approved.headers.set("Location", redirectTo);
    return new Response(null, { status: 302, headers: approved.headers });
  },
};

const api = {
  async fetch(request, env, ctx) {
    const message = request.method === "POST" ? await request.clone().json() : {};
    const needed = message.method === "tools/call" && message.params?.name === "admin" ? ["tools", "admin"] : ["tools"];
    if (!needed.every((scope) => ctx.auth.scope.includes(scope))) return insufficientScope(ctx.auth, needed);
    const inside = new Request(request);
    inside.headers.set("X-User", ctx.props.userId);
    return env.MCP.fetch(inside);
  },
};

const providers = new Map(); // by origin, which is known from the bindings only

const provider = ({ ORIGIN, DOCUMENTS }) =>
  new OAuthProvider({
    apiRoute: "/mcp",
    apiHandler: api,
    defaultHandler: pages,
    authorizeEndpoint: "/authorize",
    tokenEndpoint: "/oauth/token",
    ...(DOCUMENTS ? { clientIdMetadataDocumentEnabled: true } : { clientRegistrationEndpoint: "/register" }),
    scopesSupported: ["tools", "admin", "offline_access"],
    resourceMetadata: { resource: `${ORIGIN}/mcp`, authorization_servers: [ORIGIN] },
    requiredScopes: ["tools"],
  });

export default {
  fetch(request, env, ctx) {
    if (!providers.has(env.ORIGIN)) providers.set(env.ORIGIN, provider(env));
    return providers.get(env.ORIGIN).fetch(request, env, ctx);
  },
};
