package hybridstore

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// outage is one time without Redis, after it had been in service.
type outage struct {
	began time.Time
	over  chan struct{} // closed when Redis is back in service
}

// takeOut takes Redis out of service, and tells whether it still was in.
func (s *Store) takeOut(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.link.CompareAndSwap(l, nil) {
		return false
	}
	s.outage = &outage{began: time.Now(), over: make(chan struct{})}
	return true
}

// putIn puts Redis into service. The caller holds mu and has nothing pending.
func (s *Store) putIn(l *link) {
	s.link.Store(l)
	if s.outage != nil {
		close(s.outage.over)
		s.outage = nil
	}
	for _, unlock := range s.unlocks {
		s.work.Go(unlock)
	}
	s.unlocks = nil
}

// afterReplay returns the unlock of a lock that Redis granted. While Redis is
// away it is put off: a replica that is not cut off may wait for the lock, and
// must not get it before what was done under it. The lease ends by itself if
// that takes too long.
func (s *Store) afterReplay(unlock func()) func() {
	return sync.OnceFunc(func() {
		s.mu.Lock()
		away := s.link.Load() == nil && s.background.Err() == nil
		if away {
			s.unlocks = append(s.unlocks, unlock)
		}
		s.mu.Unlock()
		if !away {
			unlock()
		}
	})
}

// awaitLocks returns who is to grant locks: Redis, or this replica if it
// returns nil. It waits for what is probably about to happen, that Redis comes
// back, and that other replicas replay what they did meanwhile: a refresh token
// that one of them has used is worth nothing, and Redis does not know yet.
func (s *Store) awaitLocks(ctx context.Context) (*link, error) {
	for {
		s.mu.Lock()
		l, o := s.link.Load(), s.outage
		s.mu.Unlock()
		var wait time.Duration
		var over chan struct{}
		switch {
		case l != nil:
			wait = time.Until(l.locksFrom)
		case o != nil:
			wait, over = time.Until(o.began.Add(s.cfg.LockPatience)), o.over
		}
		if wait <= 0 {
			return l, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-over:
		case <-ctx.Done():
		case <-s.background.Done():
		}
		timer.Stop()
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("hybridstore: lock: %w", ctx.Err())
		case s.background.Err() != nil:
			return nil, ErrClosed
		}
	}
}
