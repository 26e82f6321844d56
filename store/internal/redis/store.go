package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/watch"
)

// Store is what packages redisstore and hybridstore have in common: the contract
// of package store on Redis.
type Store struct {
	client        rueidis.Client
	owned         bool // close it, and it has one connection per node
	caching       bool
	watching      bool // Redis says what has changed
	watches       *watch.Table
	prefix        string
	cacheTTL      time.Duration
	opTimeout     time.Duration
	maxValueBytes int
	turns         turnTable

	// Work that outlives a call: releases of leases that no caller waits for.
	background context.Context
	stop       context.CancelFunc
	mu         sync.Mutex // excludes starting work and Close
	work       sync.WaitGroup
}

// New returns a store once Redis has answered. It is an error if that does not
// happen before ctx ends. onChange, if set, is called with the keys of records
// that were read through the Store and have changed since; with nil when the
// connection was lost. It is called on the connection's goroutine, so it must be
// quick and not use the Store; a borrowed client never calls it.
func New(ctx context.Context, cfg Config, onChange func(keys []string)) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	watches := new(watch.Table)
	client, caching, err := cfg.connect(ctx, func(keys []string) {
		if onChange != nil {
			onChange(keys)
		}
		if keys == nil {
			watches.All()
		} else {
			watches.Changed(keys...)
		}
	})
	if err != nil {
		return nil, err
	}
	s := &Store{
		client:        client,
		owned:         cfg.Client == nil,
		caching:       caching,
		watching:      caching && cfg.Client == nil,
		watches:       watches,
		prefix:        cfg.KeyPrefix,
		cacheTTL:      cfg.CacheTTL,
		opTimeout:     cfg.OpTimeout,
		maxValueBytes: cfg.MaxValueBytes,
		turns:         turnTable{turns: make(map[string]*turn)},
	}
	s.background, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Watch does what [store.Watcher] says: Redis tells a client when a record that
// the client has read changes. A borrowed client keeps that to itself, and a
// client without a cache is not told.
func (s *Store) Watch(key string) (changed <-chan struct{}, stop func(), ok bool) {
	if !s.watching {
		return nil, nil, false
	}
	changed, stop = s.watches.Watch(key)
	return changed, stop, true
}

// Watched returns how many records are watched. It is for tests.
func (s *Store) Watched() int { return s.watches.Len() }

// Caching reports whether Get answers from a cache that Redis keeps informed.
func (s *Store) Caching() bool { return s.caching }

// Close ends what the store runs in the background, and its client unless the
// host lent it. Locks that are held end by themselves, with their leases.
func (s *Store) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.work.Wait()
	if s.owned {
		s.client.Close()
	}
}

// goWork runs f in the background until Close.
func (s *Store) goWork(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.background.Err() == nil {
		s.work.Go(func() { f(s.background) })
	}
}

// What the names of records, of locks and of counts begin with after the prefix.
const (
	recordSpace = "v:"
	lockSpace   = "l:"
	countSpace  = "n:"
)

func (s *Store) recordKey(key string) string { return s.prefix + recordSpace + key }

// Get returns a record, from the cache if there is one. The value shares memory
// with the cache.
func (s *Store) Get(ctx context.Context, key string) (record Record, err error) {
	if err := ctx.Err(); err != nil {
		return Record{}, fmt.Errorf("redisstore: get: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return Record{}, err
	}
	name := s.recordKey(key)
	err = s.try(ctx, "get", func(ctx context.Context, _ bool) error {
		encoded, err := s.get(ctx, name)
		if isNil(err) {
			return store.ErrNotFound
		}
		if err == nil {
			record, err = decode(encoded)
		}
		return err
	})
	return record, err
}

func (s *Store) get(ctx context.Context, name string) (string, error) {
	if s.caching {
		encoded, err := s.client.DoCache(ctx, s.client.B().Get().Key(name).Cache(), s.cacheTTL).ToString()
		if !isOutOfMemory(err) {
			return encoded, err
		}
		// The cache reads in a transaction, which a Redis whose memory is full
		// refuses, unlike a read.
	}
	return s.client.Do(ctx, s.client.B().Get().Key(name).Build()).ToString()
}

// Write is one attempt at a Swap. A caller that sends the Swap again, after an
// outage, sends the same stamp.
type Write struct {
	Old, New []byte
	Expiry   time.Time
	Stamp    Stamp
	// Sent says that an earlier attempt may have arrived. A record with the
	// stamp is then the work of that attempt and is replaced, whatever it holds.
	Sent bool
}

// Swap does what [store.SessionStore] says. After a lost connection it is sent
// again within Config.OpTimeout, and takes effect once.
func (s *Store) Swap(ctx context.Context, key string, w Write) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: swap: %w", err)
	}
	if err := store.CheckSwap(key, w.New, w.Expiry); err != nil {
		return err
	}
	if err := store.CheckValue(w.New, s.maxValueBytes); err != nil {
		return err
	}
	old, new, expiry := w.Old, w.New, w.Expiry
	name := s.recordKey(key)
	args := []string{"0", string(old), "", "0", "0"}
	if old != nil {
		args[0] = "1"
	}
	if pxat := expireAt(expiry); new != nil && pxat > 0 {
		args[2], args[3] = encode(w.Stamp, new, expiry), strconv.FormatInt(pxat, 10)
	}
	readOnly := old == nil && args[2] == ""
	return s.try(ctx, "swap", func(ctx context.Context, unsure bool) error {
		if unsure || w.Sent {
			args[4] = "1"
		}
		done, err := s.write(ctx, name, swapScript, args)
		switch {
		case err != nil || done == 1:
			return err
		case (unsure || w.Sent) && !readOnly:
			return errUnknownOutcome
		default:
			return store.ErrConflict
		}
	})
}

// Extend does what [store.SessionStore] says.
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: extend: %w", err)
	}
	if err := store.CheckExtend(key, expiry); err != nil {
		return err
	}
	pxat := max(expireAt(expiry), 0)
	args := []string{encodeExpiry(pxat + 1), strconv.FormatInt(pxat, 10)}
	name := s.recordKey(key)
	return s.try(ctx, "extend", func(ctx context.Context, _ bool) error {
		done, err := s.write(ctx, name, extendScript, args)
		if err == nil && done == 0 {
			return store.ErrNotFound
		}
		return err
	})
}

// Delete does what [store.SessionStore] says.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: delete: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	name := s.recordKey(key)
	return s.try(ctx, "delete", func(ctx context.Context, _ bool) error {
		_, err := s.send(ctx, name, s.client.B().Del().Key(name).Build())
		return err
	})
}

// Ping asks Redis for an answer once. Unlike with every other method, a lost
// connection is an error at once, also if the next attempt would succeed.
func (s *Store) Ping(ctx context.Context) error {
	if s.background.Err() != nil {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: ping: %w", err)
	}
	opCtx := newOpContext(ctx, s.opTimeout)
	defer opCtx.stop()
	if err := s.client.Do(opCtx, s.client.B().Ping().Build()).Error(); err != nil {
		return s.failure(ctx, opCtx, "ping", withoutContents(err))
	}
	return nil
}

// try repeats an attempt until it succeeds, has a definite outcome, or has
// taken OpTimeout. unsure says that an earlier attempt may have had an
// effect. Its errors other than package store's are outages.
func (s *Store) try(ctx context.Context, op string, attempt func(ctx context.Context, unsure bool) error) error {
	opCtx := newOpContext(ctx, s.opTimeout)
	defer opCtx.stop()
	unsure := false
	for n := 0; ; n++ {
		// A closed rueidis client that gets a command with an ended context
		// comes back to life, so neither is let through.
		if s.background.Err() != nil {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return s.failure(ctx, opCtx, op, err)
		}
		err := attempt(opCtx, unsure)
		if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			return err
		}
		err = withoutContents(err)
		again, maybe := mayPass(err)
		unsure = unsure || maybe
		if !again || !sleep(opCtx, backoff(n, 5*time.Millisecond, 200*time.Millisecond)) {
			if err = s.failure(ctx, opCtx, op, err); !unsure {
				err = notSent{err}
			}
			return err
		}
	}
}

// sleep waits for d, unless ctx ends before; then it returns false at once.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d || ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff is the pause after the nth attempt: it doubles from first to most,
// and half of it is random, so that replicas do not march in step.
func backoff(n int, first, most time.Duration) time.Duration {
	d := min(first<<min(n, 20), most)
	return d/2 + rand.N(d/2+1)
}
