package memstore

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/watch"
)

const (
	defaultMaxEntries = 100_000

	// reclaimPerWrite is how many expired records one write removes. More than
	// one, so that a backlog shrinks; few, so that no write is slow.
	reclaimPerWrite = 8
)

// Config configures a [Store]. The zero value is ready for use.
type Config struct {
	// MaxEntries bounds how many records the store holds, and beside them how
	// many counts. Defaults to 100,000.
	MaxEntries int

	// MaxValueBytes bounds the length of one value, in bytes. Defaults to
	// [store.DefaultMaxValueBytes], 256 KiB.
	MaxValueBytes int

	// Now is the clock that decides what has expired, records and leases
	// alike. It must be safe for concurrent use and must not call the store.
	// After moving an injected clock, call [Store.Sweep] to let in the
	// waiters of leases that have run out. Defaults to [time.Now].
	Now func() time.Time
}

// Store is a bounded [store.SessionStore] in memory. Create one with [New].
type Store struct {
	maxEntries    int
	maxValueBytes int
	now           func() time.Time
	locks         lockTable
	counts        *Store // whose entries are counts; nil in itself
	watches       watch.Table

	mu       sync.RWMutex
	entries  map[string]*entry
	byExpiry expiryHeap // the same entries, the next to expire first
}

var (
	_ store.SessionStore = (*Store)(nil)
	_ store.Ephemeral    = (*Store)(nil)
	_ store.Counter      = (*Store)(nil)
	_ store.Watcher      = (*Store)(nil)
)

// New returns an empty store. Changing cfg later has no effect on it. New panics
// if a limit is negative, which is a mistake in the program: nothing else can
// fail.
func New(cfg Config) *Store {
	if cfg.MaxEntries < 0 {
		panic("memstore: Config.MaxEntries: is negative")
	}
	if cfg.MaxValueBytes < 0 {
		panic("memstore: Config.MaxValueBytes: is negative")
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = defaultMaxEntries
	}
	if cfg.MaxValueBytes == 0 {
		cfg.MaxValueBytes = store.DefaultMaxValueBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := newTable(cfg)
	s.counts = newTable(cfg)
	return s
}

// newTable returns an empty store that does not count.
func newTable(cfg Config) *Store {
	return &Store{
		maxEntries:    cfg.MaxEntries,
		maxValueBytes: cfg.MaxValueBytes,
		now:           cfg.Now,
		locks:         lockTable{now: cfg.Now, queues: make(map[string]*queue)},
		entries:       make(map[string]*entry),
	}
}

// Get implements [store.SessionStore]. It never answers from a stale copy.
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, fmt.Errorf("memstore: get: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return nil, time.Time{}, err
	}
	now := s.now()
	value, expiry, ok := s.lookup(key, now)
	if !ok {
		return nil, time.Time{}, store.ErrNotFound
	}
	// Stored slices are replaced, never written to, so copying needs no lock.
	return bytes.Clone(value), expiry, nil
}

// lookup returns the stored slice itself, if the record is live at now.
func (s *Store) lookup(key string, now time.Time) (value []byte, expiry time.Time, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entries[key]
	if e == nil || !e.liveAt(now) {
		return nil, time.Time{}, false
	}
	return e.value, e.expiry, true
}

// Swap implements [store.SessionStore]. It returns [store.ErrFull] when a new
// record finds MaxEntries live ones, and an error that matches
// [store.ErrInvalid] when new is longer than MaxValueBytes.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: swap: %w", err)
	}
	if err := store.CheckSwap(key, new, expiry); err != nil {
		return err
	}
	if err := store.CheckValue(new, s.maxValueBytes); err != nil {
		return err
	}
	now := s.now()
	if new != nil && !now.Before(expiry) {
		new = nil
	}
	value := bytes.Clone(new)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.reclaim(now, reclaimPerWrite)
	e := s.entries[key]
	if e != nil && !e.liveAt(now) {
		s.remove(e)
		e = nil
	}
	if !e.holds(old) {
		return store.ErrConflict
	}
	switch {
	case value == nil && e == nil:
		return nil
	case value == nil:
		s.remove(e)
	case e == nil:
		if err := s.insert(key, value, expiry); err != nil {
			return err
		}
	default:
		e.value, e.expiry = value, wallTime(expiry)
		heap.Fix(&s.byExpiry, e.index)
	}
	s.watches.Changed(key)
	return nil
}

// Extend implements [store.SessionStore].
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: extend: %w", err)
	}
	if err := store.CheckExtend(key, expiry); err != nil {
		return err
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reclaim(now, reclaimPerWrite)
	e := s.entries[key]
	if e == nil || !e.liveAt(now) {
		return store.ErrNotFound
	}
	if expiry.After(e.expiry) {
		e.expiry = wallTime(expiry)
		heap.Fix(&s.byExpiry, e.index)
	}
	return nil
}

// Delete implements [store.SessionStore].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: delete: %w", err)
	}
	if err := store.CheckKey(key); err != nil {
		return err
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil {
		s.remove(e)
		s.watches.Changed(key)
	}
	s.reclaim(now, reclaimPerWrite)
	return nil
}

// Watch implements [store.Watcher].
func (s *Store) Watch(key string) (changed <-chan struct{}, stop func(), ok bool) {
	changed, stop = s.watches.Watch(key)
	return changed, stop, true
}

// Lock implements [store.SessionStore]. Waiters get in in the order in which
// they came. The clock of [Config] decides when a lease has run out.
func (s *Store) Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memstore: lock: %w", err)
	}
	if err := store.CheckLock(key, ttl); err != nil {
		return nil, err
	}
	l, err := s.locks.acquire(ctx, key, ttl)
	if err != nil {
		return nil, fmt.Errorf("memstore: lock: %w", err)
	}
	return func() { s.locks.release(key, l) }, nil
}

// Ephemeral implements [store.Ephemeral]; it reports true.
func (s *Store) Ephemeral() bool { return true }

// Len returns how many records the store holds, counting expired ones that no
// write has reclaimed yet. It is meant for a gauge beside MaxEntries.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}

// Sweep drops every record and count that has expired, and ends every lease that has run
// out, which lets the next waiter in. A store works without it; it is for
// hosts that want expired values out of memory soon, and for tests that have
// moved an injected clock. It costs time in proportion to what it drops and to
// the leases that are held.
func (s *Store) Sweep() {
	now := s.now()
	s.mu.Lock()
	s.reclaim(now, len(s.entries))
	s.mu.Unlock()
	s.counts.mu.Lock()
	s.counts.reclaim(now, len(s.counts.entries))
	s.counts.mu.Unlock()
	s.locks.sweep(now)
}

// insert adds a record that does not exist. The caller holds mu, and has
// reclaimed at least one expired record if there was any, so a store that is
// still full holds live records only.
func (s *Store) insert(key string, value []byte, expiry time.Time) error {
	if len(s.entries) >= s.maxEntries {
		return store.ErrFull
	}
	// A key may be a piece of a large request, which it would keep in memory.
	e := &entry{key: strings.Clone(key), value: value, expiry: wallTime(expiry)}
	s.entries[e.key] = e
	heap.Push(&s.byExpiry, e)
	return nil
}

// remove drops a record from both indexes. The caller holds mu.
func (s *Store) remove(e *entry) {
	delete(s.entries, e.key)
	heap.Remove(&s.byExpiry, e.index)
}

// reclaim drops up to n expired records. The caller holds mu.
func (s *Store) reclaim(now time.Time, n int) {
	for ; n > 0 && len(s.byExpiry) > 0 && !s.byExpiry[0].liveAt(now); n-- {
		s.remove(s.byExpiry[0])
	}
}
