package oauthclient_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

const documentURL = "https://app.example/client-metadata.json"

// known is a client that an administrator registered.
func known(method string) authtest.Client {
	c := authtest.Client{ID: "known client/1", RedirectURIs: []string{callbackURL}, AuthMethod: method}
	if method != authtest.AuthNone {
		c.Secret = "s3cret %+&=: ü"
	}
	return c
}

// The order of MCP 2026-07-28: pre-registered, Client ID Metadata Document,
// dynamic.
func TestRegistrationOrder(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name          string
		preregistered func(w *world) []oauthclient.PreregisteredClient
		document      bool // is configured
		as            authtest.Options
		want          string // client_id, or "dynamic", or "required"
		disable       bool
	}{
		{
			name: "pre-registered before all", document: true, want: "known client/1",
			preregistered: func(w *world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "known client/1"}}
			},
			as: authtest.Options{ClientIDMetadataDocuments: true},
		},
		{
			name: "pre-registered for the MCP server", want: "known client/1",
			preregistered: func(w *world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{ServerURL: w.mcp.URL(), ClientID: "known client/1"}}
			},
		},
		{
			name: "pre-registered, issuer with a slash", want: "known client/1",
			preregistered: func(w *world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer() + "/", ClientID: "known client/1"}}
			},
		},
		{
			name: "pre-registered with another issuer is never used", want: "dynamic",
			preregistered: func(*world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{Issuer: "https://other.example", ClientID: "known client/1"}}
			},
		},
		{
			name: "pre-registered with another issuer and this server URL is never used", want: "dynamic",
			preregistered: func(w *world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{Issuer: "https://other.example", ServerURL: w.mcp.URL(), ClientID: "known client/1"}}
			},
		},
		{
			name: "pre-registered for another MCP server", want: "dynamic",
			preregistered: func(w *world) []oauthclient.PreregisteredClient {
				return []oauthclient.PreregisteredClient{{ServerURL: w.mcp.URL() + "/other", ClientID: "known client/1"}}
			},
		},
		{name: "document where supported", document: true, as: authtest.Options{ClientIDMetadataDocuments: true}, want: documentURL},
		{name: "document not supported", document: true, want: "dynamic"},
		{name: "no document configured", as: authtest.Options{ClientIDMetadataDocuments: true}, want: "dynamic"},
		{name: "document and no dynamic registration", document: true, as: authtest.Options{ClientIDMetadataDocuments: true, NoRegistration: true}, want: documentURL},
		{name: "nothing possible", document: true, as: authtest.Options{NoRegistration: true}, want: "required"},
		{name: "dynamic registration disabled", disable: true, want: "required"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.as.Clients = []authtest.Client{known(authtest.AuthNone)}
			w := newWorld(t, row.as, mcptest.Options{})
			c := w.client(func(cfg *oauthclient.Config) {
				if row.preregistered != nil {
					cfg.PreregisteredClients = row.preregistered(w)
				}
				if row.document {
					cfg.ClientMetadataURL = documentURL
				}
				cfg.DisableDynamicRegistration = row.disable
			})
			err := c.Connect(t.Context())
			registered := w.as.Counts().Registrations
			if row.want == "required" {
				var required *oauthclient.RegistrationRequiredError
				require.ErrorAs(t, err, &required)
				require.Equal(t, oauthclient.RegistrationRequiredError{Issuer: w.as.Issuer(), RedirectURI: callbackURL}, *required)
				require.Contains(t, err.Error(), w.as.Issuer())
				require.Contains(t, err.Error(), callbackURL)
				require.Zero(t, registered)
				return
			}
			required := requireAuthorization(t, err)
			clientID := query(t, required).Get("client_id")
			if row.want == "dynamic" {
				require.Equal(t, 1, registered)
				require.NotEqual(t, "known client/1", clientID)
			} else {
				require.Zero(t, registered)
				require.Equal(t, row.want, clientID)
			}
			w.finish(c, required)
			require.NoError(t, w.call(c))
			require.Equal(t, clientID, w.stored().Registration.ClientID)
		})
	}
}

// Slack, GitHub and Google register no clients by themselves.
func TestRegistration_MissingEndpointNamesIssuerAndRedirectURI(t *testing.T) {
	t.Parallel()
	client := known(authtest.AuthPost)
	w := newWorld(t, authtest.Options{NoRegistration: true, Clients: []authtest.Client{client}}, mcptest.Options{})
	var required *oauthclient.RegistrationRequiredError
	require.ErrorAs(t, w.client().Connect(t.Context()), &required)
	require.Equal(t, &oauthclient.RegistrationRequiredError{Issuer: w.as.Issuer(), RedirectURI: callbackURL}, required)
	c := w.connected(func(cfg *oauthclient.Config) {
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{
			Issuer: required.Issuer, ClientID: client.ID, ClientSecret: oauthclient.NewSecret(client.Secret), TokenEndpointAuthMethod: authtest.AuthPost,
		}}
	})
	require.NoError(t, w.call(c))
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name       string
		client     string   // how the client is registered
		configured string   // what the configuration says
		advertised []string // nil: not at all
		policy     string
	}{
		{"public", authtest.AuthNone, "", nil, ""},
		{"configured basic", authtest.AuthBasic, authtest.AuthBasic, []string{authtest.AuthPost}, ""},
		{"configured post", authtest.AuthPost, authtest.AuthPost, nil, ""},
		{"advertised post", authtest.AuthPost, "", []string{authtest.AuthPost, authtest.AuthNone}, ""},
		{"advertised both", authtest.AuthBasic, "", []string{authtest.AuthPost, authtest.AuthBasic}, ""},
		{"not advertised (RFC 8414: basic)", authtest.AuthBasic, "", nil, ""},
		{"policy wins", authtest.AuthPost, authtest.AuthBasic, []string{authtest.AuthBasic}, authtest.AuthPost},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			client := known(row.client)
			w := newWorld(t, authtest.Options{Clients: []authtest.Client{client}, EditMetadata: func(doc map[string]any) {
				delete(doc, "token_endpoint_auth_methods_supported")
				if row.advertised != nil {
					doc["token_endpoint_auth_methods_supported"] = row.advertised
				}
			}}, mcptest.Options{Stateful: true})
			c := w.connected(policy(oauthclient.ServerPolicy{TokenEndpointAuthMethod: row.policy}), func(cfg *oauthclient.Config) {
				cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{
					Issuer: w.as.Issuer(), ClientID: client.ID, ClientSecret: oauthclient.NewSecret(client.Secret), TokenEndpointAuthMethod: row.configured,
				}}
			})
			w.clock.Advance(2 * time.Hour)
			require.NoError(t, w.call(c))
			require.NoError(t, c.Disconnect(t.Context()))
			counts := w.as.Counts()
			require.Equal(t, []int{1, 1, 2}, []int{counts.Exchanges, counts.Refreshes, counts.Revocations}, "all three authenticate alike")
			for _, req := range w.as.Requests("") {
				if req.Method == http.MethodPost {
					require.Equal(t, row.client == authtest.AuthBasic, req.Header.Get("Authorization") != "")
					require.Equal(t, row.client == authtest.AuthPost, req.Form.Has("client_secret"))
					require.Equal(t, row.client != authtest.AuthBasic, req.Form.Has("client_id"))
				}
			}
		})
	}
}

func TestDynamicRegistrationRequest(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name     string
		callback string
		meta     oauthex.ClientRegistrationMetadata
		want     map[string]any
	}{
		{"web", callbackURL, oauthex.ClientRegistrationMetadata{}, map[string]any{"application_type": "web", "client_name": "mcpoauth"}},
		{"loopback address is native", "http://127.0.0.1:9/cb", oauthex.ClientRegistrationMetadata{}, map[string]any{"application_type": "native"}},
		{"localhost is native", "http://localhost:9/cb", oauthex.ClientRegistrationMetadata{}, map[string]any{"application_type": "native"}},
		{"private-use scheme is native", "com.example.app:/cb", oauthex.ClientRegistrationMetadata{}, map[string]any{"application_type": "native"}},
		{"own metadata", callbackURL, oauthex.ClientRegistrationMetadata{
			ClientName: "App", ApplicationType: "native", ClientURI: "https://app.example", RedirectURIs: []string{"https://evil.example/cb"},
			TokenEndpointAuthMethod: authtest.AuthNone, Scope: "read", SoftwareID: "x",
		}, map[string]any{"client_name": "App", "application_type": "native", "client_uri": "https://app.example", "token_endpoint_auth_method": "none", "scope": "read", "software_id": "x"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			required := w.begin(w.client(func(cfg *oauthclient.Config) { cfg.CallbackURL, cfg.ClientMetadata = row.callback, row.meta }))
			require.Equal(t, row.callback, query(t, required).Get("redirect_uri"))
			sent := w.as.Requests(authtest.EndpointRegister)[0]
			require.Equal(t, "application/json", sent.Header.Get("Content-Type"))
			require.Equal(t, []any{row.callback}, sent.JSON["redirect_uris"])
			require.Equal(t, []any{"authorization_code", "refresh_token"}, sent.JSON["grant_types"])
			require.Equal(t, []any{"code"}, sent.JSON["response_types"])
			for name, value := range row.want {
				require.Equal(t, value, sent.JSON[name], name)
			}
		})
	}
}

// The server has the last word on how a dynamic client authenticates.
func TestDynamicClientAuthentication(t *testing.T) {
	t.Parallel()
	for _, method := range []string{authtest.AuthNone, authtest.AuthBasic, authtest.AuthPost} {
		for _, assigned := range []bool{false, true} {
			name, opts := "asked for "+method, authtest.Options{AuthMethods: []string{method}}
			if assigned {
				name, opts = "assigned "+method, authtest.Options{AssignAuthMethod: method}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, opts, mcptest.Options{})
				c := w.connected()
				w.clock.Advance(2 * time.Hour)
				require.NoError(t, w.call(c))
				require.Equal(t, method, w.stored().Registration.TokenEndpointAuthMethod)
				require.Equal(t, method != authtest.AuthNone, !w.stored().Registration.ClientSecret.IsZero())
			})
		}
	}
}

func TestRegistrationIsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	for range 3 {
		w.begin(w.client())
	}
	require.Equal(t, 1, w.as.Counts().Registrations)
	w.begin(w.client(func(cfg *oauthclient.Config) { cfg.CallbackURL += "/2" }))
	require.Equal(t, 2, w.as.Counts().Registrations, "another redirect URI is another client")
	w.begin(w.client(func(cfg *oauthclient.Config) { cfg.ClientMetadata.ClientName = "Other" }))
	require.Equal(t, 3, w.as.Counts().Registrations, "other metadata is another client")
	w.begin(w.client(policy(oauthclient.ServerPolicy{TokenEndpointAuthMethod: authtest.AuthPost})))
	require.Equal(t, 4, w.as.Counts().Registrations, "another way to authenticate is another client")
}

// Fifty connections of a host begin at the same time.
func TestFiftyConnectionsRegisterOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	clients := make(chan *oauthclient.MCPOAuthClient, 50)
	for range 50 {
		clients <- w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })
	}
	for _, err := range together(t, 50, w.as.Block(authtest.EndpointRegister), func(ctx context.Context) error { return (<-clients).Connect(ctx) }) {
		requireAuthorization(t, err)
	}
	require.Equal(t, 1, w.as.Counts().Registrations)
}

// A registration is bound to its issuer: an MCP server that moves to another
// authorization server gets a client of that one, and no credentials of the old.
func TestRegistrationIsBoundToTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	old := w.stored()
	other := authtest.New(authtest.Options{Now: w.clock.Now})
	t.Cleanup(other.Close)
	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{other.Issuer()}})
	w.as.RevokeAll()
	required := requireAuthorization(t, w.call(c))
	require.Contains(t, required.AuthURL, other.URL())
	require.Equal(t, 1, other.Counts().Registrations)
	require.NotEqual(t, old.Registration.ClientID, query(t, required).Get("client_id"))
	callback, err := other.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	require.NoError(t, c.FinishAuth(t.Context(), parseCallback(t, callback)))
	require.Equal(t, other.Issuer(), w.stored().Issuer)
	require.Equal(t, other.Issuer(), w.stored().Registration.Issuer)
	for _, req := range other.Requests("") {
		require.NotContains(t, string(req.Body)+req.Header.Get("Authorization"), old.RefreshToken.Reveal())
	}
}
