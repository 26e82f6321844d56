package interop_test

import (
	"net/url"
	"testing"
)

// oidcProvider starts oidc-provider, and an MCP server that asks it about tokens.
func oidcProvider(t *testing.T, how string, env ...string) *stack {
	t.Helper()
	server := newWire(t)
	srv := newMCPServer(t, server.url, introspection(t, server.url+"/token/introspection", "mcp-server", "mcp-server-secret"))
	restart := node(t, server, "oidc-provider.mjs", append(env, "ISSUER="+server.url, "RESOURCE="+srv.URL(), "LIFETIME=10")...)
	return &stack{
		name: "oidc-provider " + npmVersion(t, "oidc-provider") + ", " + how, server: server, mcpURL: srv.URL(), resource: srv.URL(),
		reject:  func(string) { srv.RejectNext(1) },
		form:    url.Values{"login": {"alice"}, "password": {"any"}},
		restart: restart,
		whoami:  "whoami", want: "alice", admin: "admin", scope: adminScope,
		expires: true,
	}
}

func TestOIDCProviderRegistration(t *testing.T) {
	t.Parallel()
	s := oidcProvider(t, "dynamic registration")
	s.registers = true
	s.journey(t, exampleServer(t, settings{}))
}

func TestOIDCProviderClientDocument(t *testing.T) {
	t.Parallel()
	h := exampleServer(t, documented)
	s := oidcProvider(t, "client metadata document", "CLIENT_DOCUMENT="+h.url+documentPath)
	s.journey(t, h)
}
