package oauthclient_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestNormalizeServerURL(t *testing.T) {
	t.Parallel()
	rows := map[string]string{
		"https://mcp.example/mcp":              "https://mcp.example/mcp",
		"HTTPS://MCP.Example/Mcp":              "https://mcp.example/Mcp",
		"https://mcp.example:443/mcp":          "https://mcp.example/mcp",
		"http://mcp.example:80/mcp":            "http://mcp.example/mcp",
		"http://mcp.example:443/mcp":           "http://mcp.example:443/mcp",
		"https://mcp.example:/mcp":             "https://mcp.example/mcp",
		"https://mcp.example:8443":             "https://mcp.example:8443",
		"https://mcp.example/":                 "https://mcp.example",
		"https://mcp.example/mcp/":             "https://mcp.example/mcp/",
		"https://mcp.example/mcp?":             "https://mcp.example/mcp",
		"https://mcp.example/mcp?Key=A%20b":    "https://mcp.example/mcp?Key=A%20b",
		"https://mcp.example/a%2Fb":            "https://mcp.example/a%2Fb",
		"https://Bücher.example/mcp":           "https://xn--bcher-kva.example/mcp",
		"https://b%C3%BCcher.example/mcp":      "https://xn--bcher-kva.example/mcp",
		"https://xn--bcher-kva.example/mcp":    "https://xn--bcher-kva.example/mcp",
		"https://mcp。example/mcp":              "https://mcp.example/mcp",
		"https://１２７.0.0.1/mcp":                "https://127.0.0.1/mcp",
		"https://[2606:4700::ABCD]:443/mcp":    "https://[2606:4700::abcd]/mcp",
		"https://[2606:4700::abcd]:8443/mcp":   "https://[2606:4700::abcd]:8443/mcp",
		"https://mcp_1.example/mcp":            "https://mcp_1.example/mcp",
		"https://mcp.example/mcp?a=1&a=2&b=%2": "https://mcp.example/mcp?a=1&a=2&b=%2",
	}
	for raw, want := range rows {
		got, err := oauthclient.NormalizeServerURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
		again, err := oauthclient.NormalizeServerURL(got)
		require.NoError(t, err, raw)
		require.Equal(t, got, again, raw)
	}
	for _, raw := range []string{"", "mcp", "//mcp.example", "ftp://mcp.example", "https://", "https://user@mcp.example", "https://mcp.example/#x", "https://ü／x.example/"} {
		_, err := oauthclient.NormalizeServerURL(raw)
		require.Error(t, err, raw)
		require.Error(t, oauthclient.CheckServerURL(raw), raw)
	}
}

// However the user and the host spell a server, it is one server.
func TestServerURLSpellings(t *testing.T) {
	t.Parallel()
	for _, spelling := range []string{"HTTP://127.0.0.1", "http://LOCALHOST"} {
		t.Run(spelling, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{NoRegistration: true, Clients: []authtest.Client{{ID: "by-hand", RedirectURIs: []string{callbackURL}}}}, mcptest.Options{SkipAudienceCheck: true})
			name := strings.ToLower(strings.TrimPrefix(strings.ToLower(spelling), "http://"))
			w.mcp.SetMetadata(mcptest.Metadata{Resource: strings.Replace(w.mcp.URL(), "127.0.0.1", name, 1)})
			typed := strings.Replace(w.mcp.URL(), "http://127.0.0.1", spelling, 1) + "?"
			var asked string
			c := w.client(func(cfg *oauthclient.Config) {
				cfg.ServerURL = typed
				cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{ServerURL: typed, ClientID: "by-hand"}}
				cfg.PolicyFor = func(serverURL string) oauthclient.ServerPolicy { asked = serverURL; return oauthclient.ServerPolicy{} }
			})
			want := strings.Replace(w.mcp.URL(), "127.0.0.1", name, 1)
			required := w.begin(c)
			require.Equal(t, want, query(t, required).Get("resource"))
			require.Equal(t, "by-hand", query(t, required).Get("client_id"))
			require.Equal(t, want, asked, "policies are asked for the same spelling")
			require.Equal(t, want, c.ServerURL())
			w.finish(c, required)
			require.NoError(t, w.call(c))
		})
	}
}
