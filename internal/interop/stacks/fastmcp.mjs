// FastMCP with its OAuth proxy, in front of an OpenID provider that knows one
// client. ORIGIN is its public origin.
import { createServer } from "node:http";
import { FastMCP, getAuthSession, OAuthProvider, requireAuth } from "fastmcp";
import Provider from "oidc-provider";

const { ORIGIN, LIFETIME } = process.env;

/** Listens on a free port of 127.0.0.1, and returns it. */
const listen = (server) => new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

const server = createServer();
const upstream = `http://127.0.0.1:${await listen(server)}`;
const provider = new Provider(upstream, {
  clients: [{ client_id: "fastmcp", client_secret: "fastmcp-secret", redirect_uris: [`${ORIGIN}/oauth/callback`], grant_types: ["authorization_code", "refresh_token"] }],
  issueRefreshToken: () => true,
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  ttl: { AccessToken: Number(LIFETIME) },
});
server.on("request", provider.callback());

const mcp = new FastMCP({
  name: "interop",
  version: "1.0.0",
  auth: new OAuthProvider({
    authorizationEndpoint: `${upstream}/auth`,
    tokenEndpoint: `${upstream}/token`,
    baseUrl: ORIGIN,
    clientId: "fastmcp",
    clientSecret: "fastmcp-secret",
    scopes: ["openid"],
  }),
});
mcp.addTool({
  name: "whoami",
  description: "Names the user.",
  canAccess: requireAuth,
  execute: async (args, { session }) => {
    const { accessToken } = getAuthSession(session);
    const answer = await fetch(`${upstream}/me`, { headers: { Authorization: `Bearer ${accessToken}` } });
    return (await answer.json()).sub;
  },
});

// FastMCP needs a port, so that one is looked for.
const probe = createServer();
const port = await listen(probe);
await new Promise((resolve) => probe.close(resolve));
await mcp.start({ transportType: "httpStream", httpStream: { host: "127.0.0.1", port, endpoint: "/mcp", stateless: true } });
console.log(`listening on http://127.0.0.1:${port}`);
