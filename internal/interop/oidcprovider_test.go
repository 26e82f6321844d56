package interop_test

import (
	"net/url"
	"testing"
)

func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	server := newWire(t)
	srv := newMCPServer(t, server.url, introspection(t, server.url+"/token/introspection", "mcp-server", "mcp-server-secret"))
	server.forward(node(t, "oidc-provider.mjs", "ISSUER="+server.url, "RESOURCE="+srv.URL(), "LIFETIME=4"))
	s := &stack{
		name: "oidc-provider " + npmVersion(t, "oidc-provider"), server: server, mcpURL: srv.URL(),
		reject: func(string) { srv.RejectNext(1) },
		form:   url.Values{"login": {"alice"}, "password": {"any"}},
		whoami: "whoami", want: "alice", admin: "admin", scope: adminScope,
		expires: true, registrations: 1,
	}
	s.journey(t, exampleServer(t))
}
