package hybridstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// outage is one time without Redis. The one in which Redis has not been
// reached yet began long ago. Its fields are guarded by Store.mu.
type outage struct {
	began   time.Time
	changed chan struct{} // closed, and replaced, when something below changes
	// answers tells that Redis is there again, and that what happened meanwhile
	// is being replayed.
	answers bool
	// closing tells that changes wait for Redis, which is about to be back in
	// service: it could otherwise never catch up with them.
	closing bool
	alone   int // locks that this replica has granted itself, and that are held
}

func newOutage(began time.Time) *outage { return &outage{began: began, changed: make(chan struct{})} }

func (o *outage) change() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// takeOut takes Redis out of service, and tells whether it still was in.
func (s *Store) takeOut(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.link.CompareAndSwap(l, nil) {
		return false
	}
	s.outage = newOutage(time.Now())
	l.end()
	return true
}

// putIn puts Redis into service. The caller holds mu and has nothing pending.
func (s *Store) putIn(l *link) {
	s.link.Store(l)
	s.outage.change()
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
		wait, answers, changed := time.Until(o.began.Add(s.cfg.LockPatience)), o.answers, o.changed
		s.mu.Unlock()
		if l != nil {
			wait, answers = time.Until(l.locksFrom), false
		}
		if wait <= 0 && !answers {
			return l, nil
		}
		var patience <-chan time.Time
		if !answers {
			patience = time.After(wait)
		}
		select {
		case <-patience:
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("hybridstore: lock: %w", ctx.Err())
		case <-s.background.Done():
			return nil, ErrClosed
		}
	}
}

// errShared is the outcome of a Lock while Redis is away.
var errShared = errors.New("hybridstore: lock: Redis is away, and other replicas may have the record, too")

// mayLockAlone calls then, with mu held, if this replica may grant a lock itself.
func (s *Store) mayLockAlone(key string, then func(*outage)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link.Load() != nil || s.outage.answers:
		return errBack
	case !s.cfg.LocalLocks && s.memory.get(key).shared():
		return errShared
	}
	then(s.outage)
	return nil
}

// lockAlone grants a lock that excludes the callers of this Store only, which is
// enough where no other replica can know the record.
func (s *Store) lockAlone(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := s.mayLockAlone(key, func(*outage) {}); err != nil {
		return nil, err
	}
	release, err := s.local.Lock(ctx, key, ttl)
	if err != nil {
		return nil, err
	}
	// Who has only waited does not keep Redis from coming back.
	var o *outage
	if err := s.mayLockAlone(key, func(now *outage) { o = now; o.alone++ }); err != nil {
		release()
		return nil, err
	}
	done := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if o.alone--; o.alone == 0 {
			o.change()
		}
	})
	lease := time.AfterFunc(ttl, done)
	return func() { release(); lease.Stop(); done() }, nil
}

// endAlone returns when no lock is held that this replica granted itself, and
// has no other one be granted, until Redis is in service or goneAgain is
// called: what is done under such a lock belongs together, and is not to be
// seen by others before it is complete.
func (s *Store) endAlone() error {
	for {
		s.mu.Lock()
		o := s.outage
		o.answers = true
		held, changed := o.alone > 0, o.changed
		s.mu.Unlock()
		if !held {
			return nil
		}
		select {
		case <-changed:
		case <-s.background.Done():
			return ErrClosed
		}
	}
}

// goneAgain is called when Redis did answer and has not come into service.
func (s *Store) goneAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage.answers, s.outage.closing = false, false
	s.outage.change()
}
