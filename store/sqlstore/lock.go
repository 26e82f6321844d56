package sqlstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// Lock implements [store.SessionStore]. A waiter asks again after 10 to 200 ms,
// at growing intervals with jitter. The database's clock decides when a lease
// has run out.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := s.check(ctx, "lock", key, store.CheckLock(key, ttl)); err != nil {
		return nil, err
	}
	l := &lease{s: s, key: key, token: newStamp(), ttl: ttl}
	for n := 0; ; n++ {
		granted, err := l.acquire(ctx)
		if err != nil {
			return nil, err
		}
		if granted {
			return l.release, nil
		}
		if !sleep(ctx, backoff(n, firstPoll, longPoll)) {
			return nil, fmt.Errorf("sqlstore: lock: %w", ctx.Err())
		}
	}
}

// lease is one grant of a lock, or the wish for one.
type lease struct {
	s     *Store
	key   string
	token []byte // random, so that a late release ends no other lease
	ttl   time.Duration
}

// acquire asks for the lease once. When ctx ends it returns at once, and the
// lease is released if the database still grants it: a statement that was
// interrupted may have been executed.
func (l *lease) acquire(ctx context.Context) (granted bool, err error) {
	type outcome struct {
		granted bool
		err     error
	}
	answered := make(chan outcome) // without capacity: either side knows what the other one does
	given := context.WithoutCancel(ctx)
	go func() {
		granted, err := l.ask(given)
		select {
		case answered <- outcome{granted, err}:
			if err == nil {
				return
			}
		case <-ctx.Done():
		}
		if granted || err != nil {
			l.release()
		}
	}()
	select {
	case o := <-answered:
		return o.granted, o.err
	case <-ctx.Done():
		return false, fmt.Errorf("sqlstore: lock: %w", ctx.Err())
	}
}

// ask takes the lease if no other one holds it. OpTimeout bounds it.
func (l *lease) ask(ctx context.Context) (granted bool, err error) {
	ttl := int64(math.Ceil(float64(l.ttl) / float64(time.Millisecond)))
	err = l.s.try(ctx, "lock", func(ctx context.Context, _ bool) error {
		n, err := l.s.exec(ctx, l.s.sql.lock, []byte(l.key), []byte{}, l.token, ttl)
		granted = n > 0
		return err
	})
	return granted, err
}

// release ends the lease, and no other one. If the database does not answer
// within OpTimeout, the lease ends by itself.
func (l *lease) release() {
	_ = l.s.try(context.Background(), "unlock", func(ctx context.Context, _ bool) error {
		_, err := l.s.exec(ctx, l.s.sql.unlock, []byte(l.key), l.token)
		return err
	})
}
