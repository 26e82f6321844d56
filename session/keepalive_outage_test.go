package session_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// Two replicas on hybridstore lose Redis. In the meantime none of them sends a
// refresh token of a session from before. Afterwards all sessions are kept alive,
// also one that was connected in the meantime.
func TestKeepAliveWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	const sessions = 5
	clock := testclock.New(time.Now())
	as := newTokens(t, clock)
	proxy := redistest.RunProxy(t, redistest.Run(t, redistest.Options{}).Addr())
	var stores []*hybridstore.Store
	var replicas []*session.Manager
	for range 2 {
		s, err := hybridstore.New(t.Context(), hybridstore.Config{Logger: slog.New(slog.DiscardHandler), Redis: redisstore.Config{URL: "redis://" + proxy.Addr(), OpTimeout: 3 * time.Second}})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		stores, replicas = append(stores, s), append(replicas, onStore(t, s, clock))
	}
	for i := range sessions {
		_, err := as.connect(t.Context(), replicas[i%2], i)
		require.NoError(t, err)
	}
	rounds(t, replicas[0])
	_, err := replicas[1].KeepAliveOnce(t.Context())
	require.NoError(t, err)

	proxy.Cut()
	away := func(want bool) {
		require.Eventually(t, func() bool {
			for _, m := range replicas {
				_, _ = m.KeepAliveOnce(t.Context()) // which notices
			}
			return stores[0].IsRedisConnected() != want && stores[1].IsRedisConnected() != want
		}, time.Minute, 10*time.Millisecond)
	}
	clock.Advance(20 * time.Hour)
	away(true)
	for range 3 {
		for _, m := range replicas {
			_, _ = m.KeepAliveOnce(t.Context())
		}
	}
	as.mu.Lock()
	require.Empty(t, as.sent)
	as.mu.Unlock()
	_, err = as.connect(t.Context(), replicas[0], 1000) // of another owner
	require.NoError(t, err)

	proxy.Heal()
	away(false)
	clock.Advance(20 * time.Hour)
	require.Eventually(t, func() bool {
		clock.Advance(10 * time.Second) // what was due before it was listed comes next
		for _, m := range replicas {
			_, _ = m.KeepAliveOnce(t.Context())
		}
		as.mu.Lock()
		defer as.mu.Unlock()
		for i := range sessions {
			if as.sent[strconv.Itoa(i)+".first"] == 0 {
				return false
			}
		}
		return as.sent["1000.first"] != 0
	}, time.Minute, 10*time.Millisecond)
	as.mu.Lock()
	defer as.mu.Unlock()
	for token, count := range as.sent {
		require.Equal(t, 1, count, token)
	}
}

// A seal key is missing on a replica, in the middle of a rotation that was done in
// the wrong order. What cannot be read holds up no other session, and is kept alive
// when the key is there.
func TestKeepAliveWithoutASealKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	oldKey, newKey := key(1), key(2)
	ahead := w.manager(t, keptAlive, withKeys(newKey, oldKey))
	behind := w.manager(t, keptAlive, withKeys(oldKey))
	w.connected(t, behind)
	unreadable := w.connected(t, ahead)
	rounds(t, ahead)
	refreshes := func() int { return w.as.Counts().Refreshes }
	w.advance(19 * time.Hour)
	_, err := behind.KeepAliveOnce(t.Context())
	requireStoreError(t, err) // an index record, or how far the work has come
	require.LessOrEqual(t, refreshes(), 1)
	rounds(t, ahead)
	require.Equal(t, 2, refreshes())
	requireWorks(t, ahead, alice, unreadable)

	// The sessions only: readable ones go on.
	require.NoError(t, w.mem.Delete(t.Context(), "alive:progress"))
	w.pass(t, 25*time.Hour, w.manager(t, keptAlive, withKeys(key(3), newKey, oldKey)))
	require.GreaterOrEqual(t, refreshes(), 4)
	require.Zero(t, w.as.Counts().ReuseDetected)
}

// An authorization server whose refresh tokens live a moment is asked every 15
// minutes at most.
func TestKeepAliveOfShortTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditToken: func(answer map[string]any) { answer["refresh_token_expires_in"] = 1 }}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	for range 6 * 60 {
		w.advance(time.Minute)
		rounds(t, m)
	}
	require.LessOrEqual(t, w.as.Counts().Refreshes, 6*4)
	require.GreaterOrEqual(t, w.as.Counts().Refreshes, 6*3)
}

// Nor is one asked more often that refuses each of them.
func TestKeepAliveOfShortTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditToken: func(answer map[string]any) { answer["refresh_token_expires_in"] = 1 }}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	var asked atomic.Int32
	w.as.SetOutage(authtest.EndpointToken, func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = rw.Write([]byte(`{"error":"invalid_request"}`))
	})
	for range 6 * 60 {
		w.advance(time.Minute)
		rounds(t, m)
	}
	require.LessOrEqual(t, asked.Load(), int32(6*4))
	require.GreaterOrEqual(t, asked.Load(), int32(6*3))
}

// An authorization server that never answers holds up its own sessions only.
func TestKeepAliveOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive, func(c *session.Config) { c.Client.RequestTimeout, c.KeepAlive.MaxParallel = 4*time.Second, 4 })
	for range 8 {
		w.connected(t, m)
	}
	other := newTokens(t, w.clock)
	for i := range 8 {
		_, err := other.connect(t.Context(), m, i)
		require.NoError(t, err)
	}
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	w.advance(19 * time.Hour)
	rounds(t, m)
	other.mu.Lock()
	defer other.mu.Unlock()
	require.Len(t, other.sent, 8)
	require.LessOrEqual(t, len(w.as.TokenRequests("refresh_token")), 4, "one for each worker")
}

// A user's call and the work on the index come together: one refresh.
func TestKeepAliveBesideUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var refreshed atomic.Int32
	count := func(c *session.Config) {
		c.OnRefreshed = func(context.Context, session.Info) { refreshed.Add(1) }
	}
	replicas := []*session.Manager{w.manager(t, keptAlive, count), w.manager(t, keptAlive, count)}
	id := w.connected(t, replicas...)
	for round := 1; round <= 5; round++ {
		w.advance(19 * time.Hour)
		var once sync.Once
		requireNoErrors(t, concurrently(10, func(i int) error {
			err := error(nil)
			once.Do(func() { _, err = replicas[1].KeepAliveOnce(t.Context()) })
			if err != nil {
				return err
			}
			return call(t, replicas[i%2], id)
		}))
		require.Equal(t, round, w.as.Counts().Refreshes)
		require.Equal(t, round, int(refreshed.Load()))
		rounds(t, replicas[0])
	}
	require.Zero(t, w.as.Counts().ReuseDetected)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}

// A part of the index that this replica cannot read, because its seal key is
// missing, holds up no session that is due later.
func TestUnreadableIndexHoldsUpNoOtherSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	rounds(t, m)
	listed := slices.DeleteFunc(w.store.live("alive"), func(key string) bool { return key == "alive:progress" })
	require.Len(t, listed, 1)
	at, err := strconv.ParseInt(strings.Split(listed[0], ":")[1], 10, 64)
	require.NoError(t, err)
	earlier := "alive:" + strconv.FormatInt(at-30, 10) + ":"
	unreadable := append([]byte{2}, make([]byte, 100)...) // by an unknown key
	require.NoError(t, w.store.Swap(t.Context(), earlier, nil, unreadable, w.clock.Now().Add(7*24*time.Hour)))
	refreshes := 0
	for range 2 {
		for range 24 * 6 {
			w.advance(10 * time.Minute)
			if _, err := m.KeepAliveOnce(t.Context()); err != nil {
				requireStoreError(t, err)
			}
		}
		require.Greater(t, w.as.Counts().Refreshes, refreshes)
		refreshes = w.as.Counts().Refreshes
	}
	rounds(t, m) // it is given up after a day
	require.Zero(t, w.as.Counts().ReuseDetected)
}

// Of sessions that wait to be listed, one that cannot be read holds up no other.
func TestUnreadableSessionHoldsUpNoListing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.store.fail("swap", "alive:", -1)
	w.connected(t, m)
	unreadable := w.connected(t, m)
	w.store.heal()
	require.NoError(t, w.store.rewrite("session:"+unreadable[:26], func(value []byte) []byte { value[1] ^= 1; return value })) // by an unknown key
	rounds(t, m)
	require.Equal(t, 1, w.listed())
}
