package storetest

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// WatchedStore is what [RunWatcher] checks.
type WatchedStore interface {
	store.SessionStore
	store.Watcher
}

// RunWatcher checks what [store.Watcher] promises. It calls open once for each
// case, for two handles on the same data, which may be one and the same.
func RunWatcher(t *testing.T, open func(t testing.TB) (s, peer WatchedStore)) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, WatchedStore, WatchedStore){
		"changes":     watcherChanges,
		"other keys":  watcherOtherKeys,
		"concurrency": watcherConcurrency,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, peer := open(t)
			run(t, s, peer)
		})
	}
}

// watcherPatience bounds the wait for what has to happen.
const watcherPatience = time.Minute

// watched begins to watch a record as callers do.
func watched(t *testing.T, s WatchedStore, key string) <-chan struct{} {
	t.Helper()
	changed, stop, ok := s.Watch(key)
	require.True(t, ok, "contract: Watch works on a store that is there")
	t.Cleanup(stop)
	_, _, _ = s.Get(t.Context(), key) // absent, or not
	return changed
}

func requireChanged(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(watcherPatience):
		require.Fail(t, "contract: Watch reports "+what)
	}
}

func watcherChanges(t *testing.T, s, peer WatchedStore) {
	expiry := time.Now().Add(time.Hour)
	for by, writer := range map[string]store.SessionStore{"the same handle": s, "another handle": peer} {
		key := "of " + by
		changed := watched(t, s, key)
		require.NoError(t, writer.Swap(t.Context(), key, nil, []byte("1"), expiry))
		requireChanged(t, changed, "a record that "+by+" creates")
		changed = watched(t, s, key)
		require.NoError(t, writer.Swap(t.Context(), key, []byte("1"), []byte("2"), expiry))
		requireChanged(t, changed, "a record that "+by+" replaces")
		changed = watched(t, s, key)
		require.NoError(t, writer.Swap(t.Context(), key, []byte("2"), nil, time.Time{}))
		requireChanged(t, changed, "a record that "+by+" takes")
		require.NoError(t, writer.Swap(t.Context(), key, nil, []byte("3"), expiry))
		changed = watched(t, s, key)
		require.NoError(t, writer.Delete(t.Context(), key))
		requireChanged(t, changed, "a record that "+by+" deletes")
	}
}

// watcherOtherKeys has every waiter of a record woken, none by a record that is
// written in between, and none after stop.
func watcherOtherKeys(t *testing.T, s, peer WatchedStore) {
	expiry := time.Now().Add(time.Hour)
	first, second, other := watched(t, s, "a"), watched(t, s, "a"), watched(t, s, "b")
	_, stop, ok := s.Watch("a")
	require.True(t, ok)
	stop()
	stop()
	require.NoError(t, peer.Swap(t.Context(), "a", nil, []byte("x"), expiry))
	requireChanged(t, first, "a change to all waiters")
	requireChanged(t, second, "a change to the waiters that are left")
	select {
	case <-other: // allowed, but useless
		t.Log("a change of another record was reported")
	default:
	}
	require.NoError(t, peer.Swap(t.Context(), "b", nil, []byte("x"), expiry))
	requireChanged(t, other, "the other record, too")
}

// watcherConcurrency has many waiters follow a record that is changed all the
// time: none may miss the last value.
func watcherConcurrency(t *testing.T, s, peer WatchedStore) {
	const waiters, changes = 8, 50
	expiry := time.Now().Add(time.Hour)
	last := strconv.Itoa(changes)
	missed := make(chan struct{}, waiters)
	var wg sync.WaitGroup
	for i := range waiters {
		handle := []WatchedStore{s, peer}[i%2]
		wg.Go(func() {
			for {
				changed, stop, ok := handle.Watch("k")
				value, _, err := handle.Get(t.Context(), "k")
				if ok && (err != nil || string(value) != last) {
					select {
					case <-changed:
						stop()
						continue
					case <-time.After(watcherPatience):
					case <-t.Context().Done():
					}
					missed <- struct{}{}
				}
				if ok {
					stop()
				}
				return
			}
		})
	}
	var old []byte
	for i := range changes {
		next := []byte(strconv.Itoa(i + 1))
		require.NoError(t, peer.Swap(t.Context(), "k", old, next, expiry))
		old = next
	}
	wg.Wait()
	require.Empty(t, missed, "contract: Watch reports every change that the Get after it did not see")
}
