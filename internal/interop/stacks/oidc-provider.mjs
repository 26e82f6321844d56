// oidc-provider, with the login and consent forms that it brings for
// development. ISSUER is its public URL, RESOURCE the MCP server.
import Provider from "oidc-provider";
import { listen } from "./serve.mjs";

const { ISSUER, RESOURCE, LIFETIME } = process.env;

const provider = new Provider(ISSUER, {
  clients: [{ client_id: "mcp-server", client_secret: "mcp-server-secret", redirect_uris: [], response_types: [], grant_types: [] }],
  scopes: ["openid", "offline_access", "tools", "admin"],
  features: {
    registration: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, indicator) => {
        if (indicator !== RESOURCE) throw new Error(`unknown resource ${indicator}`);
        return { scope: "tools admin", audience: RESOURCE, accessTokenFormat: "opaque", accessTokenTTL: Number(LIFETIME) };
      },
      useGrantedResource: () => true,
    },
  },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
});
provider.proxy = true;
listen(provider.callback());
