package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	firstPoll = 10 * time.Millisecond
	longPoll  = 200 * time.Millisecond
)

// Lock does what [store.SessionStore] says. Of the callers that wait for one lock
// through one Store, only the first asks Redis, a few times per second and
// when the holder's lease must have ended; an unlock through the same Store
// lets it in at once.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("redisstore: lock: %w", err)
	}
	if err := store.CheckLock(key, ttl); err != nil {
		return nil, err
	}
	l := &lease{s: s, name: s.prefix + lockSpace + key, token: rand.Text(), ttl: ttl}
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	// What the previous holder wrote must be seen, also by a cache that hears
	// of it from another node or on another connection than the lock's.
	if s.caching && !s.ordered() {
		name := s.recordKey(key)
		err := s.try(ctx, "lock", func(ctx context.Context, _ bool) error { return s.settle(ctx, name) })
		if err != nil {
			l.releaseLater()
			return nil, err
		}
	}
	return l.unlock, nil
}

// lease is one grant of a lock, or the wish for one.
type lease struct {
	s     *Store
	name  string
	token string // random, so that no other lease is mistaken for this one
	ttl   time.Duration

	granted time.Time
	once    sync.Once
}

// wait polls until the lease is granted or ctx ends.
func (l *lease) wait(ctx context.Context) error {
	t := l.s.turns.join(l.name)
	defer l.s.turns.leave(l.name, t)
	select {
	case t.first <- struct{}{}:
		defer func() { <-t.first }()
	case <-ctx.Done():
		return fmt.Errorf("redisstore: lock: %w", ctx.Err())
	}
	for n := 0; ; n++ {
		left, err := l.acquire(ctx)
		if err == nil && left == 0 {
			var held bool
			if held, err = l.confirm(ctx); held {
				return nil
			}
		}
		if err != nil {
			l.releaseLater() // it may have been granted all the same
			return err
		}
		timer := time.NewTimer(min(backoff(n, firstPoll, longPoll), left))
		select {
		case <-timer.C:
		case <-t.wake:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("redisstore: lock: %w", ctx.Err())
		}
		timer.Stop()
	}
}

// acquire asks for the lease once. It returns zero, or for how long another holder
// may still have it.
//
// The lease is a short one until it is confirmed. A network can hold back a request
// until its sender has given up and has released the lease. The lease that such a
// request then gets has no holder to release it.
func (l *lease) acquire(ctx context.Context) (left time.Duration, err error) {
	err = l.s.try(ctx, "lock", func(ctx context.Context, _ bool) error {
		ms, err := l.s.run(ctx, l.name, lockScript, l.token, milliseconds(min(l.ttl, l.s.unconfirmed())))
		left = time.Duration(ms) * time.Millisecond
		return err
	})
	return left, err
}

// unconfirmed is how long a lease lasts without confirmation: one operation gets the
// lease, and another one confirms it.
func (s *Store) unconfirmed() time.Duration { return 2 * s.opTimeout }

// confirm makes a lease that was granted last its ttl from now. It returns
// false if the lease has ended in between.
func (l *lease) confirm(ctx context.Context) (held bool, err error) {
	l.granted = time.Now()
	if l.ttl <= l.s.unconfirmed() {
		return true, nil
	}
	err = l.s.try(ctx, "lock", func(ctx context.Context, _ bool) error {
		n, err := l.s.run(ctx, l.name, renewScript, l.token, milliseconds(l.ttl))
		held = n == 1
		return err
	})
	return held, err
}

// milliseconds rounds up, so that a short ttl is not none at all.
func milliseconds(ttl time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(float64(ttl)/float64(time.Millisecond))), 10)
}

// unlock gives the lease back, once, and bounds its own time: there is nothing
// left to give back after the lease has ended.
func (l *lease) unlock() {
	l.once.Do(func() {
		if limit := l.ttl - time.Since(l.granted); limit > 0 {
			// The holder's context may have ended; the lease has not.
			ctx, cancel := context.WithTimeout(l.s.background, limit)
			defer cancel()
			if IsOutage(l.release(ctx)) {
				l.releaseLater()
			}
		}
		l.s.turns.wake(l.name)
	})
}

// release ends the lease in Redis if it is there.
func (l *lease) release(ctx context.Context) error {
	return l.s.try(ctx, "unlock", func(ctx context.Context, _ bool) error {
		_, err := l.s.run(ctx, l.name, unlockScript, l.token)
		return err
	})
}

// releaseLater releases the lease in the background, for as long as it can
// last: a Redis that comes back with its data has it too, and others would wait
// for its end.
func (l *lease) releaseLater() {
	l.s.goWork(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, l.ttl)
		defer cancel()
		for ctx.Err() == nil && IsOutage(l.release(ctx)) {
		}
	})
}

// turnTable queues the callers in this process that wait for the same lock. It holds
// nothing about locks without waiters.
type turnTable struct {
	mu    sync.Mutex
	turns map[string]*turn
}

type turn struct {
	waiting int
	first   chan struct{} // of capacity one: the caller that fills it may ask Redis
	wake    chan struct{} // of capacity one: the lock may have become free
}

// Waiting returns how many locks have callers that wait for them through this
// Store. It is for tests.
func (s *Store) Waiting() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return len(s.turns.turns)
}

func (tt *turnTable) join(name string) *turn {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	t := tt.turns[name]
	if t == nil {
		t = &turn{first: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
		tt.turns[name] = t
	}
	t.waiting++
	return t
}

func (tt *turnTable) leave(name string, t *turn) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if t.waiting--; t.waiting == 0 {
		delete(tt.turns, name)
	}
}

func (tt *turnTable) wake(name string) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if t := tt.turns[name]; t != nil {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}
