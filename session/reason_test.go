package session_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A firewall answers 403 at the token endpoint for a while: the users are asked,
// and no longer as soon as a refresh works, on any replica.
func TestRefresh_SuccessEndsAuthorizationRequired(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(*testing.T, *session.Manager, string) error{
		"a call": call,
		"a token for another library": func(t *testing.T, m *session.Manager, id string) error {
			tokens, err := m.TokenSource(t.Context(), alice, id)
			require.NoError(t, err)
			_, err = tokens.Token()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			a, b := w.manager(t), w.manager(t)
			id := w.connected(t, a, b)
			w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(http.StatusForbidden))
			w.advance(2 * time.Hour)
			for _, m := range []*session.Manager{a, b} {
				require.Equal(t, oauthclient.ReasonRevoked, requireAuthorization(t, use(t, m, id)).Reason)
				require.Equal(t, oauthclient.ReasonRevoked, requireStatus(t, m, id, session.StatusAuthorizationRequired).AuthorizationReason)
			}
			require.Len(t, w.as.TokenRequests("refresh_token"), 1, "the replicas share the pause")
			w.as.SetOutage(authtest.EndpointToken, nil)
			w.advance(time.Second)
			require.NoError(t, use(t, b, id))
			for _, m := range []*session.Manager{a, b} {
				require.Empty(t, requireStatus(t, m, id, session.StatusConnected).AuthorizationReason)
				require.NoError(t, use(t, m, id))
			}
			require.Equal(t, 1, w.as.Counts().Authorizations)
		})
	}
}

// A denial reaches all who wait: the host's own code, and its hook on the replica
// with the callback. Both name the attempt.
func TestDenial_ReachesAllWhoWait(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		finish func(*testing.T, *world, string) oauthclient.AuthorizationResponse
		want   string // of the session
	}{
		"the user denies": {func(t *testing.T, w *world, authURL string) oauthclient.AuthorizationResponse {
			return w.deny(t, authURL)
		}, "Access was denied."},
		"the token endpoint refuses": {func(t *testing.T, w *world, authURL string) oauthclient.AuthorizationResponse {
			w.as.FailNextWith(authtest.EndpointToken, 1, authtest.OAuthError(400, "invalid_request", ""))
			return w.approve(t, authURL)
		}, "The authorization server refused (invalid_request)."},
		"the token endpoint is away": {func(t *testing.T, w *world, authURL string) oauthclient.AuthorizationResponse {
			w.as.FailNext(authtest.EndpointToken, 1, 503)
			return w.approve(t, authURL)
		}, "The authorization server could not be reached. Connect again."},
		"the token endpoint shows a page": {func(t *testing.T, w *world, authURL string) oauthclient.AuthorizationResponse {
			w.as.FailNextWith(authtest.EndpointToken, 1, authtest.Body(200, "text/html", "<html>"))
			return w.approve(t, authURL)
		}, "The authorization server's answer cannot be used. Connect again."},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var mu sync.Mutex
			var failed []session.Info
			var causes []error
			m, peer := w.manager(t), w.manager(t, func(c *session.Config) {
				c.OnAuthorizationFailed = func(_ context.Context, info session.Info, err error) {
					mu.Lock()
					defer mu.Unlock()
					failed, causes = append(failed, info), append(causes, err)
				}
				c.OnAuthorized = func(context.Context, session.Info) { t.Error("not authorized") }
			})
			begun, required := w.connect(t, m, alice)
			info, err := peer.FinishAuth(t.Context(), alice, "", row.finish(t, w, required.AuthURL))
			require.Error(t, err)
			require.Equal(t, begun.ID, info.ID)
			require.Equal(t, session.StatusFailed, info.Status)
			require.Equal(t, row.want, info.Reason)
			require.Equal(t, required.AttemptID, info.AttemptID)
			require.Equal(t, []session.Info{info}, failed)
			require.Equal(t, []error{err}, causes)
		})
	}
}

// A response that ends no attempt tells nothing, and calls no hook.
func TestDenial_OfAnotherBrowserTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) {
		c.OnAuthorizationFailed = func(context.Context, session.Info, error) { t.Error("a hook was called") }
	})
	_, required := w.connect(t, m, alice)
	info, err := m.FinishAuth(t.Context(), session.Caller{Owner: "mallory"}, "", w.deny(t, required.AuthURL))
	require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
	require.Zero(t, info)
}

// Both other hooks name the attempt, too, and the result of FinishAuth does.
func TestHooks_NameTheAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var h hooks
	m := w.manager(t, h.attach)
	_, required := w.connect(t, m, alice)
	info, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, required.AttemptID, info.AttemptID)
	require.Equal(t, required.AttemptID, h.authorized[0].AttemptID)
	require.Equal(t, required.AttemptID, h.infos[0].AttemptID)
}

// A server that rejects the token of the callback is not called unreachable.
func TestConfirm_SaysThatTheServerRejectsTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	_, required := w.connect(t, m, alice)
	w.mcp.RejectNext(100)
	info, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusFailed, info.Status)
	require.Equal(t, oauthclient.ReasonTokenRejected, info.AuthorizationReason)
	require.Contains(t, info.Reason, "does not accept")
}

// A server that needs more scopes as soon as it sees the token rejects no token, and
// has answered. That also holds if it asks for the same scopes again.
func TestConfirm_SaysThatTheServerNeedsMoreScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	begun, required := w.connect(t, m, alice)
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="extra"`)
		rw.WriteHeader(http.StatusForbidden)
	})
	finish := func(required *oauthclient.AuthorizationRequiredError) {
		t.Helper()
		info, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
		require.NoError(t, err)
		require.Equal(t, session.StatusFailed, info.Status)
		require.Equal(t, oauthclient.ReasonMoreScopes, info.AuthorizationReason)
		require.Contains(t, info.Reason, "more access")
	}
	finish(required)
	again := requireAuthorization(t, call(t, m, begun.ID.Reveal()))
	require.Equal(t, oauthclient.ReasonMoreScopes, again.Reason)
	finish(again)
	var insufficient *oauthclient.InsufficientScopeError
	require.ErrorAs(t, call(t, m, begun.ID.Reveal()), &insufficient)
}
