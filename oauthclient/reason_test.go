package oauthclient_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// The error says why the user must authorize.
func TestReason_SaysWhyTheUserMustAuthorize(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		as    authtest.Options
		spoil func(*world, *oauthclient.MCPOAuthClient)
		again func(*world, *oauthclient.MCPOAuthClient) error
		want  oauthclient.Reason
	}{
		"expired, no refresh token":   {as: authtest.Options{NoRefreshTokens: true}, spoil: func(w *world, _ *oauthclient.MCPOAuthClient) { w.clock.Advance(2 * time.Hour) }, want: oauthclient.ReasonExpired},
		"the refresh token was ended": {spoil: func(w *world, _ *oauthclient.MCPOAuthClient) { w.as.RevokeAll(); w.clock.Advance(2 * time.Hour) }, want: oauthclient.ReasonRevoked},
		"refused a while ago": {spoil: func(w *world, c *oauthclient.MCPOAuthClient) {
			w.as.FailNextWith(authtest.EndpointToken, 1, authtest.OAuthError(400, "invalid_grant", ""))
			w.clock.Advance(time.Hour - time.Second)
			require.NoError(w.t, w.call(c), "the access token is still used")
			w.clock.Advance(time.Hour)
		}, want: oauthclient.ReasonRevoked},
		"ended before its time": {as: authtest.Options{NoRefreshTokens: true}, spoil: func(w *world, _ *oauthclient.MCPOAuthClient) {
			w.clock.Advance(6 * time.Minute)
			w.as.RevokeAll()
		}, want: oauthclient.ReasonRevoked},
		"more scopes":          {again: (*world).callAdmin, want: oauthclient.ReasonMoreScopes},
		"rejected token":       {spoil: func(w *world, _ *oauthclient.MCPOAuthClient) { w.mcp.RejectNext(100) }, want: oauthclient.ReasonTokenRejected},
		"rejected, no refresh": {as: authtest.Options{NoRefreshTokens: true}, spoil: func(w *world, _ *oauthclient.MCPOAuthClient) { w.mcp.RejectNext(100) }, want: oauthclient.ReasonTokenRejected},
		"asked for by the host": {again: func(w *world, c *oauthclient.MCPOAuthClient) error {
			return c.Provider().Reauthorize(w.t.Context(), false)
		}, want: oauthclient.ReasonRequested},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.as, mcptest.Options{})
			c := w.client()
			first := requireAuthorization(t, w.call(c))
			require.Equal(t, oauthclient.ReasonFirstTime, first.Reason)
			w.finish(c, first)
			require.NoError(t, w.call(c))
			if row.spoil != nil {
				row.spoil(w, c)
			}
			if row.again == nil {
				row.again = (*world).call
			}
			for range 2 {
				required := requireAuthorization(t, row.again(w, c))
				require.Equal(t, row.want, required.Reason)
				data, err := required.MarshalJSON()
				require.NoError(t, err)
				require.Contains(t, string(data), `"reason":"`+string(row.want)+`"`)
			}
		})
	}
}

// A server that rejects what its own authorization server issues: one more
// authorization, then an error that says so, instead of asking for ever.
func TestRejected_SecondGrantInVainIsAnError(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]authtest.Options{"with refresh tokens": {}, "without": {NoRefreshTokens: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opts, mcptest.Options{})
			log := new(testlog.Buffer)
			c := w.client(logTo(log))
			required := w.begin(c)
			w.challenge(`Bearer error="invalid_token", error_description="the audience is wrong"`)
			w.finish(c, required)
			again := requireAuthorization(t, w.call(c))
			require.Equal(t, oauthclient.ReasonTokenRejected, again.Reason)
			require.Contains(t, log.String(), "the audience is wrong")
			require.Contains(t, log.String(), "resource="+w.mcp.URL())
			w.clock.Advance(2 * time.Minute)
			require.Equal(t, again.AttemptID, requireAuthorization(t, w.call(c)).AttemptID, "one grant counts once")

			w.finish(c, again)
			for range 3 {
				var rejected *oauthclient.TokenRejectedError
				require.ErrorAs(t, w.call(w.client()), &rejected, "on any replica")
				require.Equal(t, oauthclient.TokenRejectedError{Resource: w.mcp.URL(), Description: "the audience is wrong"}, *rejected)
				require.ErrorAs(t, w.call(c), &rejected)
			}
			require.Equal(t, 2, w.as.Counts().Authorizations)

			w.mcp.SetOutage(nil)
			require.NoError(t, w.call(c), "the server has been mended")
			w.challenge(`Bearer error="invalid_token"`)
			w.clock.Advance(11 * time.Minute)
			requireAuthorization(t, w.call(c))
			require.Equal(t, oauthclient.ReasonRequested, requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false)).Reason, "and who asks always gets one")
		})
	}
}

// An old token that is rejected was revoked: that is no reason to stop asking.
func TestRejected_OldTokensDoNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRefreshTokens: true}, mcptest.Options{})
	c := w.connected()
	for range 4 {
		w.clock.Advance(6 * time.Minute)
		w.as.RevokeAll()
		w.finish(c, requireAuthorization(t, w.call(c)))
		require.NoError(t, w.call(c))
	}
}

// What the server says of a token does not carry the token into a log.
func TestRejected_DescriptionIsCleaned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRefreshTokens: true}, mcptest.Options{})
	log := new(testlog.Buffer)
	c := w.client(logTo(log))
	required := w.begin(c)
	w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="no: `+r.Header.Get("Authorization")+`"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	w.finish(c, required)
	w.finish(c, requireAuthorization(t, w.call(c)))
	var rejected *oauthclient.TokenRejectedError
	require.ErrorAs(t, w.call(c), &rejected)
	require.Equal(t, "no: Bearer [redacted]", rejected.Description)
	require.NotContains(t, log.String(), w.stored().AccessToken.Reveal())
}
