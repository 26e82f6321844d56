package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// The browser's callback lands on a replica that did not begin.
func TestCallback_AnotherReplicaFinishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)
	requireWorks(t, a, alice, id)
	requireWorks(t, b, alice, id)
	require.Equal(t, 1, w.as.Counts().Registrations)
	require.Equal(t, 1, w.as.Counts().Exchanges)
}

// The callback comes after a restart.
func TestCallback_FinishesAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	before := w.manager(t)
	info, required := w.connect(t, before, alice)
	require.NoError(t, before.Close())

	after := w.manager(t)
	done, err := after.FinishAuth(t.Context(), alice, info.ID.Reveal(), w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status)
	require.NoError(t, after.Close())
	requireWorks(t, w.manager(t), alice, info.ID.Reveal())
	require.Equal(t, 1, w.as.Counts().Exchanges, "a restart asks the user for nothing")
}

// Removed on one replica, a session is gone on the other, and the MCP session
// that both have used is ended.
func TestRemovedOnAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a)
	requireWorks(t, b, alice, id)
	require.NoError(t, a.RemoveClient(t.Context(), alice, id))
	require.Equal(t, 1, w.mcp.CountHTTP("DELETE"))
	require.Equal(t, 1, w.mcp.Count("initialize")-w.mcp.CountHTTP("DELETE")+1, "one MCP session for both")

	requireUnknown(t, b, alice, id)
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
}

// A live client goes on with the old token after another replica has
// obtained a new one.
func TestStepUp_TokenOfAnotherReplicaIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a)
	requireWorks(t, b, alice, id)

	_, err := a.CallTool(t.Context(), alice, id, "admin", nil)
	required := requireAuthorization(t, err)
	require.Contains(t, required.Scopes, "admin")
	_, err = b.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	for _, m := range []*session.Manager{a, b} {
		_, err = m.CallTool(t.Context(), alice, id, "admin", nil)
		require.NoError(t, err)
	}
}

// Step-up on two replicas neither loops nor drops earlier scopes.
func TestStepUp_IsAskedForOnceAmongReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{AlwaysInsufficientScope: true, Metadata: mcptest.Metadata{ScopesSupported: []string{"read"}}})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a)
	_, err := a.CallTool(t.Context(), alice, id, "admin", nil)
	required := requireAuthorization(t, err)
	require.ElementsMatch(t, []string{"read", "admin"}, required.Scopes)
	_, err = b.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	for _, m := range []*session.Manager{a, b} {
		_, err = m.CallTool(t.Context(), alice, id, "admin", nil)
		require.ErrorContains(t, err, "still asks for scopes")
	}
}

// An MCP session belongs to the account that opened it. Who authorizes again
// with another account must not be stuck with a replica's session of the old
// one, which the server answers 403.
func TestAnotherAccountOnLiveReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a)
	requireWorks(t, b, alice, id)
	w.as.RevokeAll()
	_, err := a.CallTool(t.Context(), alice, id, "echo", nil)
	required := requireAuthorization(t, err)
	callback, err := authtest.Browser{User: "alice-at-work"}.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	done, err := a.FinishAuth(t.Context(), alice, id, parseCallback(t, callback))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status, done.Reason)

	for _, m := range []*session.Manager{a, b} {
		result, err := m.CallTool(t.Context(), alice, id, "whoami", nil)
		require.NoError(t, err)
		encoded, err := result.MarshalJSON()
		require.NoError(t, err)
		require.Contains(t, string(encoded), "alice-at-work")
	}
}

// Clocks differ. A record written by a replica that is ahead or behind is used
// by the others, and lives as long as it should.
func TestClockSkewBetweenReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AccessTokenTTL: 10 * time.Minute}, mcptest.Options{})
	ahead := w.manager(t, skewed(w, 30*time.Second))
	behind := w.manager(t, skewed(w, -30*time.Second))
	id := w.connected(t, ahead, behind)
	for range 12 {
		for _, m := range []*session.Manager{behind, ahead} {
			requireWorks(t, m, alice, id)
		}
		w.advance(3 * time.Minute)
	}
	counts := w.as.Counts()
	require.LessOrEqual(t, counts.Refreshes, 4, "36 minutes at 10 minutes each")
	require.GreaterOrEqual(t, counts.Refreshes, 3)
	require.Zero(t, counts.ReuseDetected)
	for _, r := range w.mcp.Requests() {
		require.True(t, r.Status != 401 || r.Token == "", "no token was sent after its end")
	}
}

func skewed(w *world, by time.Duration) func(*session.Config) {
	return func(c *session.Config) { c.Now = func() time.Time { return w.clock.Now().Add(by) } }
}
