package interop_test

import (
	"net/url"
	"testing"
)

// oidcProvider starts oidc-provider, and an MCP server that asks it about tokens.
func oidcProvider(t *testing.T, how string, env ...string) *stack {
	t.Helper()
	server := newWire(t)
	srv := newMCPServer(t, server.url, oidcIntrospection(t, server))
	s := oidcProviderFor(t, server, srv.URL(), how, env...)
	s.reject = func(string) { srv.RejectNext(1) }
	return s
}

// boundOIDCProvider is oidcProvider with an MCP server that takes only tokens
// that are bound to a key. Both servers ask for nonces.
func boundOIDCProvider(t *testing.T, how string) (*stack, *boundServer) {
	t.Helper()
	server := newWire(t)
	bound := newBoundServer(t, server.url, oidcIntrospection(t, server))
	s := oidcProviderFor(t, server, bound.url, how, "NONCES=yes")
	s.reject = bound.rejectNext
	return s, bound
}

func oidcIntrospection(t *testing.T, server *wire) verify {
	return introspection(t, server.url+"/token/introspection", "mcp-server", "mcp-server-secret")
}

// oidcProviderFor starts oidc-provider for the MCP server with a URL.
func oidcProviderFor(t *testing.T, server *wire, mcpURL, how string, env ...string) *stack {
	t.Helper()
	restart := node(t, server, "oidc-provider.mjs", append(env, "ISSUER="+server.url, "RESOURCE="+mcpURL, "LIFETIME=10")...)
	return &stack{
		name: "oidc-provider " + npmVersion(t, "oidc-provider") + ", " + how, server: server, mcpURL: mcpURL, resource: mcpURL,
		registrationURL: server.url + "/reg",
		form:            url.Values{"login": {"alice"}, "password": {"any"}},
		restart:         restart,
		whoami:          "whoami", want: "alice", admin: "admin", scope: adminScope,
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
