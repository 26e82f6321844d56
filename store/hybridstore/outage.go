package hybridstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store/redisstore"
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
	alone   map[*ownLock]struct{} // locks that this replica has granted itself, and that are held
}

func newOutage(began time.Time) *outage {
	return &outage{began: began, changed: make(chan struct{}), alone: make(map[*ownLock]struct{})}
}

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
	began := time.Now()
	if last := s.outage.began; began.Before(l.locksFrom) && !last.IsZero() {
		began = last // to who waits for a lock, that outage has not ended
	}
	s.outage = newOutage(began)
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
		var ended <-chan struct{}
		if l != nil {
			wait, answers, ended = time.Until(l.locksFrom), false, l.ended.Done()
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
		case <-ended:
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

// ownLock is a lock that this replica has granted itself.
type ownLock struct {
	key  string
	ends time.Time
	over bool // guarded by Store.mu
	// unlock gives back the same lock in Redis, once that has been taken there;
	// guarded by Store.mu.
	unlock func()
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
	own := &ownLock{key: key, ends: time.Now().Add(ttl)}
	var o *outage
	// Redis may have come back to who has only waited.
	if err := s.mayLockAlone(key, func(now *outage) { o = now; o.alone[own] = struct{}{} }); err != nil {
		release()
		return nil, err
	}
	done := sync.OnceFunc(func() {
		s.mu.Lock()
		delete(o.alone, own)
		own.over = true
		unlock := own.unlock
		s.mu.Unlock()
		if unlock != nil {
			unlock()
		}
	})
	lease := time.AfterFunc(ttl, done)
	return func() { release(); lease.Stop(); done() }, nil
}

// takeAlong takes the locks that this replica has granted itself in Redis, before
// others see there what they are about, and has no other ones be granted, until
// Redis is in service or goneAgain is called.
func (s *Store) takeAlong(redis *redisstore.Store) error {
	s.mu.Lock()
	s.outage.answers = true
	own := slices.Collect(maps.Keys(s.outage.alone))
	s.mu.Unlock()
	return inParallel(own, func(l *ownLock) error {
		s.mu.Lock()
		ttl, taken := time.Until(l.ends), l.unlock != nil
		s.mu.Unlock()
		if taken || ttl <= 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(s.background, s.cfg.Redis.OpTimeout)
		defer cancel()
		unlock, err := redis.Lock(ctx, l.key, ttl)
		if err != nil {
			if redisstore.IsOutage(err) || s.background.Err() != nil {
				return err
			}
			return nil // somebody else has it, too
		}
		unlock = s.afterReplay(unlock)
		s.mu.Lock()
		over := l.over
		l.unlock = unlock
		s.mu.Unlock()
		if over {
			unlock()
		}
		return nil
	})
}

// goneAgain is called when Redis did answer and has not come into service.
func (s *Store) goneAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage.answers, s.outage.closing = false, false
	s.outage.change()
}
