package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// A second refresh would use up a rotated refresh token.
func TestRefresh_OnceAmongReplicas(t *testing.T) {
	t.Parallel()
	for name, expire := range map[string]func(w *world){
		"due by the clock":        func(w *world) { w.advance(59 * time.Minute) },
		"expired by the clock":    func(w *world) { w.advance(61 * time.Minute) },
		"ended before their time": func(w *world) { w.as.ExpireAccessTokens() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			replicas := []*session.Manager{w.manager(t), w.manager(t)}
			id := w.connected(t, replicas...)
			for round := 1; round <= 4; round++ {
				w.advance(2 * time.Minute) // past the interval of forced refreshes
				expire(w)
				requireNoErrors(t, concurrently(100, func(i int) error { return call(t, replicas[i%2], id) }))
				require.Equal(t, round, w.as.Counts().Refreshes)
				require.Len(t, w.as.TokenRequests("refresh_token"), round, "also none that failed")
			}
			require.Zero(t, w.as.Counts().ReuseDetected)
			require.Equal(t, 1, w.as.Counts().Authorizations)
		})
	}
}

// The token is refreshed ahead of its end, also by a process that did not
// obtain it.
func TestRefresh_AheadOfExpiryAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	id := w.connected(t, w.manager(t))
	w.advance(58 * time.Minute)
	requireWorks(t, w.manager(t), alice, id)
	require.Zero(t, w.as.Counts().Refreshes, "not due yet")
	w.advance(time.Minute + time.Second)
	requireWorks(t, w.manager(t), alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// A lease that runs out while its holder waits for the authorization server
// lets a second refresh in. The last to save must not overwrite the winner.
func TestRefresh_LeaseThatRanOutOverwritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRotation: true}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)
	requireWorks(t, a, alice, id)
	w.advance(61 * time.Minute)

	// a has its answer and is about to save it when its lease ends and b
	// refreshes, saves, and is done.
	var once sync.Once
	var winner error
	w.store.set(func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && w.as.Counts().Refreshes == 1 {
			once.Do(func() {
				w.advance(time.Minute)
				winner = call(t, b, id)
			})
		}
		return nil
	}, nil)
	requireWorks(t, a, alice, id)
	require.NoError(t, winner)
	w.store.heal()

	require.Equal(t, 2, w.as.Counts().Refreshes)
	requireWorks(t, a, alice, id)
	requireWorks(t, b, alice, id)
	require.Len(t, w.mcp.Tokens(), 2, "the first and the winner's; the loser's is never used")
}

// A store whose leases exclude no holder gives wasted work, no lost update.
func TestRefresh_LeasesThatExcludeNoHolderLoseNoUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRotation: true}, mcptest.Options{})
	noLock := func(c *session.Config) { c.Store = lockless{w.store} }
	a, b := w.manager(t, noLock), w.manager(t, noLock)
	id := w.connected(t, a, b)
	w.advance(61 * time.Minute)
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	done := make(chan []error, 1)
	go func() {
		done <- concurrently(20, func(i int) error { return call(t, []*session.Manager{a, b}[i%2], id) })
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 2 }, 30*time.Second, time.Millisecond)
	release()
	requireNoErrors(t, <-done)
	w.mcp.Reset()
	requireWorks(t, a, alice, id)
	requireWorks(t, b, alice, id)
	require.Len(t, w.mcp.Tokens(), 1, "both replicas use the token that is stored")
	require.Equal(t, 2, w.as.Counts().Refreshes)
}

type lockless struct{ *spy }

func (lockless) Lock(context.Context, string, time.Duration) (func(), error) { return func() {}, nil }

// Another replica writes the last use in the middle of a refresh: neither write
// is lost.
func TestRefreshMeetsAnotherWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t, func(c *session.Config) { c.TouchInterval = time.Nanosecond })
	id := w.connected(t, a)
	before := requireStatus(t, a, id, session.StatusConnected)
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	w.as.ExpireAccessTokens()
	done := make(chan error, 1)
	go func() { done <- call(t, a, id) }()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)

	w.advance(10 * time.Second) // within the lease
	_, err := b.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	release()
	require.NoError(t, <-done)
	after := requireStatus(t, a, id, session.StatusConnected)
	require.Equal(t, 10*time.Second, after.LastUsed.Sub(before.LastUsed))
	requireWorks(t, b, alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// A failing authorization server costs no credentials.
func TestRefresh_OutageKeepsTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)
	w.advance(61 * time.Minute)
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(503))
	for _, m := range []*session.Manager{a, b} {
		require.ErrorContains(t, call(t, m, id), "status 503")
		requireStatus(t, m, id, session.StatusConnected)
	}
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.advance(2 * time.Second)
	requireWorks(t, a, alice, id)
	requireWorks(t, b, alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// The store hiccups just when the new tokens must be saved.
func TestSavingTokensIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(s *spy, fail func(op, key string) error){
		"the write failed":                        func(s *spy, fail func(op, key string) error) { s.set(fail, nil) },
		"the write happened, its answer was lost": func(s *spy, fail func(op, key string) error) { s.set(nil, fail) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t)
			id := w.connected(t, m)
			w.as.ExpireAccessTokens()
			var failed atomic.Bool
			set(w.store, func(op, key string) error {
				if op == "swap" && kindOf(key) == "session" && failed.CompareAndSwap(false, true) {
					return errOutage
				}
				return nil
			})
			requireWorks(t, m, alice, id)
			require.True(t, failed.Load())
			w.store.heal()
			requireWorks(t, w.manager(t), alice, id)
			require.Equal(t, 1, w.as.Counts().Refreshes)

			info, required := w.connect(t, m, alice)
			resp := w.approve(t, required.AuthURL)
			failed.Store(false)
			set(w.store, func(op, key string) error {
				if op == "swap" && kindOf(key) == "session" && failed.CompareAndSwap(false, true) {
					return errOutage
				}
				return nil
			})
			_, err := m.FinishAuth(t.Context(), alice, "", resp)
			require.NoError(t, err, "the same for the tokens of a code")
			requireWorks(t, m, alice, info.ID.Reveal())
		})
	}
}

// A store that is away for a second when the new tokens must be saved costs
// nothing: they are saved when it is back.
func TestSavingTokensOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	w.store.set(func(op, key string) error {
		if op == "swap" && w.as.Counts().Refreshes > 0 && w.store.count("swap session") < 10 {
			return errOutage
		}
		return nil
	}, nil)
	requireWorks(t, m, alice, id)
	require.GreaterOrEqual(t, w.store.count("swap session"), 10)
	requireWorks(t, w.manager(t), alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// The session is removed while its refresh is in progress, and the store cannot
// say so at first. What the refresh brought does not bring the session back.
func TestSavingTokensBringsNoSessionBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	var removed, failed atomic.Bool
	w.store.set(func(op, key string) error {
		switch {
		case kindOf(key) != "session" || w.as.Counts().Refreshes == 0:
		case op == "swap" && removed.CompareAndSwap(false, true):
			return w.mem.Delete(context.Background(), key)
		case op == "get" && removed.Load() && failed.CompareAndSwap(false, true):
			return errOutage
		}
		return nil
	}, nil)
	require.ErrorIs(t, call(t, m, id), session.ErrNotFound)
	require.True(t, failed.Load())
	w.store.heal()
	require.Empty(t, w.store.live("session"))
}

// A crash between the answer to a refresh and saving it loses the session's
// tokens for good: the user is asked again, cleanly, on any replica.
func TestCrashBetweenRefreshAndSave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, shortLease)
	id := w.connected(t, m)
	w.advance(61 * time.Minute)
	w.store.set(func(op, key string) error {
		if op == "swap" && w.as.Counts().Refreshes > 0 {
			return errOutage
		}
		return nil
	}, nil)
	requireStoreError(t, call(t, m, id))
	require.Equal(t, 1, w.as.Counts().Refreshes)
	w.store.heal()

	for range 2 {
		replica := w.manager(t)
		required := requireAuthorization(t, call(t, replica, id))
		requireStatus(t, replica, id, session.StatusAuthorizationRequired)
		_, err := replica.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
		require.NoError(t, err)
		requireWorks(t, replica, alice, id)
		requireWorks(t, m, alice, id)
		w.as.RevokeAll() // once more, now as a plain revocation
	}
	require.Equal(t, 1, w.as.Counts().ReuseDetected, "the lost token was tried once, not in a loop")
}

// A token is revoked before its end.
func TestRejected_RevokedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)
	requireWorks(t, a, alice, id)
	w.as.ExpireAccessTokens()
	requireWorks(t, a, alice, id)
	requireWorks(t, b, alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Equal(t, 3, w.mcp.Executed("echo"), "a call that was answered 401 was not executed, and is executed once")

	w.as.RevokeAll()
	errs := concurrently(20, func(i int) error { return call(t, []*session.Manager{a, b}[i%2], id) })
	for _, err := range errs {
		requireAuthorization(t, err)
	}
	requireStatus(t, a, id, session.StatusAuthorizationRequired)
}

// The caller of a refresh may give up; what the refresh brought is kept.
func TestCallerLeavesDuringRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := m.CallTool(ctx, alice, id, "echo", nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)
	leave()
	require.True(t, errors.Is(<-done, context.Canceled))
	release()
	requireWorks(t, m, alice, id)
	requireWorks(t, w.manager(t), alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}
