package storetest

import (
	"time"

	"github.com/stretchr/testify/require"
)

// leaseCases are about leases that run out.
func leaseCases() []testCase {
	return []testCase{
		{"LeaseLetsWaiterIn", checkLeaseLetsWaiterIn},
		{"LeaseLetsNewcomerIn", checkLeaseLetsNewcomerIn},
		{"LeaseHasItsOwnLength", checkLeaseHasItsOwnLength},
		{"UnlockAfterLease", checkUnlockAfterLease},
	}
}

func checkLeaseLetsWaiterIn(s *suite) {
	started := time.Now()
	late := s.wantLock(s.Store, "k", s.short(), "a free lock is granted")
	ctx, cancel := s.op()
	defer cancel()
	done := s.lockLater(ctx, s.Peer, "k", s.longTTL())
	if s.Advance != nil {
		s.wantWaiting(done, "Lock waits while the lease has not run out")
		s.Advance(s.short())
	}
	g := s.wantOutcome(done, "a waiting Lock is granted once the holder's lease has run out")
	require.NoError(s, g.err, "contract: a waiting Lock is granted once the holder's lease has run out")
	if s.Advance == nil {
		require.GreaterOrEqual(s, g.at.Sub(started), s.short()-s.Resolution,
			"contract: no caller gets in before the holder's lease has run out")
	}
	late()
	s.wantHeld(s.Store, "k", "unlock after the lease ran out does not release the lease of the next holder")
	g.unlock()
	s.wantLock(s.Store, "k", s.longTTL(), "the next holder's unlock releases its lease")
}

func checkLeaseLetsNewcomerIn(s *suite) {
	late := s.wantLock(s.Store, "k", s.short(), "a free lock is granted")
	s.pass(s.short())
	s.wantLock(s.Peer, "k", s.longTTL(), "a lock whose lease has run out is free, also without a waiter")
	late()
	s.wantHeld(s.Store, "k", "unlock after the lease ran out does not release the lease of the next holder")
	late()
	s.wantHeld(s.Peer, "k", "calling unlock again does not release the lease of the next holder")
}

func checkLeaseHasItsOwnLength(s *suite) {
	s.wantLock(s.Store, "k", s.short(), "a free lock is granted")
	s.wantLock(s.Store, "long", s.longTTL(), "a free lock is granted")
	s.pass(s.short())
	s.wantHeld(s.Peer, "long", "a lease lasts as long as was asked for, whatever others do")
	unlock := s.wantLock(s.Peer, "k", s.longTTL(), "a lock whose lease has run out is free")
	s.pass(s.short())
	s.wantHeld(s.Store, "k", "a lease lasts as long as its own holder asked for")
	unlock()
	s.wantLock(s.Store, "k", s.short(), "a lock is free after it was unlocked")
	s.pass(s.short())
	s.wantLock(s.Peer, "k", s.longTTL(), "a short lease after a long one lasts as long as was asked for")
}

func checkUnlockAfterLease(s *suite) {
	late := s.wantLock(s.Store, "k", s.short(), "a free lock is granted")
	s.pass(s.short())
	late()
	late()
	unlock := s.wantLock(s.Peer, "k", s.longTTL(), "unlock after the lease ran out leaves the lock free")
	unlock()
	s.wantLock(s.Store, "k", s.longTTL(), "a lock is free after it was unlocked")
}
