package hybridstore_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
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
	grownUp(t, server)
	s, _ := open(t, onURL(server.URL()))
	create(t, plain(t, server), "of another replica", "v")
	create(t, s, "deleted before", "v")
	create(t, s, "deleted meanwhile", "v")
	require.NoError(t, s.Delete(t.Context(), "deleted before"))
	_, _, err := s.Get(t.Context(), "never existed")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NotErrorIs(t, err, store.ErrUnsure, "Redis knows")

	server.Kill()
	waitAway(t, s)
	require.NoError(t, s.Delete(t.Context(), "deleted meanwhile"))
	for key, unsure := range map[string]bool{
		"of another replica": true, "never existed": true, "deleted before": false, "deleted meanwhile": false,
	} {
		_, _, err := s.Get(t.Context(), key)
		require.True(t, isAbsent(err), key)
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
	grownUp(t, server)
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
				_, _, err = s.Get(context.Background(), "k")
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
	config.LockPatience, config.LocalLocks = -1, true
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

// TestFlappingRedis is back again and again, never for long enough to grant a
// lock: that is one outage to who waits for one.
func TestFlappingRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	config := onURL(server.URLAt(proxy.Addr()))
	config.LockPatience = time.Second
	s, _ := open(t, config)
	create(t, s, "session", "v")
	proxy.Cut()
	waitAway(t, s)
	done := make(chan error, 1)
	go func() {
		_, err := s.Lock(context.Background(), "session", time.Minute)
		done <- err
	}()
	for range 20 {
		proxy.Heal()
		waitConnected(t, s)
		proxy.Cut()
		waitAway(t, s)
		select {
		case err := <-done:
			require.ErrorContains(t, err, "Redis is away")
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("whoever wants the lock still waits")
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

// TestNoLockOfWhatOthersMayHave: when an outage lasts, this replica may lock only
// what no other one can have, unless the host says that there is no other one.
func TestNoLockOfWhatOthersMayHave(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	config := onURL(server.URL())
	config.LockPatience = -1
	s, _ := open(t, config)
	config.LocalLocks = true
	single, _ := open(t, config)
	create(t, s, "shared", "v")
	create(t, s, "changed meanwhile", "v")
	create(t, s, "deleted", "v")
	requireValue(t, single, "shared", "v")
	server.Kill()
	waitAway(t, s)
	waitAway(t, single)
	create(t, s, "created meanwhile", "v")
	update(t, s, "created meanwhile", "v", "w")
	update(t, s, "changed meanwhile", "v", "w")
	require.NoError(t, s.Delete(t.Context(), "deleted"))

	lock := func(s *hybridstore.Store, key string) error {
		unlock, err := s.Lock(t.Context(), key, time.Minute)
		if err == nil {
			unlock()
		}
		return err
	}
	for key, refused := range map[string]bool{
		"shared": true, "changed meanwhile": true, "created meanwhile": false, "deleted": false, "unknown": false,
	} {
		err := lock(s, key)
		require.Equal(t, refused, err != nil, "%s: %v", key, err)
		if err != nil {
			require.ErrorContains(t, err, "Redis is away")
			require.NotContains(t, err.Error(), key)
			require.NotErrorIs(t, err, store.ErrNotFound)
		}
	}
	require.NoError(t, lock(single, "shared"))
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	require.NoError(t, lock(s, "shared"))
}

// TestLocalLocksAreTakenAlong has Redis come back while somebody holds a lock
// that this replica granted itself. Nothing waits for the holder, and nobody
// else gets the lock before what is done under it.
func TestLocalLocksAreTakenAlong(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	s, _ := open(t, onURL(server.URL()))
	create(t, s, "token", "refresh-1")
	unlock, err := s.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	other, _ := open(t, onURL(server.URL()))
	requireValue(t, other, "token", "refresh-1")
	here, there := readUnderLock(s, "token"), readUnderLock(other, "token")
	nested, err := s.Lock(t.Context(), "client", time.Minute)
	require.NoError(t, err, "another lock, by who holds the first one")
	nested()
	select {
	case got := <-here:
		t.Fatalf("the lock was granted here: %s", got)
	case got := <-there:
		t.Fatalf("the lock was granted there: %s", got)
	default:
	}
	update(t, s, "token", "refresh-1", "refresh-2")
	unlock()
	require.Equal(t, "refresh-2<nil>", <-here)
	require.Equal(t, "refresh-2<nil>", <-there)
}

// TestLocalLocksTakenAlongEnd has a holder never give its lock back.
func TestLocalLocksTakenAlongEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	s, _ := open(t, onURL(server.URL()))
	_, err := s.Lock(t.Context(), "k", 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	left, err := server.Do("PTTL", "mcpoauth:l:k")
	require.NoError(t, err)
	require.Positive(t, left)
	require.LessOrEqual(t, left, int64(10_000))
	unlock, err := plain(t, server).Lock(t.Context(), "k", time.Second)
	require.NoError(t, err)
	unlock()
}

// readUnderLock waits for a lock, reads, and tells what it got.
func readUnderLock(s store.SessionStore, key string) <-chan string {
	got := make(chan string, 1)
	go func() {
		unlock, err := s.Lock(context.Background(), key, time.Minute)
		if err != nil {
			got <- err.Error()
			return
		}
		defer unlock()
		value, _, err := s.Get(context.Background(), key)
		got <- fmt.Sprint(string(value), err)
	}()
	return got
}

// TestLocksOfALostRedis has Redis lose its data, and the leases with them, while
// one replica holds a lock and another one waits for it.
func TestLocksOfALostRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	holder, _ := open(t, onURL(server.URL()))
	waiter, _ := open(t, onURL(server.URL()))
	create(t, holder, "token", "refresh-1")
	requireValue(t, waiter, "token", "refresh-1")
	unlock, err := holder.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	got := readUnderLock(waiter, "token")
	time.Sleep(50 * time.Millisecond) // so that it waits
	require.NoError(t, server.RestartEmpty())
	// Longer than locks are held back for others to replay.
	time.Sleep(4 * time.Second)
	update(t, holder, "token", "refresh-1", "refresh-2")
	unlock()
	require.Equal(t, "refresh-2<nil>", <-got)
}

// TestReturnUnderLoad has changes come in faster than they can be replayed, one
// at a time: Redis comes back into service all the same.
func TestReturnUnderLoad(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	proxy := redistest.RunProxy(t, server.Addr())
	s, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	proxy.Cut()
	waitAway(t, s)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for i := range 4 {
		key := strconv.Itoa(i)
		create(t, s, key, "0")
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				err := s.Swap(context.Background(), key, []byte(strconv.Itoa(n)), []byte(strconv.Itoa(n+1)), later())
				if err != nil {
					t.Errorf("change %d: %v", n, err)
					return
				}
				if s.IsRedisConnected() {
					return
				}
			}
		})
	}
	proxy.Heal()
	proxy.Delay(5 * time.Millisecond)
	writers.Wait()
	require.True(t, s.IsRedisConnected())
}

// TestMerge has two replicas change records while neither sees the other.
func TestMerge(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	var proxies [2]*redistest.Proxy
	var stores [2]*hybridstore.Store
	var logs [2]*logbook
	for i := range stores {
		proxies[i] = redistest.RunProxy(t, server.Addr())
		stores[i], logs[i] = open(t, onURL(server.URLAt(proxies[i].Addr())))
	}
	a, b := stores[0], stores[1]
	var meanwhile sync.Once
	a.SetMerge(func(key string, base, mine, theirs []byte) ([]byte, bool) {
		if key == "changed during the replay" {
			meanwhile.Do(func() { update(t, a, key, string(mine), "A2") })
		}
		if key == "not to be merged" || key == "deleted" && theirs == nil {
			return nil, false
		}
		merged := fmt.Sprintf("%s(%s %s)", base, mine, theirs)
		for _, value := range [][]byte{base, mine, theirs} {
			clear(value) // they are its own
		}
		return []byte(merged), true
	})
	old := []string{"changed", "not to be merged", "deleted", "deleted here", "emptied", "changed during the replay"}
	for _, key := range old {
		create(t, a, key, "v")
		requireValue(t, b, key, "v")
	}
	for i, s := range stores {
		proxies[i].Cut()
		waitAway(t, s)
	}
	for i, s := range stores {
		for _, key := range old {
			update(t, s, key, "v", []string{"A", "B"}[i])
		}
		create(t, s, "created", []string{"A", "B"}[i])
	}
	require.NoError(t, b.Delete(t.Context(), "deleted"))
	require.NoError(t, b.Swap(t.Context(), "emptied", []byte("B"), nil, time.Time{}))
	require.NoError(t, a.Swap(t.Context(), "deleted here", []byte("A"), nil, time.Time{}))
	proxies[1].Heal()
	waitConnected(t, b)
	require.NotContains(t, logs[1].String(), "Redis wins")
	proxies[0].Heal()
	waitConnected(t, a)
	for key, want := range map[string]string{
		"changed": "v(A B)", "created": "(A B)", "not to be merged": "B", "deleted here": "B", "emptied": "v(A )",
		"changed during the replay": "A(A2 v(A B))",
	} {
		requireValue(t, plain(t, server), key, want)
		requireEventually(t, a, key, want)
		requireEventually(t, b, key, want)
	}
	requireEventuallyAbsent(t, a, "deleted")
	require.Contains(t, logs[0].String(), "merged=5 conflicts=3")
}
