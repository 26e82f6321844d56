// oidc-provider, with the login and consent forms that it brings for
// development. ISSUER is its public URL, RESOURCE the MCP server. With
// CLIENT_DOCUMENT, clients are Client ID Metadata Documents, which are read from
// there; otherwise they register. With NONCES, proofs (DPoP) need a nonce.
import Provider from "oidc-provider";
import { listen } from "./serve.mjs";

const { ISSUER, RESOURCE, LIFETIME, CLIENT_DOCUMENT, NONCES } = process.env;

const provider = new Provider(ISSUER, {
  clients: [{ client_id: "mcp-server", client_secret: "mcp-server-secret", redirect_uris: [], response_types: [], grant_types: [] }],
  scopes: ["openid", "offline_access", "tools", "admin"],
  features: {
    registration: { enabled: !CLIENT_DOCUMENT },
    clientIdMetadataDocument: { enabled: Boolean(CLIENT_DOCUMENT), ack: "draft-02" },
    clientCredentials: { enabled: true },
    ...(NONCES ? { dPoP: { enabled: true, requireNonce: () => true, nonceSecret: Buffer.alloc(32, "nonces") } } : {}),
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
  fetch: (url, { dispatcher, ...init }) => fetch(CLIENT_DOCUMENT, init), // the dispatcher refuses loopback
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
});
provider.proxy = true;
listen(provider.callback());
