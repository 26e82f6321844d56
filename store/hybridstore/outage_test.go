package hybridstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

// TestUnknownIsNotGone: a front end that is told that a session is gone drops
// it, and takes a disconnect for done. A replica without Redis may say so only
// of what it has deleted itself.
func TestUnknownIsNotGone(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	s, _ := open(t, onURL(server.URL()))
	create(t, plain(t, server), "of another replica", "v")
	create(t, s, "deleted before", "v")
	create(t, s, "deleted meanwhile", "v")
	require.NoError(t, s.Delete(t.Context(), "deleted before"))
	_, err := s.Get(t.Context(), "never existed")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NotErrorIs(t, err, store.ErrUnsure, "Redis knows")

	server.Kill()
	waitAway(t, s)
	require.NoError(t, s.Delete(t.Context(), "deleted meanwhile"))
	for key, unsure := range map[string]bool{
		"of another replica": true, "never existed": true, "deleted before": false, "deleted meanwhile": false,
	} {
		_, err := s.Get(t.Context(), key)
		require.ErrorIs(t, err, store.ErrNotFound, key)
		require.Equal(t, unsure, isUnsure(err), key)
		require.NotContains(t, err.Error(), key)
	}
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	requireValue(t, s, "of another replica", "v")
}

func isUnsure(err error) bool { return errors.Is(err, store.ErrUnsure) }

// TestLockWaitsForRedis: in a short outage no two replicas have the same lock.
func TestLockWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	config := onURL(server.URL())
	config.LockPatience = time.Minute
	var stores [2]*hybridstore.Store
	for i := range stores {
		stores[i], _ = open(t, config)
	}
	server.Kill()
	for _, s := range stores {
		waitAway(t, s)
	}
	var holders, most atomic.Int32
	done := make(chan error, len(stores))
	for _, s := range stores {
		go func() {
			unlock, err := s.Lock(context.Background(), "k", time.Minute)
			if err == nil {
				most.Store(max(most.Load(), holders.Add(1)))
				_, err = s.Get(context.Background(), "k")
				holders.Add(-1)
				unlock()
			}
			if errors.Is(err, store.ErrNotFound) && !isUnsure(err) {
				err = nil // answered by Redis
			}
			done <- err
		}()
	}
	select {
	case err := <-done:
		require.Fail(t, "a lock without Redis", "%v", err)
	case <-time.After(300 * time.Millisecond):
	}
	require.NoError(t, server.Restart())
	for range stores {
		require.NoError(t, <-done)
	}
	require.EqualValues(t, 1, most.Load())
}

// TestLockWaitsForOthersToReplay has another replica be later with what it did
// under its lock while Redis was away: the next holder sees it.
func TestLockWaitsForOthersToReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	proxy := redistest.RunProxy(t, server.Addr())
	config := onURL(server.URLAt(proxy.Addr()))
	config.LockPatience = -1
	late, _ := open(t, config)
	early, _ := open(t, onURL(server.URL()))
	create(t, late, "token", "refresh-1")
	requireValue(t, early, "token", "refresh-1")
	proxy.Cut()
	server.Kill()
	waitAway(t, late)
	waitAway(t, early)
	unlock, err := late.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	update(t, late, "token", "refresh-1", "refresh-2")
	unlock()

	require.NoError(t, server.Restart())
	waitConnected(t, early)
	requireValue(t, early, "token", "refresh-1")
	proxy.Heal()
	unlock, err = early.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	defer unlock()
	requireValue(t, early, "token", "refresh-2")
}

// TestWaitingForALockEnds with its context, with the patience, and with Close.
func TestWaitingForALockEnds(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	config := onURL(server.URL())
	patient, short := config, config
	patient.LockPatience, short.LockPatience = time.Hour, 50*time.Millisecond
	s, _ := open(t, patient)
	hasty, _ := open(t, short)
	server.Kill()
	waitAway(t, s)
	waitAway(t, hasty)

	unlock, err := hasty.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err, "after its patience it locks on its own")
	unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx, "k", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() {
		_, err := s.Lock(context.Background(), "k", time.Minute)
		done <- err
	}()
	s.Close()
	require.ErrorIs(t, <-done, hybridstore.ErrClosed)
}

// TestUnlockComesAfterReplay has a holder save what it did under its lock while
// cut off from Redis, where others wait for the lock: they get it together with
// what was saved, not before.
func TestUnlockComesAfterReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	cutOff, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	other := plain(t, server)
	// Records that were changed before, so that replaying takes its time.
	const more = 300
	for i := range more {
		create(t, cutOff, strconv.Itoa(i), "v")
	}
	for round := range 3 {
		key := fmt.Sprint("token", round)
		create(t, cutOff, key, "refresh-1")
		unlock, err := cutOff.Lock(t.Context(), key, time.Minute)
		require.NoError(t, err)
		proxy.Cut()
		waitAway(t, cutOff)
		for i := range more {
			old := strings.Repeat("v", round+1)
			update(t, cutOff, strconv.Itoa(i), old, old+"v")
		}
		update(t, cutOff, key, "refresh-1", "refresh-2")
		unlocked := make(chan struct{})
		go func() { defer close(unlocked); unlock(); unlock() }()
		proxy.Heal()
		unlockOther, err := other.Lock(t.Context(), key, time.Minute)
		require.NoError(t, err)
		requireValue(t, other, key, "refresh-2")
		unlockOther()
		<-unlocked
		waitConnected(t, cutOff)
	}
}
