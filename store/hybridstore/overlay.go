package hybridstore

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

var (
	// errUnsure is the outcome for a record that this replica has not seen,
	// while Redis is away.
	errUnsure = fmt.Errorf("hybridstore: Redis is away: %w", store.ErrUnsure)

	// errReadOnly is the outcome of a Swap or a Lock of a record from before the
	// outage: another replica may have the record, too.
	errReadOnly = errors.New("hybridstore: Redis is away, and records from before the outage are read-only")

	// errMaybeCreated is the outcome of a creation that Redis may have got. Other
	// replicas may have seen the record and removed it by the time this one could
	// tell Redis of it.
	errMaybeCreated = errors.New("hybridstore: Redis has gone away during a creation")

	// errBack says that Redis has come back, so that an operation is not done in
	// memory.
	errBack = errors.New("redis is back")
)

// inMemory runs an operation on what this replica knows, unless Redis is back.
func (s *Store) inMemory(key string, op func(now time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.Load() != nil && !s.waits(key) {
		return errBack
	}
	return op(time.Now())
}

// waits reports whether this replica has granted the lock itself, and the lock is
// held: until it is given back, the holder goes on as if Redis were away, because
// another replica may have the same lock in Redis. The caller holds mu.
func (s *Store) waits(key string) bool {
	holder := s.holders[key]
	return holder != nil && time.Now().Before(holder.until)
}

// mayChange reports whether this replica may change a record from before the
// outage: no other replica exists, or Redis has granted this one the lock and
// shown it the record. The caller holds mu.
func (s *Store) mayChange(key string, now time.Time) bool {
	l := s.leases[key]
	return s.cfg.OnlyReplica || l != nil && l.read && now.Before(l.until)
}

// usableEntry returns the entry that this replica may use for a record, or nil. A lock holder
// that has not read the record since it got the lock may have an outdated one.
// The caller holds mu.
func (s *Store) usableEntry(key string, now time.Time) *entry {
	e := s.memory.get(key, now)
	if l := s.leases[key]; e != nil && e.kind == seen && l != nil && !l.read && !s.cfg.OnlyReplica {
		return nil
	}
	return e
}

// getAway is Get while Redis is away. The callers of getAway, swapAway, takeAway,
// extendAway and deleteAway hold mu.
func (s *Store) getAway(key string, now time.Time) (value []byte, expiry time.Time, err error) {
	e := s.usableEntry(key, now)
	switch {
	case e == nil:
		return nil, time.Time{}, errUnsure
	case e.value == nil:
		return nil, time.Time{}, store.ErrNotFound
	}
	s.memory.touch(e)
	return append([]byte{}, e.value...), e.expiry, nil
}

// swapAway is Swap while Redis is away. w.Sent says that Redis may have got it.
func (s *Store) swapAway(key string, w redis.Write, now time.Time) error {
	if w.Old == nil && w.Sent && !s.cfg.OnlyReplica {
		return errMaybeCreated
	}
	e := s.usableEntry(key, now)
	if e == nil {
		switch {
		case w.Old != nil && s.mayChange(key, now):
			e = &entry{key: key, value: w.Old, expiry: now.Add(time.Hour)} // read, and dropped since
		case w.Old != nil || w.New == nil:
			return errUnsure
		default:
			e = &entry{key: key, kind: created, stamp: w.Stamp}
		}
	}
	if e.fromBefore() && !s.mayChange(key, now) {
		return errReadOnly
	}
	if (e.value == nil) != (w.Old == nil) || !bytes.Equal(e.value, w.Old) {
		return store.ErrConflict
	}
	next := *e
	next.place, next.value, next.expiry = nil, bytes.Clone(w.New), w.Expiry.Round(0)
	next.sent = e.sent || w.Sent
	switch e.kind {
	case seen, extended:
		next.kind, next.base, next.stamp = changed, e.value, w.Stamp
	case removed:
		next.kind, next.replaces, next.stamp = created, e, w.Stamp
	}
	if w.New == nil || next.expired(now) {
		return s.takeAway(&next, e, now)
	}
	return s.memory.put(&next, now)
}

// takeAway completes a Swap of e for nothing. next is what e would become.
func (s *Store) takeAway(next, e *entry, now time.Time) error {
	if next.kind != changed {
		return s.memory.put(e.removal(), now)
	}
	next.value, next.expiry = nil, e.expiry
	return s.memory.put(next, now)
}

// extendAway is Extend while Redis is away.
func (s *Store) extendAway(key string, expiry, now time.Time) error {
	e := s.usableEntry(key, now)
	switch {
	case e == nil:
		return errUnsure
	case e.value == nil:
		return store.ErrNotFound
	case !expiry.After(e.expiry):
		return nil
	}
	next := *e
	next.place, next.expiry = nil, expiry.Round(0)
	if next.kind == seen {
		next.kind = extended
	}
	return s.memory.put(&next, now)
}

// deleteAway is Delete while Redis is away. It is never refused.
func (s *Store) deleteAway(key string, now time.Time) error {
	gone := &entry{key: key, kind: removed}
	if e := s.memory.get(key, now); e != nil {
		gone = e.removal()
	}
	return s.memory.put(gone, now)
}
