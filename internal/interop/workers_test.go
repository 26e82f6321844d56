package interop_test

import (
	"net/url"
	"testing"
)

// workers starts @cloudflare/workers-oauth-provider in workerd. Its access
// tokens live for a minute at least.
func workers(t *testing.T, how string, env ...string) *stack {
	t.Helper()
	server := newWire(t)
	restart := node(t, server, "workers.mjs", append(env, "ORIGIN="+server.url)...)
	return &stack{
		name: "workers-oauth-provider " + npmVersion(t, "@cloudflare/workers-oauth-provider") + ", " + how, server: server, mcpURL: server.url + "/mcp", resource: server.url + "/mcp",
		reject:  server.reject,
		form:    url.Values{"scope": {"tools", "admin", "offline_access"}, "decision": {"approve"}},
		denial:  url.Values{"scope": {"tools"}, "decision": {"deny"}},
		restart: restart,
		whoami:  "whoami", want: "alice", admin: "admin", scope: adminScope,
	}
}

func TestWorkersRegistration(t *testing.T) {
	t.Parallel()
	s := workers(t, "dynamic registration")
	s.registers = true
	s.journey(t, exampleServer(t, settings{}))
}

func TestWorkersClientDocument(t *testing.T) {
	t.Parallel()
	h := exampleServer(t, documented)
	s := workers(t, "client metadata document", "CLIENT_DOCUMENT="+h.url+documentPath)
	s.journey(t, h)
}
