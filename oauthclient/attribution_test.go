package oauthclient_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// What an authorization server says of its trouble is in the error, and so in
// the log, and refuses nothing.
func TestTemporaryError_HasWhatTheAuthorizationServerSaid(t *testing.T) {
	t.Parallel()
	for _, status := range []int{408, 429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{AssignAuthMethod: authtest.AuthBasic}, mcptest.Options{})
			c := w.connected()
			before := w.stored()
			w.as.SetOutage(authtest.EndpointToken, func(rw http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				_, secret, _ := r.BasicAuth()
				authtest.OAuthError(status, "server_error", "no database for "+r.Form.Get("refresh_token")+" of "+secret)(rw, r)
			})
			w.clock.Advance(2 * time.Hour)
			failed := requireTemporary(t, w.call(c))
			require.ErrorContains(t, failed, "server_error: no database for [redacted] of [redacted]")
			require.NotContains(t, failed.Error(), before.RefreshToken.Reveal())
			var refused *oauthclient.AuthorizationError
			require.NotErrorAs(t, failed, &refused)
		})
	}
}

// A certificate does not become valid by waiting.
func TestServerError_ForABadCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	t.Cleanup(untrusted.Close)

	var answer *oauthclient.ServerError
	err := w.client(func(cfg *oauthclient.Config) { cfg.ServerURL = untrusted.URL + "/mcp" }).Connect(t.Context())
	require.ErrorAs(t, err, &answer)
	require.Empty(t, answer.Op, "the MCP server's")
	require.ErrorContains(t, err, "certificate")

	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{untrusted.URL}})
	err = w.client().Connect(t.Context())
	require.ErrorAs(t, err, &answer)
	require.True(t, strings.HasPrefix(answer.Op, "fetching "+untrusted.URL), "not the MCP server's: %v", err)
	require.ErrorContains(t, err, "certificate")
}

// Where there is nothing to revoke, there is nothing to warn of. Another refusal
// is the authorization server's, with its own words.
func TestRevocation_WithNothingToRevokeIsDebug(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		answer http.HandlerFunc
		quiet  bool
	}{
		"unsupported_token_type": {authtest.OAuthError(400, "unsupported_token_type", ""), true},
		"404":                    {authtest.StatusOutage(404), true},
		"405":                    {authtest.StatusOutage(405), true},
		"501":                    {authtest.StatusOutage(501), true},
		"500":                    {authtest.StatusOutage(500), false},
		"a forgotten client":     {authtest.OAuthError(401, "invalid_client", ""), true},
		"another refusal":        {authtest.OAuthError(400, "invalid_request", "the hint is odd"), false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			log := new(testlog.Buffer)
			c := w.connected(logTo(log))
			w.as.SetOutage(authtest.EndpointRevoke, row.answer)
			require.NoError(t, c.Disconnect(t.Context()))
			require.Len(t, w.as.Requests(authtest.EndpointRevoke), 2, "each token gets its try")
			require.Equal(t, row.quiet, !strings.Contains(log.String(), "revocation failed"))
			require.Equal(t, row.quiet, strings.Contains(log.String(), "level=DEBUG msg=\"mcpoauth: the authorization server revokes no such token\""))
			require.Equal(t, name == "another refusal", strings.Contains(log.String(), "answered invalid_request: the hint is odd"))
		})
	}
}

// Of a client that was registered by hand, a wrong secret is worth a warning.
func TestRevocation_ClientByHandThatIsRefusedIsAWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRegistration: true, Clients: []authtest.Client{{ID: "app", RedirectURIs: []string{callbackURL}}}}, mcptest.Options{})
	log := new(testlog.Buffer)
	c := w.connected(logTo(log), func(cfg *oauthclient.Config) {
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "app"}}
	})
	w.as.SetOutage(authtest.EndpointRevoke, authtest.OAuthError(401, "invalid_client", ""))
	require.NoError(t, c.Disconnect(t.Context()))
	require.Contains(t, log.String(), "level=WARN msg=\"mcpoauth: revocation failed\"")
}
