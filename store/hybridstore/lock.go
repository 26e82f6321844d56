package hybridstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// lease is a lock that is held.
type lease struct {
	until time.Time
	// read says that the holder has read the record in Redis, or written it:
	// what this replica remembers of it is what the record is.
	read bool
}

// Lock implements [store.SessionStore]. While Redis is away, the lock of a record
// from before the outage is an error, except with [Config].OnlyReplica, and any
// other lock excludes the callers of this Store only. When Redis is back, Lock
// waits for 3 s, so that every other replica is back, too.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := s.usable(ctx, "lock", store.CheckLock(key, ttl)); err != nil {
		return nil, err
	}
	if s.Ephemeral() {
		return s.local.Lock(ctx, key, ttl)
	}
	for {
		p, err := s.redisFor(ctx, key)
		if err != nil {
			return nil, err
		}
		if p == nil {
			if unlock, err := s.lockAway(ctx, key, ttl); !errors.Is(err, errBack) {
				return unlock, err
			}
			continue
		}
		if wait := time.Until(p.locksFrom); wait > 0 {
			if err := s.await(ctx, p, wait); err != nil {
				return nil, err
			}
			continue
		}
		unlock, err := s.lockInRedis(ctx, p, key, ttl)
		switch {
		case err == nil:
			return unlock, nil
		case ctx.Err() == nil && p.ended.Err() != nil: // away, as another caller has found
		case !s.lose(ctx, p, err):
			return nil, err
		}
	}
}

// await waits until locks are granted again, or Redis is away again.
func (s *Store) await(ctx context.Context, p *servicePeriod, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended.Done():
	case <-s.background.Done():
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("hybridstore: lock: %w", ctx.Err())
	}
	return nil
}

// lockInRedis takes a lock in Redis, and then here: this replica must not grant
// the lock itself should Redis go away.
func (s *Store) lockInRedis(ctx context.Context, p *servicePeriod, key string, ttl time.Duration) (unlock func(), err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ended, cancel)()
	release, err := p.redis.Lock(waiting, key, ttl)
	if err != nil {
		return nil, err
	}
	releaseHere, err := s.local.Lock(ctx, key, ttl)
	if err != nil {
		release()
		return nil, err
	}
	held := &lease{until: time.Now().Add(ttl)}
	s.mu.Lock()
	s.leases[key] = held
	s.mu.Unlock()
	return func() {
		s.unlock(key, held, release)
		releaseHere()
	}, nil
}

// unlock gives a lock in Redis back. If the record was changed under the lock
// while Redis was away, the change is written to Redis first. Otherwise the next
// holder would spend a refresh token again.
func (s *Store) unlock(key string, held *lease, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[key] != held {
		return
	}
	delete(s.leases, key)
	e := s.memory.overlay[key]
	switch {
	case e != nil && e.kind == changed:
		next := *e
		next.unlock = release
		_ = s.memory.put(&next, time.Now())
	case s.current.Load() == nil && s.background.Err() == nil:
		s.work.Go(release) // which waits for Redis
	default:
		s.mu.Unlock()
		release()
		s.mu.Lock()
	}
}

// lockAway is Lock while Redis is away.
func (s *Store) lockAway(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	grantable := func(now time.Time) error {
		if e := s.memory.get(key, now); e != nil && e.fromBefore() && !s.cfg.OnlyReplica {
			return errReadOnly
		}
		return nil
	}
	if err := s.inMemory(key, grantable); err != nil {
		return nil, err
	}
	release, err := s.local.Lock(ctx, key, ttl)
	if err != nil {
		return nil, err
	}
	held := &lease{until: time.Now().Add(ttl)}
	err = s.inMemory(key, func(now time.Time) error {
		if err := grantable(now); err != nil {
			return err
		}
		s.holders[key] = held
		return nil
	})
	if err != nil {
		release()
		return nil, err
	}
	return func() {
		s.mu.Lock()
		if s.holders[key] == held {
			delete(s.holders, key)
		}
		waiting := s.memory.overlay[key] != nil
		s.mu.Unlock()
		release()
		if waiting {
			s.look()
		}
	}, nil
}
