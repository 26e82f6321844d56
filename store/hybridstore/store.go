package hybridstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
	"github.com/mcpoauth/mcpoauth/store/internal/watch"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// Store is a [store.SessionStore] on Redis that goes on in memory while Redis is
// away, or a store in memory only. Create one with [Open] or [New].
//
// # While Redis is up
//
// Every operation goes to Redis as in package redisstore, and a warm Get costs no
// command. Beside that the store remembers what it has last seen, up to
// [Config].MaxEntries records and [Config].MaxBytes bytes. When Redis tells that a
// record has changed elsewhere, the store drops the record. It sends Redis nothing
// of its own but health checks.
//
// # While Redis is away
//
// An operation that gets no answer within the Redis configuration's OpTimeout
// takes Redis out of service, and is done in memory, as are all that follow:
//
//   - A record that this replica has seen can be read, extended and deleted. Swap
//     and Lock on it are errors, because another replica may have the record, too:
//     so no refresh token is spent by two replicas. [Config].OnlyReplica lifts that
//     for hosts with one replica.
//   - A record that this replica creates can be read, changed, locked and deleted.
//   - A record that this replica has not seen is [store.ErrUnsure]. It can be
//     created and deleted.
//   - A holder of a lock that Redis granted, who has read the record under that
//     lock, can still save: tokens that were obtained in the moment when Redis
//     vanished are kept.
//
// Redis is asked again after 50 ms at most, and after twice as long each time up to
// 2 s. When Redis answers, the replica writes its creations, extensions, removals and
// changes to Redis. Where Redis has another value, Redis wins, and a warning says so; a
// removal holds in any case. Locks wait for 3 s, so that every other replica is back, too.
//
// A write whose answer got lost when Redis went away is recognized when it turns up
// in Redis, or is an error to its caller. A replica that is cut off in the middle of a
// refresh for longer than the lease of its lock, or dies there, has spent a refresh
// token that another replica then tries: the user authorizes again.
type Store struct {
	cfg    Config
	log    *slog.Logger
	local  *memstore.Store // everything without Redis; else locks, and counts of an outage
	wakeUp chan struct{}   // of capacity one: look at the connection, and at the overlay

	// current is the present period of service of Redis, nil while Redis is away.
	// It is written with mu held.
	current atomic.Pointer[servicePeriod]

	watches watch.Table

	mu            sync.Mutex
	memory        memory
	leases        map[string]*lease        // the locks that Redis has granted
	holders       map[string]*lease        // the locks that this replica has granted itself
	replaying     map[string]chan struct{} // the changes that are on their way to Redis
	invalidations [256]uint64              // counts of the invalidations that Redis has sent, by hash of the key
	ownWrites     [256]uint64              // beginnings and ends of own writes, by hash of their key
	replayed      [removed + 1]int         // counts of the changes written to Redis since its return, by kind
	lost          int                      // count of the changes that were dropped, because Redis had others

	background context.Context
	stop       context.CancelFunc
	work       sync.WaitGroup
}

var (
	_ store.SessionStore = (*Store)(nil)
	_ store.Ephemeral    = (*Store)(nil)
	_ store.Counter      = (*Store)(nil)
	_ store.Watcher      = (*Store)(nil)
)

// ErrClosed is returned by all methods after [Store.Close].
var ErrClosed = errors.New("hybridstore: closed")

// Format implements [fmt.Formatter]: the configuration in a Store holds the
// credentials for Redis.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("hybridstore.Store")) }

// IsRedisConnected reports whether Redis is in service. While it is not, this
// replica is on its own. It is false for a store in memory only.
func (s *Store) IsRedisConnected() bool { return s.current.Load() != nil }

// Ephemeral implements [store.Ephemeral]: it is true for a store in memory only.
func (s *Store) Ephemeral() bool { return s.cfg.inMemory() }

// Close ends the connection. Changes that Redis does not know by then are lost,
// and their number is logged.
func (s *Store) Close() {
	s.mu.Lock() // excludes starting work
	s.stop()
	s.mu.Unlock()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.memory.overlay); n > 0 {
		s.log.Error("❌ closed while Redis is away: changes are lost", "changes", n)
	}
	s.memory = newMemory(s.cfg.MaxEntries, s.cfg.MaxBytes)
}

// usable is the beginning of every method.
func (s *Store) usable(ctx context.Context, op string, argument error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("hybridstore: %s: %w", op, err)
	}
	if s.background.Err() != nil {
		return ErrClosed
	}
	return argument
}

// redisFor returns the period of service for an operation on key, or nil if the
// operation is done in memory. A change that was made while Redis was away is written first.
func (s *Store) redisFor(ctx context.Context, key string) (*servicePeriod, error) {
	for {
		p := s.current.Load()
		if p == nil {
			return nil, nil
		}
		s.mu.Lock()
		waiting, waits := s.memory.overlay[key] != nil, s.waits(key)
		s.mu.Unlock()
		switch {
		case waits:
			return nil, nil
		case !waiting:
			return p, nil
		}
		if err := s.replay(ctx, p, key); err != nil {
			return nil, err
		}
	}
}

// Get implements [store.SessionStore]. While Redis is away, the error for a
// record that this replica has not seen matches [store.ErrUnsure].
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := s.usable(ctx, "get", store.CheckKey(key)); err != nil {
		return nil, time.Time{}, err
	}
	if s.Ephemeral() {
		return s.local.Get(ctx, key)
	}
	for {
		p, err := s.redisFor(ctx, key)
		if err != nil {
			return nil, time.Time{}, err
		}
		if p == nil {
			err := s.inMemory(key, func(now time.Time) (err error) {
				value, expiry, err = s.getAway(key, now)
				return err
			})
			if !errors.Is(err, errBack) {
				return value, expiry, err
			}
			continue
		}
		b := s.begin(key, false)
		record, err := p.redis.Get(ctx, key)
		if err == nil {
			s.saw(b, record)
			return []byte(record.Value), record.Expiry, nil
		}
		if errors.Is(err, store.ErrNotFound) {
			s.forget(key)
		}
		if !s.lose(ctx, p, err) {
			return nil, time.Time{}, err
		}
	}
}

// Swap implements [store.SessionStore]. While Redis is away, a record from before
// the outage cannot be changed, except by the holder of its lock or with
// [Config].OnlyReplica. A Swap that Redis may or may not have got before it went
// away is an error, except by the same two: then it is done in memory, and Redis
// recognizes it later.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	argument := store.CheckSwap(key, new, expiry)
	if argument == nil {
		argument = store.CheckValue(new, s.cfg.Redis.MaxValueBytes)
	}
	if err := s.usable(ctx, "swap", argument); err != nil {
		return err
	}
	if s.Ephemeral() {
		return s.local.Swap(ctx, key, old, new, expiry)
	}
	w := redis.Write{Old: old, New: new, Expiry: expiry, Stamp: redis.NewStamp()}
	return s.change(ctx, key, func(p *servicePeriod) error {
		b := s.begin(key, true)
		err := p.redis.Swap(ctx, key, w)
		w.Sent = w.Sent || !redis.IsNotSent(err)
		if err != nil || new == nil || !time.Now().Before(expiry) {
			s.endWrite(b, nil)
			return err
		}
		s.hasRead(b.lease)
		s.endWrite(b, &entry{key: key, value: append([]byte{}, new...), expiry: expiry.Round(0), stamp: w.Stamp})
		return nil
	}, func(now time.Time) error { return s.swapAway(key, w, now) })
}

// Extend implements [store.SessionStore].
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := s.usable(ctx, "extend", store.CheckExtend(key, expiry)); err != nil {
		return err
	}
	if s.Ephemeral() {
		return s.local.Extend(ctx, key, expiry)
	}
	return s.change(ctx, key, func(p *servicePeriod) error {
		b := s.begin(key, true)
		err := p.redis.Extend(ctx, key, expiry)
		var left *entry
		if err == nil && b.entry != nil {
			left = &entry{key: key, value: b.entry.value, expiry: b.entry.expiry, stamp: b.entry.stamp}
			if expiry.After(left.expiry) {
				left.expiry = expiry.Round(0)
			}
		}
		s.endWrite(b, left)
		return err
	}, func(now time.Time) error { return s.extendAway(key, expiry, now) })
}

// Delete implements [store.SessionStore].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.usable(ctx, "delete", store.CheckKey(key)); err != nil {
		return err
	}
	if s.Ephemeral() {
		return s.local.Delete(ctx, key)
	}
	return s.change(ctx, key, func(p *servicePeriod) error {
		b := s.begin(key, true)
		defer s.endWrite(b, nil)
		return p.redis.Delete(ctx, key)
	}, func(now time.Time) error { return s.deleteAway(key, now) })
}

// change makes a change in Redis or, while that is away, in memory. A change
// during which Redis goes away, and which cannot be made in memory either, has an
// unknown outcome: the error is that of Redis.
func (s *Store) change(ctx context.Context, key string, inRedis func(*servicePeriod) error, away func(now time.Time) error) error {
	var outage error
	for {
		p, err := s.redisFor(ctx, key)
		if err != nil {
			return err
		}
		if p == nil {
			err := s.inMemory(key, away)
			switch {
			case errors.Is(err, errBack):
				continue
			case err == nil:
				s.watches.Changed(key)
			case outage != nil:
				return outage
			}
			return err
		}
		if err = inRedis(p); err == nil || !s.lose(ctx, p, err) {
			return err
		}
		outage = err
	}
}

// Add implements [store.Counter]. While Redis is away this replica counts for
// itself, from zero, and does not write these counts to Redis afterwards: counts are
// for limits, and short-lived. A lost connection alone is no outage.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	if err := s.usable(ctx, "add", store.CheckAdd(key, expiry)); err != nil {
		return 0, err
	}
	if p := s.current.Load(); p != nil {
		total, err := p.redis.Add(ctx, key, n, expiry)
		if err == nil || ctx.Err() != nil || !redis.IsOutage(err) && !redis.IsUnknownOutcome(err) {
			return total, err
		}
		s.look()
	}
	return s.local.Add(ctx, key, n, expiry)
}

// Watch implements [store.Watcher]: by what Redis says, and while Redis is away by
// what this replica changes. When Redis goes or comes back, all records may have
// changed. It reports false while a Redis without client-side caching is in
// service.
func (s *Store) Watch(key string) (changed <-chan struct{}, stop func(), ok bool) {
	if s.Ephemeral() {
		return s.local.Watch(key)
	}
	if p := s.current.Load(); p != nil && !p.redis.Caching() {
		return nil, nil, false
	}
	changed, stop = s.watches.Watch(key)
	return changed, stop, true
}
