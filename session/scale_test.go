package session_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// onRedis gives a world a store in Redis, which answers as slowly as a real one.
func onRedis(t *testing.T, w *world) {
	t.Helper()
	server := redistest.Run(t, redistest.Options{})
	s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":"})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	w.store.SessionStore = s
}

// A hundred sessions of one owner are connected at once: each is listed with
// about one write, although all of them write the same list.
func TestManySessionsOfOneOwnerAtOnce(t *testing.T) {
	t.Parallel()
	for n, most := range map[int]int{1: 100, 2: 200} { // two replicas race, and each race has a winner
		t.Run(fmt.Sprintf("%d replicas", n), func(t *testing.T) {
			t.Parallel()
			connectAtOnce(t, n, most)
		})
	}
}

func connectAtOnce(t *testing.T, n, most int) {
	const sessions = 100
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	onRedis(t, w)
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	m := replicas[0]
	w.connectedAs(t, bob, m) // so that there is a registration
	before := w.store.count("swap owner")
	errs := concurrently(sessions, func(i int) error {
		_, err := replicas[i%n].Connect(t.Context(), alice, w.params())
		return err
	})
	for _, err := range errs {
		requireAuthorization(t, err)
	}
	swaps := w.store.count("swap owner") - before
	t.Logf("%d swaps of the list for %d sessions", swaps, sessions)
	infos, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, sessions)
	require.LessOrEqual(t, swaps, most)
}

// An owner's list is extended once per interval, however many of its sessions
// are used, and not written.
func TestUseOfManySessionsExtendsTheListOnce(t *testing.T) {
	t.Parallel()
	const sessions = 20
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	var ids []string
	for range sessions {
		ids = append(ids, w.connected(t, m))
	}
	for range 3 {
		w.advance(6 * time.Minute)
		swaps, lists, records := w.store.count("swap owner"), w.store.count("extend owner"), w.store.count("extend session")
		for i, id := range ids {
			requireWorks(t, []*session.Manager{m, peer}[i%2], alice, id)
		}
		require.Equal(t, swaps, w.store.count("swap owner"))
		require.Equal(t, records+sessions, w.store.count("extend session"))
		require.Equal(t, lists+1, w.store.count("extend owner"))
	}

	// A list that a session is missing from is written, and so extended.
	require.NoError(t, w.mem.Delete(t.Context(), w.store.live("owner")[0]))
	w.advance(6 * time.Minute)
	swaps, lists := w.store.count("swap owner"), w.store.count("extend owner")
	requireWorks(t, m, alice, ids[0])
	require.Equal(t, swaps+1, w.store.count("swap owner"))
	require.Equal(t, lists, w.store.count("extend owner"))
}

// Of calls that come at once one extends the session.
func TestCallsAtOnceExtendOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	requireWorks(t, m, alice, id)
	w.advance(6 * time.Minute)
	before := w.store.count("extend session")
	requireNoErrors(t, concurrently(40, func(int) error { return call(t, m, id) }))
	require.Equal(t, before+1, w.store.count("extend session"))
}

// An owner's sessions are read side by side: a read waits for 15 others.
func TestSessionsReadsInParallel(t *testing.T) {
	t.Parallel()
	const parallel = 16
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	for range parallel {
		w.connect(t, m, alice)
	}
	var reading sync.WaitGroup
	reading.Add(parallel)
	together := make(chan struct{})
	go func() { reading.Wait(); close(together) }()
	w.store.set(func(op, key string) error {
		if op == "get" && kindOf(key) == "session" {
			reading.Done()
			select {
			case <-together:
			case <-time.After(time.Minute):
				return errOutage
			}
		}
		return nil
	}, nil)
	infos, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, parallel)
}

// Seal keys are rotated, step by step, on two replicas that are in use all the
// time: no call fails, nothing is authorized or registered again, and in the end
// nothing needs the old key.
func TestSealKeyRotationUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AccessTokenTTL: 20 * time.Minute}, mcptest.Options{})
	oldKey, newKey := key(1), key(2)
	// At most one replica is restarted at a time.
	var replicas [2]atomic.Pointer[session.Manager]
	for i := range replicas {
		replicas[i].Store(w.manager(t, withKeys(oldKey)))
	}
	const users = 8
	var ids []string
	for range users {
		ids = append(ids, w.connected(t, replicas[0].Load(), replicas[1].Load()))
	}
	require.Equal(t, users, w.as.Counts().Authorizations)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var calls [users]atomic.Int64
	failed := make(chan error, users)
	for i, id := range ids {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				m := replicas[(i+n)%2].Load()
				if _, err := m.CallTool(t.Context(), alice, id, "echo", nil); err != nil {
					failed <- fmt.Errorf("user %d: %w", i, err)
					return
				}
				calls[i].Add(1)
			}
		})
	}
	// settle waits until each session was used on both replicas, past the
	// interval between extensions.
	settle := func() {
		for range 2 {
			w.advance(6 * time.Minute)
			var before [users]int64
			for i := range calls {
				before[i] = calls[i].Load()
			}
			require.Eventually(t, func() bool {
				for i := range calls {
					if calls[i].Load() < before[i]+4 && len(failed) == 0 {
						return false
					}
				}
				return true
			}, 30*time.Second, time.Millisecond)
		}
	}
	for _, ring := range [][][]byte{{oldKey, newKey}, {newKey, oldKey}} {
		for i := range replicas {
			replicas[i].Store(w.manager(t, withKeys(ring...))) // the old one ends its calls
			settle()
		}
	}
	w.connected(t, replicas[1].Load()) // seals the registration with the new key
	for i := range replicas {
		replicas[i].Store(w.manager(t, withKeys(newKey)))
		settle()
	}
	stop()
	load.Wait()
	close(failed)
	require.NoError(t, <-failed)
	require.Equal(t, users+1, w.as.Counts().Authorizations)
	require.Equal(t, 1, w.as.Counts().Registrations)
	require.Positive(t, w.as.Counts().Refreshes)
	require.Zero(t, w.as.Counts().ReuseDetected)
	infos, err := replicas[0].Load().Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, users+1)
	require.False(t, slices.ContainsFunc(infos, func(info session.Info) bool { return info.Status != session.StatusConnected }))
	w.connected(t, replicas[0].Load())
	require.Equal(t, 1, w.as.Counts().Registrations, "the registration is sealed with the new key")
}
