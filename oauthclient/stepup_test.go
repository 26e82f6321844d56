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

func TestStepUp_KeepsTheScopesGranted(t *testing.T) {
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
			require.Equal(t, 2, w.as.Counts().Registrations, "a client for the further scope")
			require.Equal(t, 1, w.mcp.Executed("admin"))
		})
	}
}

// The account lacks the permission: asking the user once more would loop.
func TestStepUp_RepeatedChallengeIsAnError(t *testing.T) {
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
func TestStepUp_AlternatingChallengesAreAnError(t *testing.T) {
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

func TestStepUp_SeveralToolsAddTheirScopes(t *testing.T) {
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

// What one tool needed is not lost to the next one, with a policy's scopes too.
func TestStepUp_PolicyScopesKeepWhatWasGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{ToolScopes: map[string][]string{"admin": {"a"}, "echo": {"b"}}})
	c := w.connected(policy(oauthclient.ServerPolicy{Scopes: []string{"base"}}))
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	required := requireAuthorization(t, w.call(c))
	require.Equal(t, "base a b", query(t, required).Get("scope"))
	w.finish(c, required)
	require.NoError(t, w.callAdmin(c))
	require.NoError(t, w.call(c))
}

// A call that was sent before a step-up completed is refused with the old
// token. It was not executed, and the new token is there.
func TestStepUp_CallInFlightIsRetriedWithTheNewToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	required := requireAuthorization(t, w.callAdmin(c))
	w.mcp.Reset()
	release := w.mcp.BlockRPC("tools/call")
	result := make(chan error, 1)
	go func() { result <- w.callAdmin(c) }()
	require.Eventually(t, func() bool { return len(w.mcp.Requests()) == 1 }, 30*time.Second, time.Millisecond)
	w.finish(c, required)
	release()
	require.NoError(t, <-result)
	require.Equal(t, 1, w.mcp.Executed("admin"))
}

// Many servers end every grant of a user and client with one refresh token, so
// the replaced one is revoked when the connection ends.
func TestStepUp_ReplacedRefreshTokenIsRevokedAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected(func(cfg *oauthclient.Config) { cfg.ClientMetadata.Scope = "admin" }) // one client for both grants
	first := w.stored().RefreshToken
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	second := w.stored()
	require.Empty(t, w.as.Requests(authtest.EndpointRevoke))
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	third := w.stored()
	require.NotEqual(t, second.RefreshToken.Reveal(), third.RefreshToken.Reveal(), "rotated: nothing to revoke")
	require.NoError(t, c.Disconnect(t.Context()))
	var revoked []string
	for _, req := range w.as.Requests(authtest.EndpointRevoke) {
		revoked = append(revoked, req.Form.Get("token"))
	}
	require.Equal(t, []string{third.RefreshToken.Reveal(), first.Reveal(), third.AccessToken.Reveal()}, revoked)
}

// Where the further scope takes a new client, the old one's grant is certainly
// one of its own.
func TestStepUp_OldClientsGrantIsRevokedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	old := w.stored()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	require.NotEqual(t, old.Registration.ClientID, w.stored().Registration.ClientID)
	require.False(t, w.as.RefreshTokenValid(old.RefreshToken.Reveal()))
	require.NoError(t, w.callAdmin(c))
}

// The server has moved to another authorization server: the tokens of the old
// one are certainly a grant of their own.
func TestFinishAuth_TokensOfAnotherServerAreRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	old := w.stored()
	other := authtest.New(authtest.Options{Now: w.clock.Now})
	t.Cleanup(other.Close)
	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{other.Issuer()}})
	required := requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false))
	callback, err := other.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	require.NoError(t, c.FinishAuth(t.Context(), parseCallback(t, callback)))
	require.Equal(t, other.Issuer(), w.stored().Issuer)
	require.Empty(t, w.stored().Replaced)
	revoked := w.as.Requests(authtest.EndpointRevoke)
	require.Len(t, revoked, 2)
	require.Equal(t, old.RefreshToken.Reveal(), revoked[0].Form.Get("token"))
	require.Empty(t, other.Requests(authtest.EndpointRevoke))
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
