package storetest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// lockCases are about locks whose leases do not run out.
func lockCases() []testCase {
	return []testCase{
		{"LockExcludes", checkLockExcludes},
		{"LockWaits", checkLockWaits},
		{"LockIsNotReentrant", checkLockIsNotReentrant},
		{"LockKeysAreIndependent", checkLockKeysAreIndependent},
		{"LockAndRecordsAreSeparate", checkLockAndRecordsAreSeparate},
		{"LockContextEndsWaitingOnly", checkLockContextEndsWaitingOnly},
		{"LockCancelled", checkLockCancelled},
		{"LockPastDeadline", checkLockPastDeadline},
		{"LockCancelledAtHandover", checkLockCancelledAtHandover},
		{"UnlockIsIdempotent", checkUnlockIsIdempotent},
	}
}

func checkLockExcludes(s *suite) {
	const workers = 8
	var inside, most atomic.Int32
	errs := s.race(workers, func(_ int, st store.SessionStore) error {
		for range rounds {
			unlock, err := s.lockFor(st, "k", s.longTTL(), s.Timeout)
			if err != nil {
				return err
			}
			if n := inside.Add(1); n > 1 {
				most.Store(n)
			}
			time.Sleep(100 * time.Microsecond) // long enough for others to come in
			inside.Add(-1)
			unlock()
		}
		return nil
	})
	require.Zero(s, most.Load(), "contract: two holders never hold one lock at once")
	for _, err := range errs {
		require.NoError(s, err, "contract: a caller that waits for a lock gets it in the end")
	}
}

func checkLockWaits(s *suite) {
	unlock := s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	ctx, cancel := s.op()
	defer cancel()
	done := s.lockLater(ctx, s.Peer, "k", s.longTTL())
	s.wantWaiting(done, "Lock waits while another handle holds the lock")
	unlock()
	g := s.wantOutcome(done, "a waiting Lock is granted once the holder unlocks")
	require.NoError(s, g.err, "contract: a waiting Lock is granted once the holder unlocks")
	g.unlock()
	s.wantLock(s.Store, "k", s.longTTL(), "a lock is free again after it was unlocked")
}

func checkLockIsNotReentrant(s *suite) {
	s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	s.wantHeld(s.Store, "k", "a lock excludes also through the handle that holds it")
}

func checkLockKeysAreIndependent(s *suite) {
	s.wantLock(s.Store, "k1", s.longTTL(), "a free lock is granted")
	s.wantLock(s.Store, "k2", s.longTTL(), "a lock of another name does not wait")
	unlock := s.wantLock(s.Peer, "k3", s.longTTL(), "a lock of another name does not wait")
	unlock()
	s.wantHeld(s.Peer, "k1", "unlocking leaves locks of other names held")
	s.wantHeld(s.Peer, "k2", "unlocking leaves locks of other names held")
}

func checkLockAndRecordsAreSeparate(s *suite) {
	unlock := s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	s.wantAbsent("k", "a lock is not a record of the same name")
	s.create("k", []byte("v1"))
	s.wantValue("k", []byte("v1"), "a record can be read while the lock of its name is held")
	require.NoError(s, s.swap(s.Peer, "k", []byte("v1"), []byte("v2"), s.later()),
		"contract: any caller can replace a record while the lock of its name is held")
	s.wantHeld(s.Peer, "k", "writing a record does not release the lock of its name")
	require.NoError(s, s.del(s.Store, "k"), "contract: a record can be deleted while the lock of its name is held")
	s.wantHeld(s.Peer, "k", "deleting a record does not release the lock of its name")
	s.create("k", []byte("v3"))
	unlock()
	s.wantValue("k", []byte("v3"), "unlocking leaves the record of that name alone")
	s.wantLock(s.Peer, "k", s.longTTL(), "a record does not hold the lock of its name")
	s.wantValue("k", []byte("v3"), "locking leaves the record of that name alone")
}

func checkLockContextEndsWaitingOnly(s *suite) {
	ctx, cancel := s.op()
	unlock, err := s.Store.Lock(ctx, "k", s.longTTL())
	require.NoError(s, err, "contract: a free lock is granted")
	s.Cleanup(unlock)
	cancel()
	s.wantHeld(s.Peer, "k", "a context that ends after Lock returned does not release the lease")
	unlock()
	s.wantLock(s.Peer, "k", s.longTTL(), "unlock works after the context of Lock has ended")
}

func checkLockCancelled(s *suite) {
	unlock := s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	done := s.lockLater(ctx, s.Peer, "k", s.longTTL())
	s.wantWaiting(done, "Lock waits while another handle holds the lock")
	cancel()
	g := s.wantOutcome(done, "a waiting Lock returns soon after its context was cancelled")
	require.ErrorIs(s, g.err, context.Canceled, "contract: a waiting Lock returns the error of its context")
	wantNoSentinel(s, g.err, "Lock that was cancelled")
	s.wantHeld(s.Peer, "k", "giving up waiting does not release the holder's lease")
	unlock()
	s.wantLock(s.Store, "k", s.longTTL(), "a waiter that gave up leaves nothing behind that is granted the lease")
}

func checkLockPastDeadline(s *suite) {
	unlock := s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	s.wantHeld(s.Peer, "k", "a waiting Lock returns context.DeadlineExceeded at its deadline")
	unlock()
	s.wantLock(s.Store, "k", s.longTTL(), "a waiter that gave up leaves nothing behind that is granted the lease")
}

// checkLockCancelledAtHandover cancels a waiter in the moment in which it
// would be granted the lease. Either is right, but the lease must not get lost.
func checkLockCancelledAtHandover(s *suite) {
	for range rounds {
		unlock := s.wantLock(s.Store, "k", s.longTTL(), "a lock is free after every holder unlocked and every waiter gave up")
		ctx, cancel := context.WithCancel(s.Context())
		done := s.lockLater(ctx, s.Peer, "k", s.longTTL())
		time.Sleep(time.Millisecond) // so that it probably waits
		go cancel()
		unlock()
		g := s.wantOutcome(done, "a waiting Lock returns when it is granted and when it is cancelled")
		if g.err == nil {
			g.unlock()
		} else {
			require.ErrorIs(s, g.err, context.Canceled, "contract: a waiting Lock returns the error of its context")
		}
		next := s.wantLock(s.Store, "k", s.longTTL(),
			"a lease that was granted in the moment of cancelling does not get lost")
		next()
	}
}

func checkUnlockIsIdempotent(s *suite) {
	first := s.wantLock(s.Store, "k", s.longTTL(), "a free lock is granted")
	s.race(racers, func(int, store.SessionStore) error {
		first()
		return nil
	})
	s.wantLock(s.Peer, "k", s.longTTL(), "unlock may be called many times, by many goroutines at once")
	first()
	s.wantHeld(s.Store, "k", "calling unlock again does not release the lease of the next holder")
}
