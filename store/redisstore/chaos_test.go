package redisstore_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// load is many users who count, each in one record and all through two replicas,
// while Redis fails. The test fails if a count is lost or counted twice, or if an
// outage looks like a missing record.
type load struct {
	t        *testing.T
	replicas [2]*redisstore.Store
	stop     context.CancelFunc
	users    sync.WaitGroup
	counts   []atomic.Int64 // confirmed, by user
	outages  atomic.Int64
}

const users = 8

// startLoad starts the load on two replicas of config and waits until it runs.
func startLoad(t *testing.T, configs ...redisstore.Config) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{t: t, stop: stop, counts: make([]atomic.Int64, users)}
	for i := range l.replicas {
		l.replicas[i] = open(t, configs[i%len(configs)])
	}
	patient := configs[0]
	patient.OpTimeout = time.Minute
	first := open(t, patient)
	for user := range users {
		create(t, first, "user"+strconv.Itoa(user), "0")
		l.users.Go(func() { l.count(ctx, user) })
	}
	t.Cleanup(func() { stop(); l.users.Wait() })
	l.waitForProgress()
	return l
}

// count adds one again and again. A read may lag behind; then the write is
// refused. A write whose outcome is unknown may have added one.
func (l *load) count(ctx context.Context, user int) {
	key := "user" + strconv.Itoa(user)
	unknown := int64(0) // writes since the last one that was confirmed
	for n := 0; ctx.Err() == nil; n++ {
		s := l.replicas[n%2]
		old, _, err := s.Get(ctx, key)
		if err == nil {
			value, _ := strconv.ParseInt(string(old), 10, 64)
			err = s.Swap(ctx, key, old, strconv.AppendInt(nil, value+1, 10), later())
			switch {
			case err == nil:
				if confirmed := l.counts[user].Load(); value < confirmed || value > confirmed+unknown {
					l.t.Errorf("user %d: %d was replaced when %d was confirmed, and %d unknown", user, value, confirmed, unknown)
				}
				l.counts[user].Store(value + 1)
				unknown = 0
			case !errors.Is(err, store.ErrConflict):
				unknown++
			}
		}
		switch {
		case err == nil, errors.Is(err, store.ErrConflict): // a read that was a little late
		case errors.Is(err, store.ErrNotFound):
			l.t.Errorf("user %d: an outage looks like a missing record", user)
		case ctx.Err() == nil:
			l.outages.Add(1)
		}
	}
}

// waitForProgress waits until every user has counted further.
func (l *load) waitForProgress() {
	l.t.Helper()
	var before [users]int64
	for user := range users {
		before[user] = l.counts[user].Load()
	}
	require.Eventually(l.t, func() bool {
		for user := range users {
			if l.counts[user].Load() < before[user]+3 {
				return false
			}
		}
		return true
	}, time.Minute, time.Millisecond, "the users do not get on")
}

// waitForOutage waits until a user is told of an outage.
func (l *load) waitForOutage() {
	l.t.Helper()
	before := l.outages.Load()
	require.Eventually(l.t, func() bool { return l.outages.Load() > before }, time.Minute, time.Millisecond)
}

// finish stops the users and requires that nothing was lost. The last count may
// have been cut off when the load was stopped.
func (l *load) finish() {
	l.t.Helper()
	l.waitForProgress()
	l.stop()
	l.users.Wait()
	for user := range users {
		confirmed := strconv.FormatInt(l.counts[user].Load(), 10)
		oneMore := strconv.FormatInt(l.counts[user].Load()+1, 10)
		for _, s := range l.replicas {
			require.Eventually(l.t, func() bool { // a cache may lag behind
				got, _, err := s.Get(l.t.Context(), "user"+strconv.Itoa(user))
				return err == nil && (string(got) == confirmed || string(got) == oneMore)
			}, time.Minute, time.Millisecond, "user %d has not %s", user, confirmed)
		}
	}
}

// TestKilledAndRestartedWithData is short enough for no caller to notice.
func TestKilledAndRestartedWithData(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	l := startLoad(t, redisstore.Config{URL: server.URL(), OpTimeout: 30 * time.Second})
	for range 3 {
		server.Kill()
		time.Sleep(50 * time.Millisecond) // the outage itself
		require.NoError(t, server.Restart())
		l.waitForProgress()
	}
	l.finish()
	require.Zero(t, l.outages.Load(), "an outage shorter than OpTimeout is no error")
}

func TestRestartedEmpty(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL()})
	create(t, s, "k", "v")
	requireValue(t, s, "k", "v")
	require.NoError(t, server.RestartEmpty())
	require.Eventually(t, func() bool {
		_, _, err := s.Get(t.Context(), "k")
		return errors.Is(err, store.ErrNotFound)
	}, 30*time.Second, time.Millisecond, "what is gone is not found, not an error, and not in the cache")
	require.ErrorIs(t, s.Swap(t.Context(), "k", []byte("v"), []byte("w"), later()), store.ErrConflict)
	create(t, s, "k", "again")
	requireValue(t, s, "k", "again")
}

// TestPaused covers a pause that operations sit out, and one that is longer.
func TestPaused(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	l := startLoad(t, redisstore.Config{URL: server.URL(), OpTimeout: 30 * time.Second})
	require.NoError(t, server.Pause())
	time.Sleep(400 * time.Millisecond) // the pause itself
	require.NoError(t, server.Resume())
	l.finish()
	require.Zero(t, l.outages.Load())

	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second})
	create(t, s, "k", "v")
	require.NoError(t, server.Pause())
	for _, tt := range []struct {
		name string
		op   func() error
	}{
		{"Swap", func() error { return s.Swap(t.Context(), "k", []byte("v"), []byte("w"), later()) }}, // which gets to Redis
		{"Get", func() error { _, _, err := s.Get(t.Context(), "k"); return err }},
		{"Delete", func() error { return s.Delete(t.Context(), "other") }},
		{"Lock", func() error { _, err := s.Lock(t.Context(), "k", time.Minute); return err }},
	} {
		start := time.Now()
		err := tt.op()
		requireOutage(t, err)
		require.ErrorContains(t, err, "no answer within 2s", tt.name)
		require.Less(t, time.Since(start), 30*time.Second, tt.name)
	}
	require.NoError(t, server.Resume())
	requireEventually(t, s, "k", "w")
}

// TestNetworkCutAndHealed cuts off one replica of two.
func TestNetworkCutAndHealed(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	config := redisstore.Config{URL: server.URL(), OpTimeout: time.Second}
	behind := config
	behind.URL = server.URLAt(proxy.Addr())
	l := startLoad(t, config, behind)
	for range 2 {
		for _, fail := range []func(){proxy.Cut, proxy.Silence} {
			fail()
			l.waitForOutage() // one longer than OpTimeout is an error
			proxy.Heal()
			l.waitForProgress()
		}
	}
	l.finish()
}

// TestLostAnswers has writes happen whose answers never come, and requires that
// each takes effect once, and is not reported as lost to another writer.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s := open(t, redisstore.Config{URL: server.URLAt(proxy.Addr())})
	ctx := t.Context()
	create(t, s, "warm up", "v") // the script is known from here on

	proxy.LoseAnswerTo("EVALSHA")
	require.NoError(t, s.Swap(ctx, "k", nil, []byte("v1"), later()), "create")
	requireValue(t, s, "k", "v1")
	proxy.LoseAnswerTo("EVALSHA")
	require.NoError(t, s.Swap(ctx, "k", []byte("v1"), []byte("v2"), later()), "replace")
	requireValue(t, s, "k", "v2")

	proxy.LoseAnswerTo("EVALSHA")
	err := s.Swap(ctx, "k", []byte("v1"), []byte("v3"), later())
	requireOutage(t, err)
	require.ErrorContains(t, err, "may or may not have happened", "another writer may have written over it")
	requireValue(t, s, "k", "v2")

	proxy.LoseAnswerTo("EVALSHA")
	err = s.Swap(ctx, "k", []byte("v2"), nil, time.Time{})
	requireOutage(t, err)
	require.ErrorContains(t, err, "may or may not have happened",
		"it is gone, but another taker may have it")
	_, _, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, store.ErrNotFound)

	proxy.LoseAnswerTo("EVALSHA")
	unlock, err := s.Lock(ctx, "k", time.Minute)
	require.NoError(t, err, "the lease is granted once, to the one who asked")
	proxy.LoseAnswerTo("EVALSHA")
	unlock()
	unlock, err = s.Lock(ctx, "k", time.Minute)
	require.NoError(t, err)
	unlock()
	create(t, s, "k", "v")
	proxy.LoseAnswerTo("DEL")
	require.NoError(t, s.Delete(ctx, "k"))
}

// TestSentinelFailover has the replica take over, first in good order and then
// because the primary was killed.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	group := redistest.RunSentinel(t)
	replicas := [2]*redisstore.Store{}
	for i := range replicas {
		replicas[i] = open(t, redisstore.Config{URL: group.URL(), OpTimeout: time.Minute})
	}
	create(t, replicas[0], "k", "v0")
	require.NoError(t, group.Sync())
	primary, err := group.Primary()
	require.NoError(t, err)
	// So that it takes no write that its successor does not get.
	_, err = primary.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	require.NoError(t, err)

	require.NoError(t, group.Failover())
	for i, s := range replicas {
		requireEventually(t, s, "k", "v"+strconv.Itoa(i))
		require.NoError(t, s.Swap(t.Context(), "k", []byte("v"+strconv.Itoa(i)), []byte("v"+strconv.Itoa(i+1)), later()))
		unlock, err := s.Lock(t.Context(), "k", time.Minute)
		require.NoError(t, err)
		unlock()
	}
	for _, s := range replicas {
		requireEventually(t, s, "k", "v2")
	}
}

// TestErrorsOfAnEndedContextAreTheContexts while Redis is away.
func TestErrorsOfAnEndedContextAreTheContexts(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: time.Minute})
	require.NoError(t, server.Pause())
	defer func() { require.NoError(t, server.Resume()) }()
	ctx, cancel := contextWithTimeout(t, 50*time.Millisecond)
	defer cancel()
	_, _, err := s.Get(ctx, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, s.Swap(ctx, "k", nil, []byte("v"), later()), context.DeadlineExceeded)
	_, err = s.Lock(ctx, "k", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
