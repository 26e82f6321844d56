package oauthclient_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Every mistake is named at once, each by its field.
func TestConfigMistakesAreNamedTogether(t *testing.T) {
	t.Parallel()
	cfg := oauthclient.Config{
		ServerURL: "ftp://mcp.example", CallbackURL: "javascript:alert(1)", Shared: oauthclient.Shared{ClientMetadataURL: "http://app.example/doc",
			PreregisteredClients: []oauthclient.PreregisteredClient{
				{ClientID: "x"},
				{Issuer: "https://as.example", ClientID: "x", TokenEndpointAuthMethod: "private_key_jwt"},
				{Issuer: "https://as.example/", ClientID: "y"},
				{Issuer: "https://other.example", ClientID: "z", TokenEndpointAuthMethod: "client_secret_post"},
			},
			ClientMetadata: oauthex.ClientRegistrationMetadata{TokenEndpointAuthMethod: "magic"},
			MaxTools:       -1,
		}}
	for name, construct := range map[string]func(oauthclient.Config) error{
		"New":              func(cfg oauthclient.Config) error { _, err := oauthclient.New(cfg); return err },
		"NewOAuthProvider": func(cfg oauthclient.Config) error { _, err := oauthclient.NewOAuthProvider(cfg); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := construct(cfg)
			for _, field := range []string{
				"Config.ServerURL", "Config.CallbackURL", "Config.ClientMetadataURL", "Config.PreregisteredClients[0]",
				"Config.PreregisteredClients[1].TokenEndpointAuthMethod", "Config.PreregisteredClients[2]: is the second",
				"Config.PreregisteredClients[3].ClientSecret", "Config.ClientMetadata.TokenEndpointAuthMethod", "MaxTools",
			} {
				require.ErrorContains(t, err, field)
			}
			for line := range strings.Lines(err.Error()) {
				require.True(t, strings.HasPrefix(line, "oauthclient: Config."), line)
			}
			require.ErrorContains(t, construct(oauthclient.Config{}), "ServerURL: is missing")
			require.ErrorContains(t, construct(oauthclient.Config{}), "CallbackURL: is missing")
		})
	}
}

func TestConfigFields(t *testing.T) {
	t.Parallel()
	good := oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL}
	rows := []struct {
		name   string
		change func(*oauthclient.Config)
		want   string // empty: valid
	}{
		{"minimal", func(*oauthclient.Config) {}, ""},
		{"http server", func(c *oauthclient.Config) { c.ServerURL = "http://127.0.0.1:1/" }, ""},
		{"server with a query", func(c *oauthclient.Config) { c.ServerURL += "?tenant=1" }, ""},
		{"server without a host", func(c *oauthclient.Config) { c.ServerURL = "https:///mcp" }, "ServerURL"},
		{"server with a port only", func(c *oauthclient.Config) { c.ServerURL = "https://:443/mcp" }, "ServerURL"},
		{"relative server", func(c *oauthclient.Config) { c.ServerURL = "/mcp" }, "ServerURL"},
		{"server with user info", func(c *oauthclient.Config) { c.ServerURL = "https://canary:canary@mcp.example" }, "ServerURL"},
		{"server with a fragment", func(c *oauthclient.Config) { c.ServerURL += "#canary" }, "ServerURL"},
		{"server with an empty fragment", func(c *oauthclient.Config) { c.ServerURL += "#" }, "ServerURL"},
		{"server that is no URL", func(c *oauthclient.Config) { c.ServerURL = "https://a b/%zz?canary" }, "ServerURL"},
		{"private-use callback", func(c *oauthclient.Config) { c.CallbackURL = "com.example:/cb" }, ""},
		{"callback with a query", func(c *oauthclient.Config) { c.CallbackURL += "?x=1" }, ""},
		{"relative callback", func(c *oauthclient.Config) { c.CallbackURL = "/cb" }, "CallbackURL"},
		{"callback with a fragment", func(c *oauthclient.Config) { c.CallbackURL += "#x" }, "CallbackURL"},
		{"data callback", func(c *oauthclient.Config) { c.CallbackURL = "data:text/html,x" }, "CallbackURL"},
		{"callback with a scheme in capitals", func(c *oauthclient.Config) { c.CallbackURL = "JavaScript:alert(1)" }, "CallbackURL"},
		{"private-use callback of one word", func(c *oauthclient.Config) { c.CallbackURL = "cursor://mcp/callback" }, ""},
		{"loopback callback", func(c *oauthclient.Config) { c.CallbackURL = "http://127.0.0.1:8080/cb" }, ""},
		{"plain http callback", func(c *oauthclient.Config) { c.CallbackURL = "http://app.example/cb" }, "CallbackURL"},
		{"plain http callback inside a network", func(c *oauthclient.Config) { c.CallbackURL = "http://10.0.0.1/cb" }, "CallbackURL"},
		{"blob callback", func(c *oauthclient.Config) { c.CallbackURL = "blob:https://app.example/x" }, "CallbackURL"},
		{"callback without a host", func(c *oauthclient.Config) { c.CallbackURL = "https:///cb" }, "CallbackURL"},
		{"document without a path", func(c *oauthclient.Config) { c.ClientMetadataURL = "https://app.example/" }, "ClientMetadataURL"},
		{"document with a fragment", func(c *oauthclient.Config) { c.ClientMetadataURL = "https://app.example/d#x" }, "ClientMetadataURL"},
		{"document", func(c *oauthclient.Config) { c.ClientMetadataURL = documentURL }, ""},
		{"policy with an unknown method", policy(oauthclient.ServerPolicy{TokenEndpointAuthMethod: "magic"}), "PolicyFor"},
		{"negative duration", func(c *oauthclient.Config) { c.RefreshAhead = -1 }, "RefreshAhead"},
		{"client of an issuer that is no URL", func(c *oauthclient.Config) {
			c.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: "as.example", ClientID: "1"}}
		}, "PreregisteredClients[0].Issuer"},
		{"two clients for one server URL", func(c *oauthclient.Config) {
			c.PreregisteredClients = []oauthclient.PreregisteredClient{{ServerURL: "https://a", ClientID: "1"}, {ServerURL: "https://a", ClientID: "2"}}
		}, "PreregisteredClients[1]"},
		{"clients for two servers", func(c *oauthclient.Config) {
			c.PreregisteredClients = []oauthclient.PreregisteredClient{{ServerURL: "https://a", ClientID: "1"}, {Issuer: "https://a", ClientID: "2"}}
		}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			row.change(&cfg)
			_, err := oauthclient.New(cfg)
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.want)
			require.NotContains(t, err.Error(), "canary")
		})
	}
}

// The configuration is the caller's: it is not changed, and changing it later
// changes nothing.
func TestConfigIsCopied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	grants, clients, scopes := []string{"authorization_code"}, []oauthclient.PreregisteredClient{{Issuer: "https://x", ClientID: "1"}}, []string{"s"}
	cfg := w.config(policy(oauthclient.ServerPolicy{Scopes: scopes}))
	cfg.PreregisteredClients = clients
	cfg.ClientMetadata.GrantTypes = grants
	before := cfg.ClientMetadata
	c, err := oauthclient.New(cfg)
	require.NoError(t, err)
	require.Equal(t, before, cfg.ClientMetadata)
	require.Zero(t, cfg.CallTimeout)
	require.Nil(t, cfg.Attempts)

	grants[0], clients[0], scopes[0] = "changed", oauthclient.PreregisteredClient{Issuer: w.as.Issuer(), ClientID: "changed"}, "changed"
	required := w.begin(c)
	require.Equal(t, []any{"authorization_code"}, w.as.Requests(authtest.EndpointRegister)[0].JSON["grant_types"])
	require.Equal(t, "s", query(t, required).Get("scope"))
	require.NotEqual(t, "changed", query(t, required).Get("client_id"))
	require.Equal(t, w.mcp.URL(), c.ServerURL())
	require.Equal(t, callbackURL, c.CallbackURL())
	creds, err := c.Credentials(t.Context())
	require.NoError(t, err)
	require.False(t, creds.Authorized())
}

// http.DefaultClient has no Transport.
func TestHTTPClientWithoutTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected(func(cfg *oauthclient.Config) { cfg.Transport, cfg.InsecureTransport = http.DefaultTransport, true })
	require.NoError(t, w.call(c))
}

// Constructing does no I/O, and the default client reaches no private address.
func TestDefaultHTTPClientIsGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.Transport = nil })
	err := c.Connect(t.Context())
	require.ErrorIs(t, err, oauthclient.ErrForbiddenAddress)
	require.NotContains(t, err.Error(), w.mcp.URL())
	require.Empty(t, w.mcp.Requests())
}
