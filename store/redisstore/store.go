package redisstore

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
)

// Store is a [store.SessionStore] on a Redis server, cluster or sentinel
// group. Create one with [New]. It does not implement [store.Ephemeral]:
// values leave the process.
type Store struct {
	client    rueidis.Client
	owned     bool // close it, and it has one connection per node
	caching   bool
	prefix    string
	cacheTTL  time.Duration
	opTimeout time.Duration
	renewFor  time.Duration
	turns     turnTable

	// Work that outlives a call: renewals, and releases of leases that nobody
	// waits for any more.
	background context.Context
	stop       context.CancelFunc
	mu         sync.Mutex // excludes starting work and Close, and guards held
	work       sync.WaitGroup
	held       map[*lease]struct{}
}

var _ store.SessionStore = (*Store)(nil)

// New returns a store once Redis has answered; it is an error if that does not
// happen in time. All mistakes in cfg come as one error, which matches
// [store.ErrInvalid]. No error has credentials in it.
func New(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	client, caching, err := cfg.connect()
	if err != nil {
		return nil, err
	}
	s := &Store{
		client:    client,
		owned:     cfg.Client == nil,
		caching:   caching,
		prefix:    cfg.KeyPrefix,
		cacheTTL:  cfg.CacheTTL,
		opTimeout: cfg.OpTimeout,
		renewFor:  cfg.RenewLocksFor,
		turns:     turnTable{turns: make(map[string]*turn)},
		held:      make(map[*lease]struct{}),
	}
	s.background, s.stop = context.WithCancel(context.Background())
	return s, nil
}

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

// Get implements [store.SessionStore]. It answers from the cache where it can.
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, fmt.Errorf("redisstore: get: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	name := s.recordKey(key)
	record, err := s.read(ctx, name)
	if err != nil {
		return nil, time.Time{}, err
	}
	return []byte(record.Value), record.Expiry, nil // a copy: the cache keeps its own
}

// read gets a record, from the cache if there is one.
func (s *Store) read(ctx context.Context, name string) (record Record, err error) {
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

// Swap implements [store.SessionStore]. After a lost connection it is sent
// again within Config.OpTimeout, and takes effect once.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redisstore: swap: %w", err)
	}
	if err := store.CheckSwap(key, new, expiry); err != nil {
		return err
	}
	name := s.recordKey(key)
	args := []string{"0", string(old), "", "0", "0"}
	if old != nil {
		args[0] = "1"
	}
	if pxat := expireAt(expiry); new != nil && pxat > 0 {
		args[2], args[3] = encode(markValue, new, expiry), strconv.FormatInt(pxat, 10)
	}
	readOnly := old == nil && args[2] == ""
	return s.try(ctx, "swap", func(ctx context.Context, unsure bool) error {
		if unsure {
			args[4] = "1"
		}
		done, err := s.write(ctx, name, swapScript, args)
		switch {
		case err != nil || done == 1:
			return err
		case unsure && !readOnly:
			return errUnknownOutcome
		default:
			return store.ErrConflict
		}
	})
}

// Extend implements [store.SessionStore].
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

// Delete implements [store.SessionStore].
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

// try repeats an attempt until it succeeds, has a definite outcome, or has
// taken OpTimeout. The attempt is told whether an earlier one may have had an
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
			return s.failure(ctx, opCtx, op, err)
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
