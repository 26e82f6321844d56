package session_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// keptAlive is a configuration for idle sessions that live a week, without a
// limit that a test would notice.
func keptAlive(c *session.Config) {
	c.TTL = 7 * 24 * time.Hour
	c.KeepAlive = session.KeepAlive{Enabled: true, RefreshTokenLife: 24 * time.Hour, RefreshesPerMinute: 6_000_000}
}

// rounds lets a replica work until nothing is due.
func rounds(t *testing.T, m *session.Manager) {
	t.Helper()
	for more := true; more; {
		var err error
		more, err = m.KeepAliveOnce(t.Context())
		require.NoError(t, err)
	}
}

// pass lets time pass in steps, with the replicas at work in turns.
func (w *world) pass(t *testing.T, d time.Duration, replicas ...*session.Manager) {
	t.Helper()
	const step = 10 * time.Minute
	for i := 0; d > 0; i, d = i+1, d-step {
		w.advance(min(step, d))
		rounds(t, replicas[i%len(replicas)])
	}
}

// listed returns how many buckets there are.
func (w *world) listed() int {
	return len(slices.DeleteFunc(w.store.live("alive"), func(key string) bool { return key == "alive:progress" }))
}

// A user who returns after a weekend is still connected, although the refresh
// tokens of the server live a day and one of two replicas has ended. Without
// keeping alive, the user must authorize again.
func TestUserReturnsAfterAWeekend(t *testing.T) {
	t.Parallel()
	for name, omit := range map[string]bool{"the server states the life": false, "the life is configured": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour, OmitRefreshExpiresIn: omit}, mcptest.Options{})
			a, b := w.manager(t, keptAlive), w.manager(t, keptAlive)
			id := w.connected(t, a, b)
			before := requireStatus(t, b, id, session.StatusConnected)
			w.pass(t, 20*time.Hour, a, b)
			require.NoError(t, a.Close())
			w.pass(t, 42*time.Hour, b)

			after := requireStatus(t, b, id, session.StatusConnected)
			require.Equal(t, before.ExpiresAt, after.ExpiresAt, "keeping alive is no use")
			require.Equal(t, before.LastUsed, after.LastUsed)
			requireWorks(t, b, alice, id)
			counts := w.as.Counts()
			require.Equal(t, 1, counts.Authorizations)
			require.GreaterOrEqual(t, counts.Refreshes, 4, "62 hours at 18 hours at most, and the call")
			require.LessOrEqual(t, counts.Refreshes, 6)
			require.Zero(t, counts.ReuseDetected)
		})
	}
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
		m := w.manager(t, func(c *session.Config) { c.TTL = 7 * 24 * time.Hour })
		id := w.connected(t, m)
		w.advance(62 * time.Hour)
		requireAuthorization(t, call(t, m, id))
		require.Empty(t, w.store.live("alive"))
	})
}

// A session that is not used ends after Config.TTL, and with it the refreshes.
func TestKeepAliveEndsWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	id := w.connected(t, m)
	w.pass(t, 7*24*time.Hour+10*time.Minute, m)
	requireUnknown(t, m, alice, id)
	refreshes := w.as.Counts().Refreshes
	w.pass(t, 24*time.Hour, m)
	require.Equal(t, refreshes, w.as.Counts().Refreshes)
	require.Zero(t, w.listed())
}

// A server that the host refuses gets no refreshes, until the host allows it again.
func TestKeepAliveOfARefusedServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 48 * time.Hour}, mcptest.Options{})
	var refused atomic.Bool
	m := w.manager(t, keptAlive, func(c *session.Config) {
		c.AllowServer = func(_ context.Context, caller session.Caller, _ string) error {
			require.Equal(t, alice.Owner, caller.Owner)
			if refused.Load() {
				return &session.RefusedError{Text: "Not here."}
			}
			return nil
		}
	})
	id := w.connected(t, m)
	refused.Store(true)
	w.pass(t, 40*time.Hour, m)
	require.Zero(t, w.as.Counts().Refreshes)
	refused.Store(false)
	w.pass(t, 24*time.Hour, m)
	require.Positive(t, w.as.Counts().Refreshes)
	requireWorks(t, m, alice, id)
}

// A session in use is refreshed by its use. Its place in the index moves when it
// comes to its turn, and costs nothing before.
func TestKeepAliveLeavesSessionsInUseAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	id := w.connected(t, m)
	swaps := w.store.count("swap alive")
	for range 11 {
		w.advance(time.Hour)
		requireWorks(t, m, alice, id)
	}
	require.Equal(t, swaps, w.store.count("swap alive"))
	require.Equal(t, 11, w.as.Counts().Refreshes)
	for range 40 {
		w.advance(time.Hour)
		requireWorks(t, m, alice, id)
		rounds(t, m)
	}
	require.Equal(t, 51, w.as.Counts().Refreshes, "none but those of use")
	require.Equal(t, 1, w.listed())
}

// A replica dies at each step of its work on the index. Another one goes on: no
// token is refreshed twice, and no session is lost from the index.
func TestKeepAliveOfAReplicaThatDies(t *testing.T) {
	t.Parallel()
	const sessions = 3
	for step := 1; ; step++ {
		w := newWorld(t, authtest.Options{RefreshTokenTTL: 20 * time.Minute}, mcptest.Options{})
		dying := newSpy(w.store)
		a := w.manager(t, keptAlive, func(c *session.Config) { c.Store = dying; c.KeepAlive.MaxParallel = 1 })
		b := w.manager(t, keptAlive)
		for range sessions {
			w.connected(t, b)
		}
		w.pass(t, 14*time.Minute, b)
		require.Zero(t, w.as.Counts().Refreshes)
		w.advance(2 * time.Minute) // all are due
		n := 0
		var mu sync.Mutex
		dying.set(func(op, key string) error {
			mu.Lock()
			defer mu.Unlock()
			if kindOf(key) == "alive" {
				n++
			}
			if n >= step && (kindOf(key) == "alive" || op == "lock") {
				return errOutage
			}
			return nil
		}, nil)
		_, err := a.KeepAliveOnce(t.Context())
		alive := err == nil
		rounds(t, b)
		require.Equal(t, sessions, w.as.Counts().Refreshes, "step %d", step)
		require.Zero(t, w.as.Counts().ReuseDetected)

		w.pass(t, 17*time.Minute, b)
		require.Equal(t, 2*sessions, w.as.Counts().Refreshes, "step %d: all are listed for the next time", step)
		if alive {
			require.Greater(t, step, 2*sessions)
			return
		}
	}
}

// A replica that dies in its turn gives nothing back: another one goes on when the
// lease has ended.
func TestKeepAliveAfterADeathWithTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	w.advance(19 * time.Hour)
	_, err := w.mem.Lock(t.Context(), "alive:progress", 45*time.Second)
	require.NoError(t, err)
	more, err := m.KeepAliveOnce(t.Context())
	require.NoError(t, err)
	require.False(t, more)
	require.Zero(t, w.as.Counts().Refreshes)
	w.advance(46 * time.Second)
	rounds(t, m)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// An authorization server that ends a grant is reported once, whichever replica
// finds out, and no user is sent anywhere.
func TestKeepAliveRefusedIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var e events
	a, b := w.manager(t, keptAlive, e.hooks), w.manager(t, keptAlive, e.hooks)
	id := w.connected(t, a)
	w.as.RevokeAll()
	w.advance(19 * time.Hour)
	requireNoErrors(t, concurrently(8, func(i int) error {
		_, err := []*session.Manager{a, b}[i%2].KeepAliveOnce(t.Context())
		return err
	}))
	w.pass(t, 48*time.Hour, a, b)
	require.Len(t, e.lost, 1)
	require.Equal(t, session.LostRefused, e.reasons[0])
	require.Equal(t, session.StatusAuthorizationRequired, e.lost[0].Status)
	require.Equal(t, id, e.lost[0].ID.Reveal())
	require.Equal(t, 1, e.required, "that of the connect")
	require.Empty(t, e.refreshed)
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	require.Empty(t, w.store.live("attempt"))
	require.Zero(t, w.listed(), "there is nothing to keep alive")
	info := requireStatus(t, b, id, session.StatusAuthorizationRequired)
	require.Equal(t, oauthclient.ReasonRevoked, info.AuthorizationReason)

	required := requireAuthorization(t, call(t, b, id))
	_, err := a.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, 1, w.listed())
	require.Len(t, e.lost, 1)
	w.pass(t, 40*time.Hour, a, b)
	require.NotEmpty(t, e.refreshed)
	requireWorks(t, b, alice, id)
}

// A removed session is taken out of the index.
func TestRemovalLeavesTheIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	id, other := w.connected(t, m), w.connected(t, m)
	require.Positive(t, w.listed())
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	require.NoError(t, m.RemoveClient(t.Context(), alice, other))
	require.Empty(t, w.store.live("alive"))
}

// An authorization server that is away is asked a few times, and the sessions are
// refreshed when it is back.
func TestKeepAliveWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var e events
	m := w.manager(t, keptAlive, e.hooks, func(c *session.Config) { c.KeepAlive.MaxParallel = 1 })
	const sessions = 12
	for range sessions - 1 {
		w.connected(t, m)
	}
	id := w.connected(t, m)
	before := requireStatus(t, m, id, session.StatusConnected)
	w.as.FailNext(authtest.EndpointToken, 1, 503)
	w.advance(18*time.Hour + time.Minute)
	rounds(t, m)
	require.Equal(t, before.ExpiresAt, requireStatus(t, m, id, session.StatusConnected).ExpiresAt, "a failure is no use either")
	require.Zero(t, w.as.Counts().Refreshes)
	require.Len(t, w.as.TokenRequests("refresh_token"), 1, "the others are not tried for a minute")
	w.pass(t, 2*time.Hour, m)
	require.Equal(t, sessions, w.as.Counts().Refreshes)
	require.Len(t, e.refreshed, sessions)
	require.Empty(t, e.lost)
}

// While the store is away, no refresh token is spent. Sessions that could not be
// listed in the meantime are listed when it is back.
func TestKeepAliveWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"alive:", "session:"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
			m := w.manager(t, keptAlive)
			w.connected(t, m)
			w.store.fail("swap", "alive:", -1)
			w.connected(t, m)
			w.advance(19 * time.Hour)
			w.store.fail("lock", kind, -1)
			for range 3 {
				_, err := m.KeepAliveOnce(t.Context())
				if kind == "alive:" {
					requireStoreError(t, err)
				}
			}
			require.Empty(t, w.as.TokenRequests("refresh_token"))
			w.store.heal()
			w.pass(t, 3*time.Hour, m)
			require.Equal(t, 2, w.as.Counts().Refreshes)
		})
	}
}

// What the index has lost is found again by use, and what it has too much does no
// harm.
func TestIndexIsLostAndStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	id := w.connected(t, m)
	for _, key := range w.store.live("alive") {
		require.NoError(t, w.mem.Delete(t.Context(), key))
	}
	w.pass(t, 20*time.Hour, m)
	require.Zero(t, w.as.Counts().Refreshes, "it is lost")
	requireWorks(t, m, alice, id)
	require.Equal(t, 1, w.listed())
	w.pass(t, 20*time.Hour, m)
	require.Equal(t, 2, w.as.Counts().Refreshes)

	// A damaged bucket counts as empty, and a session that is gone as done.
	for _, key := range w.store.live("alive") {
		require.NoError(t, w.store.rewrite(key, func(value []byte) []byte { value[len(value)-1] ^= 1; return value }))
	}
	w.advance(24 * time.Hour)
	rounds(t, m)
	require.Zero(t, w.listed())
}

// Sessions are refreshed although a clock was a day ahead once, and is right
// again.
func TestKeepAliveAfterAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	rounds(t, w.manager(t, keptAlive, skewed(w, 48*time.Hour)))
	refreshes := w.as.Counts().Refreshes
	require.LessOrEqual(t, refreshes, 1, "early, but once")
	rounds(t, m)
	id := w.connected(t, m) // listed before the time of the other clock
	w.pass(t, 30*time.Hour, m)
	require.Greater(t, w.as.Counts().Refreshes, refreshes)
	requireWorks(t, m, alice, id)
	require.Equal(t, 2, w.as.Counts().Authorizations)
}

// Two replicas whose clocks differ by half a minute lose nothing.
func TestKeepAliveWithClockSkew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 2 * time.Hour}, mcptest.Options{})
	ahead := w.manager(t, keptAlive, skewed(w, 30*time.Second))
	behind := w.manager(t, keptAlive, skewed(w, -30*time.Second))
	id := w.connected(t, behind, ahead)
	for range 24 * 60 {
		w.advance(time.Minute)
		rounds(t, ahead)
		rounds(t, behind)
	}
	requireWorks(t, ahead, alice, id)
	require.Equal(t, 1, w.as.Counts().Authorizations)
	require.LessOrEqual(t, w.as.Counts().Refreshes, 25)
	require.Zero(t, w.as.Counts().ReuseDetected)
}

// KeepAlive works until its context or the Manager ends, and needs the
// configuration that all replicas have.
func TestKeepAliveRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	refreshed := make(chan session.Info, 1)
	m := w.manager(t, keptAlive, func(c *session.Config) {
		c.OnRefreshed = func(_ context.Context, info session.Info) { refreshed <- info }
	})
	id := w.connected(t, m)
	w.advance(19 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- m.KeepAlive(ctx) }()
	info := <-refreshed
	require.Equal(t, id, info.ID.Reveal())
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	go func() { ended <- m.KeepAlive(t.Context()) }()
	require.NoError(t, m.Close())
	require.ErrorIs(t, <-ended, session.ErrClosed)
	require.ErrorIs(t, m.KeepAlive(t.Context()), session.ErrClosed)
	require.ErrorIs(t, w.manager(t).KeepAlive(t.Context()), session.ErrKeepAliveDisabled)
}

// The rate of refreshes is bounded.
func TestKeepAliveRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive, func(c *session.Config) { c.KeepAlive.RefreshesPerMinute = 1200 })
	const sessions = 6
	for range sessions {
		w.connected(t, m)
	}
	w.advance(19 * time.Hour)
	begun := time.Now()
	rounds(t, m)
	require.GreaterOrEqual(t, time.Since(begun), (sessions-1)*50*time.Millisecond)
	require.Equal(t, sessions, w.as.Counts().Refreshes)
}

// The store learns nothing of the sessions in the index.
func TestIndexIsSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	id := w.connected(t, m)
	rounds(t, m)
	require.Len(t, w.store.live("alive"), 2)
	for key, value := range w.store.records() {
		if kindOf(key) == "alive" {
			require.NotContains(t, key+value, id[:26])
			require.Equal(t, byte(2), value[0], "sealed")
		}
	}
}

// Mistakes in the configuration are found.
func TestKeepAliveConfig(t *testing.T) {
	t.Parallel()
	_, err := session.New(session.Config{GrantTTL: -1, KeepAlive: session.KeepAlive{RefreshTokenLife: -1, RefreshesPerMinute: -1, MaxParallel: -1}})
	for _, field := range []string{"GrantTTL", "KeepAlive.RefreshTokenLife", "KeepAlive.RefreshesPerMinute", "KeepAlive.MaxParallel"} {
		require.ErrorContains(t, err, "session: Config."+field+": must not be negative")
	}
}
