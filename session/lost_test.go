package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// events counts the calls of hooks, on all replicas.
type events struct {
	mu        sync.Mutex
	refreshed []session.Info
	lost      []session.Info
	reasons   []session.LostReason
	required  int
}

func (e *events) hooks(c *session.Config) {
	c.OnRefreshed = func(_ context.Context, info session.Info) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.refreshed = append(e.refreshed, info)
	}
	c.OnConnectionLost = func(_ context.Context, info session.Info, reason session.LostReason) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.lost, e.reasons = append(e.lost, info), append(e.reasons, reason)
	}
	c.OnAuthorizationRequired = func(context.Context, session.Info, *oauthclient.AuthorizationRequiredError) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.required++
	}
}

// Calls that find the grant ended report it once, too.
func TestConnectionLostInUseIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var e events
	replicas := []*session.Manager{w.manager(t, e.hooks), w.manager(t, e.hooks)}
	id := w.connected(t, replicas...)
	w.advance(61 * time.Minute)
	requireNoErrors(t, concurrently(20, func(i int) error { return call(t, replicas[i%2], id) }))
	require.Len(t, e.refreshed, 1)
	require.Equal(t, id, e.refreshed[0].ID.Reveal())
	require.Empty(t, e.lost)

	w.as.RevokeAll()
	for _, err := range concurrently(20, func(i int) error { return call(t, replicas[i%2], id) }) {
		requireAuthorization(t, err)
	}
	require.Len(t, e.lost, 1)
	require.Equal(t, []session.LostReason{session.LostRefused}, e.reasons)
	require.Len(t, e.refreshed, 1)
}

// A hook may remove the session that it is called about.
func TestConnectionLostHookRemovesTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var m *session.Manager
	var removed error
	m = w.manager(t, keptAlive, func(c *session.Config) {
		c.OnConnectionLost = func(ctx context.Context, info session.Info, _ session.LostReason) {
			removed = m.RemoveClient(ctx, session.Caller{Owner: info.Owner}, info.ID.Reveal())
		}
	})
	id := w.connected(t, m)
	w.as.RevokeAll()
	w.advance(19 * time.Hour)
	rounds(t, m)
	require.NoError(t, removed)
	requireUnknown(t, m, alice, id)
}

// A grant ends at its own life, in use or not: once, with its tokens revoked.
func TestGrantTTL(t *testing.T) {
	t.Parallel()
	limited := func(c *session.Config) { c.GrantTTL = 30 * time.Hour }
	t.Run("in use", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		var e events
		replicas := []*session.Manager{w.manager(t, limited, e.hooks), w.manager(t, limited, e.hooks)}
		id := w.connected(t, replicas...)
		client, err := replicas[0].GetClient(t.Context(), alice, id)
		require.NoError(t, err)
		for range 29 {
			w.advance(time.Hour)
			requireWorks(t, replicas[0], alice, id)
		}
		w.advance(61 * time.Minute)
		requireAuthorization(t, client.Connect(t.Context()))
		for _, err := range concurrently(20, func(i int) error { return call(t, replicas[i%2], id) }) {
			required := requireAuthorization(t, err)
			require.Equal(t, oauthclient.ReasonExpired, required.Reason)
		}
		require.Equal(t, []session.LostReason{session.LostGrantEnded}, e.reasons)
		tokens := w.mcp.Tokens()
		_, err = w.as.Verify(tokens[len(tokens)-1])
		require.ErrorIs(t, err, authtest.ErrTokenRevoked)

		required := requireAuthorization(t, call(t, replicas[0], id))
		_, err = replicas[0].FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
		require.NoError(t, err)
		w.advance(23 * time.Hour)
		requireWorks(t, replicas[1], alice, id)
	})
	t.Run("not in use", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
		var e events
		m := w.manager(t, keptAlive, limited, e.hooks)
		id := w.connected(t, m)
		w.pass(t, 29*time.Hour, m)
		require.NotEmpty(t, e.refreshed)
		require.Empty(t, e.lost)
		w.pass(t, 2*time.Hour, m)
		require.Equal(t, []session.LostReason{session.LostGrantEnded}, e.reasons)
		requireStatus(t, m, id, session.StatusAuthorizationRequired)
		require.Zero(t, w.listed())
		require.NotEmpty(t, w.as.Requests(authtest.EndpointRevoke))
	})
	t.Run("no refresh token", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{NoRefreshTokens: true, AccessTokenTTL: 100 * time.Hour}, mcptest.Options{})
		var e events
		m := w.manager(t, keptAlive, limited, e.hooks)
		w.connected(t, m)
		w.pass(t, 31*time.Hour, m)
		require.Equal(t, []session.LostReason{session.LostGrantEnded}, e.reasons)
	})
	t.Run("while the store is away", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{AccessTokenTTL: 100 * time.Hour}, mcptest.Options{})
		m := w.manager(t, keptAlive, limited)
		id := w.connected(t, m)
		w.advance(31 * time.Hour)
		w.store.fail("lock", "session:", -1)
		w.mcp.Reset()
		requireStoreError(t, call(t, m, id))
		require.Empty(t, w.mcp.Tokens())
	})
}

// A firewall that answers 403 loses a connection that is not in use, and keeping
// alive brings it back when the firewall is gone.
func TestConnectionComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var e events
	m := w.manager(t, keptAlive, e.hooks)
	id := w.connected(t, m)
	w.as.FailNext(authtest.EndpointToken, 2, 403)
	w.advance(19 * time.Hour)
	rounds(t, m)
	require.Equal(t, []session.LostReason{session.LostRefused}, e.reasons)
	requireStatus(t, m, id, session.StatusAuthorizationRequired)
	w.pass(t, 4*time.Hour, m)
	require.Len(t, e.lost, 1)
	require.Len(t, e.refreshed, 1)
	require.Equal(t, session.StatusConnected, e.refreshed[0].Status)
	requireStatus(t, m, id, session.StatusConnected)
	requireWorks(t, m, alice, id)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}
