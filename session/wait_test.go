package session_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// watching is a spy whose store is a [store.Watcher].
type watching struct{ *spy }

func (w watching) Unwrap() store.SessionStore { return w.SessionStore }

// waitPatience bounds the wait for what has to happen.
const waitPatience = time.Minute

// waiter is a call of WaitStatus on its way.
type waiter struct {
	looked chan session.AttemptStatus // of each look
	ended  chan error
}

// wait waits for an attempt to be over.
func wait(ctx context.Context, m *session.Manager, id, attemptID string) *waiter {
	w := &waiter{looked: make(chan session.AttemptStatus, 100), ended: make(chan error, 1)}
	go func() {
		w.ended <- m.WaitStatus(ctx, alice, id, attemptID, func(_ session.Info, attempt session.AttemptInfo) bool {
			w.looked <- attempt.Status
			return attempt.Status != session.AttemptPending
		})
	}()
	return w
}

func (w *waiter) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(waitPatience):
		t.Fatal("the waiter still waits")
		return nil
	}
}

// Waiters on one replica hear of changes on the other, and read nothing in
// between.
func TestWaitersHearOfOtherReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	watched := func(c *session.Config) { c.Store = watching{w.store} }
	a, b := w.manager(t, watched), w.manager(t, watched)
	for name, finish := range map[string]struct {
		answer func(t *testing.T, url string)
		want   session.AttemptStatus
	}{
		"allowed": {func(t *testing.T, url string) {
			_, err := b.FinishAuth(t.Context(), alice, "", w.approve(t, url))
			require.NoError(t, err)
		}, session.AttemptSucceeded},
		"denied": {func(t *testing.T, url string) {
			_, err := b.FinishAuth(t.Context(), alice, "", w.deny(t, url))
			require.Error(t, err)
		}, session.AttemptFailed},
	} {
		info, required := w.connect(t, a, alice)
		waiting := wait(t.Context(), a, info.ID.Reveal(), required.AttemptID)
		require.Equal(t, session.AttemptPending, <-waiting.looked)
		finish.answer(t, required.AuthURL)
		require.NoError(t, waiting.end(t), name)
		var last session.AttemptStatus
		for len(waiting.looked) > 0 {
			last = <-waiting.looked
		}
		require.Equal(t, finish.want, last, name)
	}
}

// A session that ends, a caller who leaves and a Manager that closes end a wait.
func TestWait_EndsWithTheSessionTheCallerAndTheManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	watched := func(c *session.Config) { c.Store = watching{w.store} }
	a, b := w.manager(t, watched), w.manager(t, watched)
	begin := func(ctx context.Context) (string, *waiter) {
		info, required := w.connect(t, a, alice)
		waiting := wait(ctx, a, info.ID.Reveal(), required.AttemptID)
		<-waiting.looked
		return info.ID.Reveal(), waiting
	}
	id, waiting := begin(t.Context())
	require.NoError(t, b.RemoveClient(t.Context(), alice, id))
	require.ErrorIs(t, waiting.end(t), session.ErrNotFound)

	ctx, leave := context.WithCancel(t.Context())
	_, waiting = begin(ctx)
	leave()
	require.ErrorIs(t, waiting.end(t), context.Canceled)

	id, waiting = begin(t.Context())
	stranger := a.WaitStatus(t.Context(), session.Caller{Owner: "mallory"}, id, "", func(session.Info, session.AttemptInfo) bool { return true })
	require.ErrorIs(t, stranger, session.ErrNotFound)
	require.NoError(t, a.Close())
	require.ErrorIs(t, waiting.end(t), session.ErrClosed)
}

// A Manager that closes while a wait reads the store has not lost the store.
func TestWaitsEndWhileTheyRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, _ := w.connect(t, m, alice)
	reading, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.set(func(_, _ string) error {
		once.Do(func() { close(reading) })
		<-release
		return context.Canceled // as of a store whose caller has gone
	}, nil)
	ended := make(chan error, 1)
	go func() {
		ended <- m.WaitStatus(t.Context(), alice, info.ID.Reveal(), "", func(session.Info, session.AttemptInfo) bool { return true })
	}()
	<-reading
	require.NoError(t, m.Close())
	close(release)
	require.ErrorIs(t, <-ended, session.ErrClosed)
}

// Without a Watcher a waiter reads each of its records once a second, and with one hardly ever. When
// the wait has ended nothing of it runs: a bubble ends with its last goroutine.
func TestWaitersReadOnceASecondWithoutWatcher(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	for name, tt := range map[string]struct {
		store store.SessionStore
		reads int
	}{"without": {w.store, 20}, "with": {watching{w.store}, 4}} {
		synctest.Test(t, func(t *testing.T) {
			m, err := session.New(session.Config{Store: tt.store, SealKeys: [][]byte{sealKey}, Now: w.clock.Now})
			require.NoError(t, err)
			defer func() { require.NoError(t, m.Close()) }()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second-time.Millisecond)
			defer cancel()
			sessions, attempts, begun := w.store.count("get session"), w.store.count("get attempt"), time.Now()
			err = m.WaitStatus(ctx, alice, info.ID.Reveal(), required.AttemptID, func(session.Info, session.AttemptInfo) bool { return false })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 20*time.Second-time.Millisecond, time.Since(begun))
			require.Equal(t, tt.reads, w.store.count("get session")-sessions, name)
			require.Equal(t, tt.reads, w.store.count("get attempt")-attempts, name)
		})
	}
}

// On Redis a waiter costs no command while it waits, and the change reaches all
// waiters of a replica with one read.
func TestWaitingOnRedisCostsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replica := func() *session.Manager {
		s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL() + "?write_timeout=1m"}) // a busy machine replaces no connection
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return w.manager(t, func(c *session.Config) { c.Store, c.Now = s, nil })
	}
	a, b := replica(), replica()
	info, required := w.connect(t, a, alice)
	const waiters = 50
	var waiting []*waiter
	for range waiters {
		waiter := wait(t.Context(), a, info.ID.Reveal(), required.AttemptID)
		require.Equal(t, session.AttemptPending, <-waiter.looked)
		waiting = append(waiting, waiter)
	}
	require.NoError(t, server.ResetStats())
	time.Sleep(2500 * time.Millisecond) // what does not happen takes time to see, and Redis has no clock to move
	stats, err := server.CommandStats()
	require.NoError(t, err)
	delete(stats, "ping") // of idle connections
	require.Empty(t, stats)

	_, err = b.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	for _, waiter := range waiting {
		require.NoError(t, waiter.end(t))
	}
	stats, err = server.CommandStats()
	require.NoError(t, err)
	require.Less(t, stats["get"], int64(waiters), "the replica reads a change once, and not for each waiter")
}
