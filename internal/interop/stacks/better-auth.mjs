// better-auth with its MCP plugin: authorization server and protected MCP
// server. ORIGIN is its public origin. With CLIENT_DOCUMENT, clients are Client
// ID Metadata Documents, which are read from there; otherwise they register.
import { DatabaseSync } from "node:sqlite";
import { cimd } from "@better-auth/cimd";
import { mcp, requireMcpAuth } from "@better-auth/mcp";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { createInsufficientScopeError } from "better-auth/oauth2";
import { jwt } from "better-auth/plugins";
import { toNodeHandler } from "better-call/node";
import { callsAdmin, serveMCP } from "./mcp.mjs";
import { listen } from "./serve.mjs";

const { ORIGIN, LIFETIME, CLIENT_DOCUMENT } = process.env;
const resource = `${ORIGIN}/mcp`;

const options = {
  baseURL: ORIGIN,
  secret: "a secret for tests, of 32 characters at least",
  database: new DatabaseSync(":memory:"),
  emailAndPassword: { enabled: true },
  plugins: [
    jwt(),
    mcp({
      resource,
      loginPage: "/login",
      consentPage: "/consent",
      scopes: ["openid", "offline_access", "tools", "admin"],
      accessTokenExpiresIn: Number(LIFETIME),
      ...(CLIENT_DOCUMENT ? {} : { allowDynamicClientRegistration: true, allowUnauthenticatedClientRegistration: true }),
    }),
    ...(CLIENT_DOCUMENT
      ? [cimd({ metadataProfile: "mcp-2026-07-28", fetchClientMetadataResource: (url, init) => fetch(CLIENT_DOCUMENT, init) })]
      : []),
  ],
};
await (await getMigrations(options)).runMigrations();
const auth = betterAuth(options);
await auth.api.signUpEmail({ body: { name: "Alice", email: "alice@example.com", password: "correct horse" } });

const protectedMCP = requireMcpAuth(
  auth,
  async (request, claims) => {
    const scopes = (claims.scope ?? "").split(" ");
    if ((await callsAdmin(request)) && !scopes.includes("admin")) throw createInsufficientScopeError(["tools", "admin"]);
    const user = await (await auth.$context).internalAdapter.findUserById(claims.sub);
    return serveMCP(request, user.email);
  },
  { resource, requiredScopes: ["tools"] },
);

const page = (form) => new Response(`<form method="post">${form}</form>`, { headers: { "Content-Type": "text/html" } });
const forms = {
  "/login": page.bind(null, '<input name="email"><input type="password" name="password"><button>Sign in</button>'),
  "/consent": page.bind(null, '<button name="accept" value="no">Deny</button><button name="accept" value="yes">Allow</button>'),
};

/** Does what better-auth's browser client does with a form, and sends the browser on. */
async function submit(url, request) {
  const form = Object.fromEntries(await request.formData());
  const [path, body] =
    url.pathname === "/login" ? ["/sign-in/email", form] : ["/oauth2/consent", { accept: form.accept === "yes" }];
  const answer = await auth.handler(
    new Request(`${ORIGIN}/api/auth${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Origin: ORIGIN, Cookie: request.headers.get("Cookie") ?? "" },
      body: JSON.stringify({ ...body, oauth_query: url.search.slice(1) }),
    }),
  );
  if (answer.status !== 200) return answer;
  const next = new Headers({ Location: (await answer.json()).url });
  for (const cookie of answer.headers.getSetCookie()) next.append("Set-Cookie", cookie);
  return new Response(null, { status: 303, headers: next });
}

async function route(request) {
  const url = new URL(request.url);
  if (url.pathname === "/mcp") return protectedMCP(request);
  if (!(url.pathname in forms)) return auth.handler(request);
  return request.method === "POST" ? submit(url, request) : forms[url.pathname]();
}

listen(toNodeHandler(route));
