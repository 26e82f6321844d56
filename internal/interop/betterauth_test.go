package interop_test

import (
	"net/url"
	"testing"
)

// betterAuth starts better-auth with its MCP plugin.
func betterAuth(t *testing.T, how string, env ...string) *stack {
	t.Helper()
	server := newWire(t)
	restart := node(t, server, "better-auth.mjs", append(env, "ORIGIN="+server.url, "LIFETIME=10")...)
	return &stack{
		name: "better-auth " + npmVersion(t, "better-auth") + ", " + how, server: server, mcpURL: server.url + "/mcp", resource: server.url + "/mcp", reject: server.reject,
		form:    url.Values{"email": {"alice@example.com"}, "password": {"correct horse"}, "accept": {"yes"}},
		denial:  url.Values{"email": {"alice@example.com"}, "password": {"correct horse"}, "accept": {"no"}},
		restart: restart,
		whoami:  "whoami", want: "alice@example.com", admin: "admin", scope: adminScope,
		expires: true, lasting: true,
	}
}

func TestBetterAuthRegistration(t *testing.T) {
	t.Parallel()
	s := betterAuth(t, "dynamic registration")
	s.registers, s.silent = true, true
	s.journey(t, exampleServer(t, settings{}))
}

// The client is a document at a public https URL, which better-auth reads from
// the host.
func TestBetterAuthClientDocument(t *testing.T) {
	t.Parallel()
	h := exampleServer(t, documented)
	s := betterAuth(t, "client metadata document", "CLIENT_DOCUMENT="+h.url+documentPath)
	s.journey(t, h)
}

// The same for a host on loopback, as in development: that client is a native
// application.
func TestBetterAuthLoopbackDocument(t *testing.T) {
	t.Parallel()
	h := exampleServer(t, settings{config: documented.config})
	s := betterAuth(t, "client metadata document, host on loopback", "CLIENT_DOCUMENT="+h.url+documentPath)
	s.journey(t, h)
}
