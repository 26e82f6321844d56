package oauthclient_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// The error of a request to an authorization server names its host, and neither a
// path nor a query.
func TestErrorsNameTheHostOfTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		outage http.HandlerFunc
		text   string // after the host
	}{
		"an outage":      {authtest.StatusOutage(503), ": HTTP status 503"},
		"its own words":  {authtest.OAuthError(429, "slow_down", ""), ": HTTP status 429: slow_down"},
		"no answer":      {authtest.Abort(), ": temporary failure: "},
		"an HTML answer": {authtest.Body(200, "text/html", "<p>"), ": the answer cannot be used: the answer is no token response"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			issuer, err := url.Parse(w.as.Issuer())
			require.NoError(t, err)
			w.as.SetOutage(authtest.EndpointToken, tc.outage)
			w.clock.Advance(2 * time.Hour)
			require.ErrorContains(t, w.call(c), "oauthclient: refreshing the access token at "+issuer.Host+tc.text)
		})
	}
}

func TestAuthorizationError_NamesTheServerThatAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	issuer, err := url.Parse(w.as.Issuer())
	require.NoError(t, err)
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(400, "invalid_grant", "too old"))
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.FinishAuth(t.Context(), resp), &refused)
	require.Equal(t, oauthclient.AuthorizationError{Code: "invalid_grant", Description: "too old", Server: issuer.Host}, *refused)
	require.EqualError(t, refused, "oauthclient: the authorization server "+issuer.Host+" answered invalid_grant: too old")
}

// NotExecuted is for a call that the MCP server certainly did not execute.
func TestTemporaryError_NotExecuted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault func(*world)
		want  bool
	}{
		"rate limited": {func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 429, 0) }, true},
		"a refresh failed": {func(w *world) {
			w.clock.Advance(2 * time.Hour)
			w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(503))
		}, true},
		"overloaded":  {func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 503, 0) }, false},
		"answer lost": {func(w *world) { w.mcp.DropNextRPC("tools/call", 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			require.NoError(t, w.call(c))
			tc.fault(w)
			require.Equal(t, tc.want, requireTemporary(t, w.call(c)).NotExecuted)
		})
	}
}
