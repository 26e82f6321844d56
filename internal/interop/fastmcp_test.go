package interop_test

import (
	"net/url"
	"testing"
)

// FastMCP has neither step-up nor revocation. Its resource is the origin.
func TestFastMCP(t *testing.T) {
	t.Parallel()
	server := newWire(t)
	restart := node(t, server, "fastmcp.mjs", "ORIGIN="+server.url, "LIFETIME=10")
	s := &stack{
		name: "fastmcp " + npmVersion(t, "fastmcp"), server: server, mcpURL: server.url + "/mcp", resource: server.url, reject: server.reject,
		form:    url.Values{"login": {"alice"}, "password": {"any"}, "action": {"approve"}},
		denial:  url.Values{"login": {"alice"}, "password": {"any"}, "action": {"deny"}},
		restart: restart, silent: true,
		whoami: "whoami", want: "alice",
		expires: true, irrevocable: true, registers: true,
	}
	s.journey(t, exampleServer(t, settings{}))
}
