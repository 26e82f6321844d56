package oauthclient_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func (w *world) callAdmin(c *oauthclient.MCPOAuthClient) error {
	_, err := c.CallTool(w.t.Context(), "admin", nil)
	return err
}

func TestPain23StepUp(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			wire.opts.RequiredScopes = []string{"read"}
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			require.Equal(t, []string{"read"}, w.stored().Scopes)
			required := requireAuthorization(t, w.callAdmin(c))
			require.ElementsMatch(t, []string{"read", "admin"}, strings.Fields(query(t, required).Get("scope")), "nothing granted is lost")
			require.NoError(t, w.call(c), "what works goes on working")
			require.Equal(t, required.AuthURL, requireAuthorization(t, w.callAdmin(c)).AuthURL, "one attempt")
			require.Zero(t, w.as.Counts().Refreshes, "a 403 is no reason to refresh")
			w.finish(c, required)
			require.NoError(t, w.callAdmin(c))
			require.ElementsMatch(t, []string{"read", "admin"}, w.stored().Scopes)
			require.Equal(t, 1, w.as.Counts().Registrations)
			require.Equal(t, 1, w.mcp.Executed("admin"))
		})
	}
}

// The account lacks the permission: asking the user once more would loop.
func TestPain23RepeatedChallengeIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{AlwaysInsufficientScope: true})
	c := w.connected()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	for range 3 {
		var lacking *oauthclient.InsufficientScopeError
		require.ErrorAs(t, w.callAdmin(c), &lacking)
		require.Equal(t, []string{"admin"}, lacking.Scopes)
	}
	require.Equal(t, 2, w.as.Counts().Authorizations)
	w.clock.Advance(2 * time.Hour)
	var lacking *oauthclient.InsufficientScopeError
	require.ErrorAs(t, w.callAdmin(c), &lacking, "a refresh brings no permission")
	// The user may have been given the permission: starting over asks again.
	w.finish(c, requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false)))
	requireAuthorization(t, w.callAdmin(c))
}

// Two tools with a scope each: both challenges are remembered, so that they
// cannot take turns for ever.
func TestPain23AlternatingChallenges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{
		GrantScopes: func([]string) []string { return nil }, // nothing is ever granted
	}, mcptest.Options{ToolScopes: map[string][]string{"admin": {"a"}, "echo": {"b"}}})
	c := w.connected()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	w.finish(c, requireAuthorization(t, w.call(c)))
	var lacking *oauthclient.InsufficientScopeError
	require.ErrorAs(t, w.callAdmin(c), &lacking)
	require.ErrorAs(t, w.call(c), &lacking)
	require.Equal(t, 3, w.as.Counts().Authorizations)
}

func TestPain23StepUpForSeveralTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{ToolScopes: map[string][]string{"admin": {"a"}, "echo": {"b"}}})
	c := w.connected()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	w.finish(c, requireAuthorization(t, w.call(c)))
	require.NoError(t, w.callAdmin(c))
	require.NoError(t, w.call(c))
	require.ElementsMatch(t, []string{"a", "b"}, w.stored().Scopes)
}

// A challenge that names no scope is bounded as well.
func TestStepUpWithoutScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{AlwaysInsufficientScope: true, Challenge: mcptest.Challenge{Raw: `Bearer error="insufficient_scope"`}})
	c := w.client(policy(oauthclient.ServerPolicy{ForceAuthorization: true}))
	w.finish(c, w.begin(c))
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	var lacking *oauthclient.InsufficientScopeError
	require.ErrorAs(t, w.callAdmin(c), &lacking)
	require.Empty(t, lacking.Scopes)
}

func TestStepUpWithPolicyScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected(policy(oauthclient.ServerPolicy{Scopes: []string{"base"}}))
	required := requireAuthorization(t, w.callAdmin(c))
	require.Equal(t, "base admin", query(t, required).Get("scope"))
}

// The user refused the larger grant: the smaller one is still there.
func TestRefusedStepUpKeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	before := w.stored()
	required := requireAuthorization(t, w.callAdmin(c))
	callback, err := w.as.Deny(t.Context(), required.AuthURL)
	require.NoError(t, err)
	require.Error(t, c.FinishAuth(t.Context(), parseCallback(t, callback)))
	require.Equal(t, before, w.stored())
	require.NoError(t, w.call(c))
	require.NotEqual(t, required.AuthURL, requireAuthorization(t, w.callAdmin(c)).AuthURL, "the user may change their mind")
}

func TestFiftyStepUpsBeginOneAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	urls := map[string]bool{}
	for _, err := range together(t, 50, w.as.Block(authtest.EndpointMetadata), func(ctx context.Context) error {
		_, err := c.CallTool(ctx, "admin", nil)
		return err
	}) {
		urls[requireAuthorization(t, err).AuthURL] = true
	}
	require.Len(t, urls, 1)
}
