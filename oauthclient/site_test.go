package oauthclient_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestSameSite(t *testing.T) {
	t.Parallel()
	rows := []struct {
		a, b string
		same bool
	}{
		{"example.com", "example.com", true},
		{"login.example.com", "Auth.Example.com.", true},
		{"login.example.co.uk", "example.co.uk", true},
		{"one.co.uk", "two.co.uk", false},
		{"example.com", "example.com.attacker.net", false},
		{"example.com", "notexample.com", false},
		{"one.github.io", "two.github.io", false},
		{"one.workers.dev", "two.workers.dev", false},
		{"a.one.workers.dev", "b.one.workers.dev", true},
		{"one.azurewebsites.net", "two.azurewebsites.net", false},
		{"cognito-idp.us-east-1.amazonaws.com", "shop.auth.us-east-1.amazoncognito.com", false},
		{"10.0.0.1", "10.1.0.1", false},
		{"10.0.0.1", "10.0.0.1", true},
		{"::1", "::2", false},
		{"intranet", "intranet", true},
		{"intranet", "other", false},
		{"com", "example.com", false},
		{"", "", false},
	}
	for _, row := range rows {
		require.Equal(t, row.same, oauthclient.SameSite(row.a, row.b), "%s, %s", row.a, row.b)
		require.Equal(t, row.same, oauthclient.SameSite(row.b, row.a), "%s, %s", row.b, row.a)
	}
}

// Mix-up without iss: the attacker's metadata names an honest server's
// authorization endpoint and the attacker's own token endpoint.
func TestDiscovery_AuthorizationEndpointOfAnotherServerIsRefused(t *testing.T) {
	t.Parallel()
	const honest = "https://login.honest.example/authorize"
	rows := []struct {
		name   string
		iss    authtest.IssMode
		policy oauthclient.ServerPolicy
		ok     bool
	}{
		{"no iss promised", authtest.IssAbsent, oauthclient.ServerPolicy{}, false},
		{"iss sent but not promised", authtest.IssUnadvertised, oauthclient.ServerPolicy{}, false},
		{"iss promised, so the response must have the attacker's", authtest.IssAdvertised, oauthclient.ServerPolicy{}, true},
		{"by policy", authtest.IssAbsent, oauthclient.ServerPolicy{AllowForeignAuthorizationEndpoint: true}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{Iss: row.iss, EditMetadata: func(doc map[string]any) { doc["authorization_endpoint"] = honest }}, mcptest.Options{})
			err := w.client(policy(row.policy)).Connect(t.Context())
			if row.ok {
				require.Contains(t, requireAuthorization(t, err).AuthURL, honest)
				return
			}
			var discovery *oauthclient.DiscoveryError
			require.ErrorAs(t, err, &discovery)
			require.Equal(t, []string{honest, w.as.Issuer(), "AllowForeignAuthorizationEndpoint"}, []string{discovery.Got, discovery.Want, discovery.Policy})
			require.Empty(t, w.as.Requests(authtest.EndpointRegister))
		})
	}
}

// The attacker promises an iss and has the honest server's response delivered,
// which has the honest server's iss or none.
func TestFinishAuth_ResponseOfTheHonestServerIsNotForTheAttacker(t *testing.T) {
	t.Parallel()
	for _, iss := range []authtest.IssMode{authtest.IssAdvertised, authtest.IssAbsent} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		honest := authtest.New(authtest.Options{Iss: iss, ClientIDMetadataDocuments: true})
		t.Cleanup(honest.Close)
		w.as.SetEditMetadata(func(doc map[string]any) {
			doc["authorization_endpoint"] = honest.EndpointURL(authtest.EndpointAuthorize)
			doc["client_id_metadata_document_supported"] = true
		})
		c := w.client(func(cfg *oauthclient.Config) { cfg.ClientMetadataURL = "https://app.example/client.json" })
		callback, err := honest.Approve(t.Context(), w.begin(c).AuthURL)
		require.NoError(t, err)
		require.ErrorIs(t, c.FinishAuth(t.Context(), parseCallback(t, callback)), oauthclient.ErrInvalidCallback)
		require.Empty(t, w.as.Requests(authtest.EndpointToken), "the attacker gets no code")
	}
}
