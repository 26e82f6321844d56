package oauthclient_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// withKnown configures the client of known with a secret.
func withKnown(w *world, secret string) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{
			Issuer: w.as.Issuer(), ClientID: "known client/1", ClientSecret: oauthclient.NewSecret(secret),
		}}
	}
}

// A secret is rotated at the server and in the configuration: what was begun, and
// what was stored, with the old one goes on.
func TestPreregistered_SecretIsReadFromTheConfigurationAtEachUse(t *testing.T) {
	t.Parallel()
	for _, method := range []string{authtest.AuthBasic, authtest.AuthPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			client := known(method)
			w := newWorld(t, authtest.Options{Clients: []authtest.Client{client}, AuthMethods: []string{method}}, mcptest.Options{})
			store := &attempts{now: w.clock.Now}
			rotate := func(secret string) *oauthclient.MCPOAuthClient {
				client.Secret = secret
				w.as.AddClient(client)
				return w.client(withKnown(w, secret), func(cfg *oauthclient.Config) { cfg.Attempts = store })
			}
			resp := w.approve(w.begin(rotate("first secret")))
			c := rotate("second secret")
			require.NoError(t, c.FinishAuth(t.Context(), resp))
			require.NoError(t, w.call(c))
			w.clock.Advance(2 * time.Hour)
			c = rotate("third secret")
			require.NoError(t, w.call(c))
			c = rotate("fourth secret")
			require.NoError(t, c.Disconnect(t.Context()))
			counts := w.as.Counts()
			require.Equal(t, []int{1, 1, 2}, []int{counts.Exchanges, counts.Refreshes, counts.Revocations})
		})
	}
}

func TestPreregistered_SecretIsInNoRecord(t *testing.T) {
	t.Parallel()
	client := known(authtest.AuthBasic)
	w := newWorld(t, authtest.Options{Clients: []authtest.Client{client}}, mcptest.Options{})
	var begun oauthclient.Attempt
	store := &attempts{now: w.clock.Now, created: func(a oauthclient.Attempt) { begun = a }}
	w.connected(withKnown(w, client.Secret), func(cfg *oauthclient.Config) { cfg.Attempts = store })
	for _, r := range []oauthclient.Registration{begun.Registration, w.stored().Registration} {
		require.Equal(t, client.ID, r.ClientID)
		require.True(t, r.Preregistered)
		require.True(t, r.ClientSecret.IsZero())
	}
	r := w.stored().Registration
	r.ClientSecret = oauthclient.NewSecret(client.Secret)
	data, err := r.MarshalBinary()
	require.NoError(t, err)
	require.NotContains(t, string(data), "s3cret")
}

// Records of earlier versions hold the secret. They can be read, and it is the
// configured secret that counts.
func TestPreregistered_RecordsWithASecretAreStillRead(t *testing.T) {
	t.Parallel()
	var r oauthclient.Registration
	require.NoError(t, r.UnmarshalBinary([]byte(
		`{"issuer":"https://as.example","client_id":"app","client_secret":"old","token_endpoint_auth_method":"client_secret_post","redirect_uri":"https://app.example/cb"}`)))
	require.Equal(t, oauthclient.Registration{
		Issuer: "https://as.example", ClientID: "app", Preregistered: true, TokenEndpointAuthMethod: "client_secret_post", RedirectURI: "https://app.example/cb",
	}, r)
	require.NoError(t, r.UnmarshalBinary([]byte(`{"client_id":"app","client_secret":"s","dynamic":true,"unanswered_since":"2026-08-01T12:00:00Z"}`)))
	require.Equal(t, "s", r.ClientSecret.Reveal(), "the secret of a dynamic client is nowhere else")
	require.False(t, r.Preregistered)
}

// Entra and Okta: one issuer, a client for each MCP server.
func TestPreregistered_TwoClientsAtOneIssuer(t *testing.T) {
	t.Parallel()
	const mcpServer, other = "mcp", "other"
	rows := map[string]struct {
		clients []string // server and issuer of each
		want    string
	}{
		"each server has its own":              {[]string{"other as", "mcp as"}, "1"},
		"one of them is for all other servers": {[]string{"- as", "mcp as"}, "1"},
		"the narrowest comes first":            {[]string{"mcp as", "mcp -", "- as"}, "0"},
		"the server before the issuer":         {[]string{"- as", "mcp -"}, "1"},
		"the other server's is not used":       {[]string{"other as", "- as"}, "1"},
		"both must match: another issuer":      {[]string{"mcp elsewhere", "- as"}, "1"},
		"both must match: another server":      {[]string{"other as"}, ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{NoRegistration: true}, mcptest.Options{})
			values := map[string]string{mcpServer: w.mcp.URL(), other: w.mcp.URL() + "/other", "as": w.as.Issuer(), "elsewhere": "https://elsewhere.example"}
			c := w.client(func(cfg *oauthclient.Config) {
				for i, bound := range row.clients {
					server, issuer, _ := strings.Cut(bound, " ")
					cfg.PreregisteredClients = append(cfg.PreregisteredClients, oauthclient.PreregisteredClient{
						ServerURL: values[server], Issuer: values[issuer], ClientID: string(rune('0' + i)),
					})
				}
			})
			err := c.Connect(t.Context())
			if row.want == "" {
				var required *oauthclient.RegistrationRequiredError
				require.ErrorAs(t, err, &required)
				return
			}
			require.Equal(t, row.want, query(t, requireAuthorization(t, err)).Get("client_id"))
		})
	}
}
