package hybridstore_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

// One replica is cut off while another one goes on. A removal wins over all
// other changes, because a user has disconnected.
func TestReturn_RemovalInRedisWins(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	other := plain(t, server)
	create(t, s, "deleted here", "before")
	create(t, s, "deleted there", "before")
	proxy.Cut()
	waitAway(t, s)
	create(t, s, "created", "here")
	require.NoError(t, s.Delete(t.Context(), "deleted here"))
	require.NoError(t, s.Extend(t.Context(), "deleted there", later().Add(time.Hour)))
	create(t, other, "created", "there")
	update(t, other, "deleted here", "before", "there")
	require.NoError(t, other.Delete(t.Context(), "deleted there"))
	proxy.Heal()
	waitConnected(t, s)
	waitLogged(t, log, "⚠️ changes of the outage are dropped: Redis has other ones\" changes=1")
	for _, view := range []store.SessionStore{s, other} {
		requireValue(t, view, "created", "there")
		requireAbsent(t, view, "deleted here")
		requireAbsent(t, view, "deleted there")
	}
}

// Keeping data is what Redis persistence is for.
func TestWhatRedisLostIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	create(t, s, "session", "v")
	requireValue(t, s, "session", "v")
	server.Kill()
	waitAway(t, s)
	requireValue(t, s, "session", "v")
	create(t, s, "created", "v")
	require.NoError(t, server.Restart()) // without persistence
	waitConnected(t, s)
	requireEventuallyAbsent(t, s, "session")
	requireValue(t, s, "created", "v")
	_, err := server.Do("FLUSHALL")
	require.NoError(t, err)
	requireEventuallyAbsent(t, s, "created")
}

// Redis vanishes between a refresh and its Swap. The holder of the lock
// saves the tokens in memory, and other replicas get the lock together with
// what was saved, not before.
func TestReturn_KeepsTokensSavedDuringTheOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	other := plain(t, server)
	for round := range 5 {
		key := fmt.Sprint("session", round)
		create(t, s, key, "refresh-1")
		unlock := mustLock(t, s, key)
		requireValue(t, s, key, "refresh-1")
		proxy.Cut()
		waitAway(t, s)
		update(t, s, key, "refresh-1", "refresh-2")
		unlock()
		unlock()
		requireValue(t, s, key, "refresh-2")
		err := s.Swap(t.Context(), key, []byte("refresh-2"), []byte("refresh-3"), later())
		require.ErrorContains(t, err, readOnly, "without the lock it is a record from before")
		proxy.Heal()
		unlockOther := mustLock(t, other, key)
		requireValue(t, other, key, "refresh-2")
		unlockOther()
		waitConnected(t, s)
		update(t, s, key, "refresh-2", "refresh-3")
	}
}

// A lock holder that has not read the record in Redis does not go on with
// what was last seen, which the previous holder may have changed.
func TestLockWithoutRead(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, s, "session", "refresh-1") // written and not read: Redis does not tell of changes
	update(t, plain(t, server), "session", "refresh-1", "refresh-2")
	unlock := mustLock(t, s, "session")
	defer unlock()
	proxy.Cut()
	waitAway(t, s)
	requireUnsure(t, s, "session")
	require.Error(t, s.Swap(t.Context(), "session", []byte("refresh-1"), []byte("refresh-2'"), later()))
}

// No lock is granted before another replica, which comes back later, has
// written its changes.
func TestReturn_LocksWaitForChangesOfOtherReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	late, _, proxy := cutOff(t, server, hybridstore.Config{})
	config := onURL(server.URL())
	config.Redis.OpTimeout = 5 * time.Second // which others have for an attempt, on a busy machine
	early, _ := open(t, config)
	create(t, late, "session", "refresh-1")
	requireValue(t, early, "session", "refresh-1")
	unlock := mustLock(t, late, "session")
	requireValue(t, late, "session", "refresh-1")
	proxy.Cut()
	server.Kill()
	waitAway(t, late)
	waitAway(t, early)
	update(t, late, "session", "refresh-1", "refresh-2")
	unlock()

	back := time.Now() // or a little later
	require.NoError(t, server.Restart())
	waitConnected(t, early)
	_, err := tryLock(t, early, "another", 50*time.Millisecond)
	require.ErrorContains(t, err, "deadline", "locks wait")
	proxy.Heal()
	unlock = mustLock(t, early, "session")
	defer unlock()
	require.Greater(t, time.Since(back), 2*time.Second+config.Redis.OpTimeout)
	requireValue(t, early, "session", "refresh-2")
}

// A record of the outage that is locked when Redis is back is not seen by
// other replicas before it is unlocked.
func TestLockedHereIsReplayedAfterwards(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	proxy.Cut()
	waitAway(t, s)
	create(t, s, "session", "refresh-1")
	unlock := mustLock(t, s, "session")
	proxy.Heal()
	waitConnected(t, s)
	waitLogged(t, log, "waiting=1")
	requireAbsent(t, plain(t, server), "session")
	requireValue(t, s, "session", "refresh-1")
	update(t, s, "session", "refresh-1", "refresh-2")
	_, err := tryLock(t, s, "session", 50*time.Millisecond)
	require.ErrorContains(t, err, "deadline")
	requireAbsent(t, plain(t, server), "session")
	unlock()
	requireEventually(t, plain(t, server), "session", "refresh-2")
	mustLock(t, s, "session")()
}

// TestInterruptedCreation loses the answer to a creation. The only replica goes on
// in memory, and its attempt that has arrived is recognized, also after the record
// was changed here.
func TestInterruptedCreation(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{OnlyReplica: true})
	create(t, s, "warm", "up") // the script is known
	for i := range 5 {
		key := fmt.Sprint("session", i)
		require.NoError(t, server.Pause())
		require.NoError(t, s.Swap(t.Context(), key, nil, []byte("v1"), later()), "goes on in memory")
		waitAway(t, s)
		update(t, s, key, "v1", "v2")
		proxy.Cut()
		require.NoError(t, server.Resume())
		requireEventually(t, plain(t, server), key, "v1") // the attempt had arrived
		proxy.Heal()
		waitConnected(t, s)
		requireValue(t, s, key, "v2")
		requireValue(t, plain(t, server), key, "v2")
	}
	require.NotContains(t, log.String(), "⚠️")
}

// TestInterruptedCreationAmongReplicas is an error: another replica may have removed
// the record before this one is back, and then a removed session would come back.
func TestInterruptedCreationAmongReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, s, "warm", "up") // the script is known
	require.NoError(t, server.Pause())
	err := s.Swap(t.Context(), "session", nil, []byte("v1"), later())
	require.Error(t, err)
	for _, sentinel := range []error{store.ErrConflict, store.ErrNotFound, store.ErrUnsure, store.ErrInvalid} {
		require.NotErrorIs(t, err, sentinel)
	}
	waitAway(t, s)
	proxy.Cut()
	require.NoError(t, server.Resume())
	other := plain(t, server)
	requireEventually(t, other, "session", "v1") // it had arrived
	require.NoError(t, other.Delete(t.Context(), "session"))
	proxy.Heal()
	waitConnected(t, s)
	requireAbsent(t, s, "session")
	requireAbsent(t, plain(t, server), "session")
}

// TestCreationThatWasNotSent goes on in memory: nothing listens at the address of
// Redis any more.
func TestCreationThatWasNotSent(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	server.Kill()
	require.Eventually(t, func() bool {
		return s.Swap(t.Context(), "session", nil, []byte("v1"), later()) == nil
	}, time.Minute, time.Millisecond)
	requireValue(t, s, "session", "v1")
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	requireValue(t, plain(t, server), "session", "v1")
}

// TestInterruptedChange of a record from before is an error, and no answer about
// the record.
func TestInterruptedChange(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, _ := cutOff(t, server, hybridstore.Config{})
	create(t, s, "attempt", "pending")
	require.NoError(t, server.Pause())
	err := s.Swap(t.Context(), "attempt", []byte("pending"), []byte("taken"), later())
	require.Error(t, err)
	for _, sentinel := range []error{store.ErrConflict, store.ErrNotFound, store.ErrUnsure, store.ErrInvalid} {
		require.NotErrorIs(t, err, sentinel)
	}
	require.NoError(t, s.Delete(t.Context(), "attempt"), "a removal is never refused")
	require.NoError(t, server.Resume())
	waitConnected(t, s)
	requireAbsent(t, s, "attempt")
	requireAbsent(t, plain(t, server), "attempt")
}

// TestReturnUnderLoad brings Redis back again and again while callers work: no
// write that has succeeded is lost.
func TestReturnUnderLoad(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	latest := make([]string, 8)
	for w := range latest {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("session-%d-%d", w, i)
				if err := s.Swap(t.Context(), key, nil, []byte("v1"), later()); err != nil { // Redis may have got it
					for _, sentinel := range []error{store.ErrConflict, store.ErrNotFound, store.ErrUnsure, store.ErrFull} {
						if errors.Is(err, sentinel) {
							t.Errorf("create: %v", err)
						}
					}
					continue
				}
				unknown := s.Swap(t.Context(), key, []byte("v1"), []byte("v2"), later()) // if not nil
				got, _, err := s.Get(t.Context(), key)
				if err == nil && string(got) != "v2" && (unknown == nil || string(got) != "v1") {
					t.Errorf("wrote v2 (%v), read %s", unknown, got)
				}
				latest[w] = key
				time.Sleep(time.Millisecond)
			}
		})
	}
	for range 3 {
		proxy.Cut()
		waitAway(t, s)
		time.Sleep(50 * time.Millisecond) // the outage itself
		proxy.Heal()
		waitConnected(t, s)
	}
	close(stop)
	wg.Wait()
	waitLogged(t, log, "✅ Redis is back")
	view := plain(t, server)
	for _, key := range latest {
		eventually(t, "a creation never gets to Redis", func() bool {
			_, _, err := view.Get(t.Context(), key)
			return err == nil
		})
	}
}

// The holder of a lock that this replica granted itself does not see the
// record in Redis, where another replica may have the lock.
func TestReturn_LockGrantedAwayDoesNotShowRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	other := plain(t, server)
	create(t, other, "session", "refresh-1")
	proxy.Cut()
	waitAway(t, s)
	unlock := mustLock(t, s, "session")
	unlockOther := mustLock(t, other, "session")
	proxy.Heal()
	waitConnected(t, s)
	requireUnsure(t, s, "session")
	require.Error(t, s.Swap(t.Context(), "session", []byte("refresh-1"), []byte("refresh-2"), later()))
	unlock()
	requireValue(t, s, "session", "refresh-1")
	unlockOther()
	mustLock(t, s, "session")()
}
