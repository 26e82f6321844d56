package hybridstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// Store is a [store.SessionStore] on Redis with a fallback to memory, or in
// memory only. Create one with [Open] or [New].
type Store struct {
	cfg   Config
	log   *slog.Logger
	local *memstore.Store // everything without Redis; only locks while Redis is away
	kick  chan struct{}   // of capacity one: look at the connection now

	// link is the connection in service, nil while Redis is away. It becomes
	// nil at any moment, and something else only with mu held and nothing
	// pending: whoever holds mu and finds nil may change the memory.
	link atomic.Pointer[link]

	mu     sync.Mutex
	memory memory
	busy   map[string]int // how many Swaps of a record are on their way to Redis
	news   chan string    // records to be read again because they have changed

	merge func(key string, base, mine, theirs []byte) ([]byte, bool) // or nil; guarded by mu

	outage  *outage  // the present or the last one; guarded by mu
	unlocks []func() // of locks that Redis granted, for when it is back; guarded by mu

	background context.Context
	stop       context.CancelFunc
	work       sync.WaitGroup
}

// link is one time of service of Redis.
type link struct {
	redis *redisstore.Store
	epoch string
	// locksFrom is when other replicas have had the time to replay, too: the
	// longest pause between attempts to reach Redis, and what one may take.
	locksFrom time.Time
	// sureFrom is when, after Redis had lost its data, other replicas have had
	// the time to restore what they know: what is absent by then is gone.
	sureFrom time.Time
	// term numbers times in which Redis told about all changes. A connection
	// that was lost and made again begins another one.
	term atomic.Uint64
	// ended is done when Redis goes out of service.
	ended context.Context
	end   context.CancelFunc
}

func newLink(redis *redisstore.Store, epoch string) *link {
	l := &link{redis: redis, epoch: epoch}
	l.ended, l.end = context.WithCancel(context.Background())
	return l
}

// provenFrom is the first term whose entries are up to date: its last one, or
// the first of all if there was no time of service.
func (l *link) provenFrom() uint64 {
	if l == nil {
		return 1
	}
	return l.term.Load()
}

// lock is Lock for as long as Redis is in service: those who wait for one lock
// notice its end together.
func (l *link) lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ended, cancel)()
	return l.redis.Lock(ctx, key, ttl)
}

var (
	_ store.SessionStore = (*Store)(nil)
	_ store.Ephemeral    = (*Store)(nil)
	_ store.Merger       = (*Store)(nil)
)

// Format implements [fmt.Formatter]: the configuration in a Store holds the
// credentials for Redis.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("hybridstore.Store")) }

// errBack is why a change cannot be made in memory: Redis has come back.
var errBack = errors.New("redis is back")

// IsRedisConnected reports whether Redis is in service. While it is not, this
// replica is on its own. It is false for a store in memory only.
func (s *Store) IsRedisConnected() bool { return s.link.Load() != nil }

// Ephemeral implements [store.Ephemeral]: it is true for a store in memory only.
func (s *Store) Ephemeral() bool { return s.cfg.inMemory() }

// SetMerge implements [store.Merger], for what was changed while Redis was away.
func (s *Store) SetMerge(merge func(key string, base, mine, theirs []byte) (merged []byte, ok bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merge = merge
}

// Close ends the connection. What Redis does not know by then is lost, and
// logged.
func (s *Store) Close() {
	s.stop()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.memory.waiting.Len(); n > 0 {
		s.log.Error("❌ closed while Redis is away: changes are lost", "changes", n)
		s.memory = newMemory(s.cfg.MaxEntries)
	}
}

// usable is the beginning of every method.
func (s *Store) usable(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("hybridstore: %s: %w", op, err)
	}
	if s.background.Err() != nil {
		return ErrClosed
	}
	return nil
}

// ErrClosed is returned by all methods after [Store.Close].
var ErrClosed = errors.New("hybridstore: closed")

// errElsewhere is the outcome of a Get of what neither this replica nor Redis
// knows, while Redis is away or has lost its data a moment ago.
var errElsewhere = fmt.Errorf("hybridstore: %w", store.ErrUnsure)

// Get implements [store.SessionStore]. While Redis is away, and for ten seconds
// after it has lost its data, a record that this replica does not know is
// [store.ErrNotFound] and, unless this replica has deleted it, [store.ErrUnsure].
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := s.usable(ctx, "get"); err != nil {
		return nil, time.Time{}, err
	}
	if err := store.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	if s.Ephemeral() {
		return s.local.Get(ctx, key)
	}
	s.mu.Lock()
	s.memory.touch(key)
	s.mu.Unlock()
	return s.get(ctx, key)
}

// get is Get without being a use of the record.
func (s *Store) get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	for {
		l := s.link.Load()
		if l == nil {
			if value, expiry, err := s.remembered(key); !errors.Is(err, errBack) {
				return value, expiry, err
			}
			continue
		}
		before, term := s.recall(key), l.term.Load()
		record, err := l.redis.Read(ctx, key)
		switch {
		case err == nil:
			s.learn(ctx, l, key, before, term, record)
			return []byte(record.Value), record.Expiry, nil
		case errors.Is(err, store.ErrNotFound):
			if s.epochEnded(ctx, l) {
				continue // Redis has lost it, and somebody may still know it
			}
			if ctx.Err() != nil {
				return nil, time.Time{}, fmt.Errorf("hybridstore: get: %w", ctx.Err())
			}
			s.forget(before)
			if (before == nil || before.value != nil) && time.Now().Before(l.sureFrom) {
				return nil, time.Time{}, errElsewhere
			}
			return nil, time.Time{}, err
		case !s.lost(ctx, l, err):
			return nil, time.Time{}, err
		}
	}
}

// remembered is Get while Redis is away.
func (s *Store) remembered(key string) (value []byte, expiry time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link.Load() != nil {
		return nil, time.Time{}, errBack
	}
	e := s.memory.get(key)
	value = e.live(time.Now())
	switch {
	case value == nil && e != nil && e.value == nil:
		return nil, time.Time{}, store.ErrNotFound
	case value == nil:
		return nil, time.Time{}, errElsewhere
	}
	return bytes.Clone(value), e.expiry, nil
}

// Extend implements [store.SessionStore].
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := store.CheckExtend(key, expiry); err != nil {
		return err
	}
	for {
		value, until, err := s.Get(ctx, key)
		if err != nil || !expiry.After(until) {
			return err
		}
		if err := s.Swap(ctx, key, value, value, expiry); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// Swap implements [store.SessionStore]. An outage in the middle of it is an
// error if Redis is back at once; otherwise the change is made in memory, and
// later in Redis, where it finds its own first attempt if that arrived.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if err := s.usable(ctx, "swap"); err != nil {
		return err
	}
	if err := store.CheckSwap(key, new, expiry); err != nil {
		return err
	}
	if s.Ephemeral() {
		return s.local.Swap(ctx, key, old, new, expiry)
	}
	return s.change(ctx, func(l *link) error {
		s.setBusy(key, 1)
		defer s.setBusy(key, -1)
		err := l.redis.Swap(ctx, key, old, new, expiry)
		remembered := s.recall(key)
		switch {
		case err == nil && (new == nil || !time.Now().Before(expiry)):
			s.forget(remembered)
		case err == nil:
			s.wrote(ctx, l, key, new, expiry)
		case errors.Is(err, store.ErrConflict) && old != nil && s.dataLost(ctx, l, remembered):
			return errDataLost
		case errors.Is(err, store.ErrConflict):
			s.forget(remembered) // if it is current, reading it again is cheap
		}
		return err
	}, func(interrupted bool) error { return s.memory.swap(key, old, new, expiry, time.Now(), interrupted) })
}

// Delete implements [store.SessionStore]. A deleted record is remembered until
// its expiry, so that no replica's memory brings it back.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.usable(ctx, "delete"); err != nil {
		return err
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	if s.Ephemeral() {
		return s.local.Delete(ctx, key)
	}
	return s.change(ctx, func(l *link) error {
		// Not redisstore.Store.Delete: a replica that is cut off may have known
		// the record in a former life of the data, and would restore it.
		until := s.buriedUntil(key)
		err := l.redis.Bury(ctx, key, until, true)
		if err != nil && ctx.Err() == nil && !redisstore.IsOutage(err) {
			err = l.redis.Delete(ctx, key) // which a Redis whose memory is full does not refuse
		}
		if err == nil {
			s.bury(key, until)
		}
		return err
	}, func(bool) error { return s.memory.delete(key, time.Now()) })
}

// errDataLost is why a change in Redis has to be made in memory after all:
// Redis has lost its data, and is out of service until they are back.
var errDataLost = errors.New("redis has lost its data")

// change makes a change in Redis or, while that is away, in memory, which is
// told whether Redis was tried before.
func (s *Store) change(ctx context.Context, inRedis func(*link) error, inMemory func(interrupted bool) error) error {
	var outage error
	for {
		if l := s.link.Load(); l != nil {
			if outage != nil {
				return outage // it may have happened; a second attempt would not know
			}
			err := inRedis(l)
			if err == nil || !errors.Is(err, errDataLost) && !s.lost(ctx, l, err) {
				return err
			}
			if !errors.Is(err, errDataLost) {
				outage = err
			}
		}
		err := s.away(ctx, func() error { return inMemory(outage != nil) })
		if outage != nil && errors.Is(err, store.ErrConflict) {
			return outage // perhaps with our own first attempt
		}
		if !errors.Is(err, errBack) {
			return err
		}
	}
}

// away makes a change in memory, unless Redis is back, or about to be.
func (s *Store) away(ctx context.Context, change func() error) error {
	for {
		s.mu.Lock()
		o := s.outage
		back, closing, changed := s.link.Load() != nil, o.closing, o.changed
		err := s.background.Err()
		if !back && !closing && err == nil {
			err = change()
		}
		s.mu.Unlock()
		switch {
		case s.background.Err() != nil:
			return ErrClosed
		case back:
			return errBack
		case !closing:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("hybridstore: changing a record: %w", ctx.Err())
		case <-s.background.Done():
			return ErrClosed
		}
	}
}

// Lock implements [store.SessionStore]. When Redis goes away, it waits for
// Config.LockPatience for its return. Then the lock of a record that other
// replicas may know is an error, unless Config.LocalLocks is set, and any other
// lock excludes the callers of this Store only.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := s.usable(ctx, "lock"); err != nil {
		return nil, err
	}
	if err := store.CheckLock(key, ttl); err != nil {
		return nil, err
	}
	for {
		l, err := s.awaitLocks(ctx)
		if err != nil {
			return nil, err
		}
		if l == nil {
			if unlock, err := s.lockAlone(ctx, key, ttl); !errors.Is(err, errBack) {
				return unlock, err
			}
			continue
		}
		unlock, err := l.lock(ctx, key, ttl)
		switch {
		case err == nil:
			// What the previous holder wrote must be known here also if Redis
			// goes away before anybody reads it.
			_, _, _ = s.get(ctx, key)
			// A Redis that has lost its data, which nobody may have noticed yet,
			// has lost the leases too: others may hold this very lock.
			if ended := s.epochEnded(ctx, l); !ended && ctx.Err() == nil && s.link.Load() == l {
				return s.alsoHere(ctx, key, ttl, s.afterReplay(unlock))
			}
			unlock()
			if ctx.Err() != nil {
				return nil, fmt.Errorf("hybridstore: lock: %w", ctx.Err())
			}
		case ctx.Err() == nil && l.ended.Err() != nil:
		case !s.lost(ctx, l, err):
			return nil, err
		}
	}
}

// alsoHere completes a lock that Redis has granted: this replica must not grant
// it again itself, should Redis go away.
func (s *Store) alsoHere(ctx context.Context, key string, ttl time.Duration, unlock func()) (func(), error) {
	release, err := s.local.Lock(ctx, key, ttl)
	if err != nil {
		unlock()
		return nil, err
	}
	return func() { release(); unlock() }, nil
}

// lost takes Redis out of service if err is an outage, and tells whether the
// operation that got it should be tried in another way.
func (s *Store) lost(ctx context.Context, l *link, err error) bool {
	if err == nil || ctx.Err() != nil || !redisstore.IsOutage(err) {
		return false
	}
	if s.takeOut(l) {
		s.log.Error("❌ Redis is away: going on with memory", "error", err)
		s.look()
	}
	return true
}

// look has the connection looked at now.
func (s *Store) look() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
