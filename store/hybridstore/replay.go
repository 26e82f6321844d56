package hybridstore

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// replay brings to Redis what it does not know.
type replay struct {
	s     *Store
	redis *redisstore.Store
	epoch string // of Redis's data
	lost  bool   // Redis has lost its data
	term  uint64 // the one that begins

	restored, created, updated, deleted, merged, conflicts atomic.Int64
}

// restore brings back what Redis has lost, as far as this replica was up to
// date about it in the term from or later, and keeps other replicas from
// bringing back what was deleted.
func (r *replay) restore(from uint64) error {
	r.s.mu.Lock()
	entries := r.s.memory.settledEntries()
	r.s.mu.Unlock()
	now := time.Now()
	return inParallel(entries, func(e *entry) error {
		switch {
		case !now.Before(e.expiry):
			return nil
		case e.value == nil:
			err := r.redis.Bury(r.s.background, e.key, e.expiry, false)
			if errors.Is(err, store.ErrConflict) {
				err = nil // created since
			}
			return err
		case e.term < from || !r.redis.Caching():
			return nil
		}
		known, err := r.bringBack(e)
		if known != nil {
			r.s.replace(e, known) // should Redis lose its data again, before this was read
		}
		return err
	})
}

// bringBack restores one record, and returns what is to be remembered of it, or
// nil if Redis has something else. Another replica may have restored what this
// one knows a later state of, or the other way round: of a change just before
// Redis lost its data not everybody has heard.
func (r *replay) bringBack(e *entry) (*entry, error) {
	ctx := r.s.background
	r.s.setBusy(e.key, 1) // so that this change does not have it forgotten
	defer r.s.setBusy(e.key, -1)
	err := r.redis.Restore(ctx, e.key, e.value, e.expiry)
	if err == nil {
		r.restored.Add(1)
		return r.known(e), nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	record, err := r.redis.Read(ctx, e.key)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, redisstore.ErrForeign):
		return nil, nil // it was deleted
	case err != nil || record.Value == string(e.value):
		return nil, err
	}
	return r.joined(ctx, e, &record)
}

// changes replays the changes made in memory, also those that are made
// meanwhile, and puts Redis into service in the moment when there are none.
func (r *replay) changes(l *link) error {
	for round := 1; ; round++ {
		r.s.mu.Lock()
		r.s.outage.closing = round >= lastRound
		entries := r.s.memory.pendingEntries()
		if len(entries) == 0 {
			r.s.putIn(l)
			r.s.mu.Unlock()
			return nil
		}
		r.s.mu.Unlock()
		err := inParallel(entries, func(e *entry) error {
			settled, err := r.change(r.s.background, e)
			if err != nil {
				r.interrupted(e)
				return err
			}
			r.settle(e, settled)
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// change replays one change and returns what is to be remembered of the record.
// It returns nil if Redis has something else.
func (r *replay) change(ctx context.Context, e *entry) (*entry, error) {
	err := r.apply(ctx, e)
	if err == nil {
		return r.known(e), nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	record, err := r.redis.Read(ctx, e.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r.changeOfNothing(ctx, e)
	case errors.Is(err, redisstore.ErrForeign):
		return r.conflict() // whatever that is, it is nobody's change
	case err != nil:
		return nil, err
	case e.value != nil && record.Value == string(e.value):
		return r.known(e), nil // its own first attempt
	case e.expects(record.Value):
		next := *e
		next.base, next.maybe = []byte(record.Value), nil
		return r.change(ctx, &next)
	}
	return r.joined(ctx, e, &record)
}

// changeOfNothing is change where Redis has nothing.
func (r *replay) changeOfNothing(ctx context.Context, e *entry) (*entry, error) {
	err := store.ErrConflict
	switch {
	case e.value == nil && r.lost: // others may remember what it was
		err = r.redis.Bury(ctx, e.key, e.expiry, false)
	case e.value == nil:
		return nil, nil // so it was deleted
	case e.fresh: // what it replaces had ended by itself
		err = r.create(ctx, e)
	case r.lost:
		err = r.redis.Restore(ctx, e.key, e.value, e.expiry)
	default: // it was deleted, unless Redis has lost its data in this very moment
		if epoch, err := r.redis.Epoch(ctx); err != nil {
			return nil, err
		} else if epoch != r.epoch {
			return nil, errDataLost
		}
	}
	if err == nil {
		return r.known(e), nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	if r.lost {
		if _, err := r.redis.Read(ctx, e.key); err == nil {
			// Another replica has restored the record in this moment: probably
			// what the change was made from.
			return r.change(ctx, e)
		}
	}
	return r.joined(ctx, e, nil)
}

// known is what is to be remembered of a change that Redis has.
func (r *replay) known(e *entry) *entry {
	return &entry{key: e.key, value: e.value, expiry: e.expiry, term: r.term}
}

// joined makes one record of a change and of what Redis has instead of what it
// was made from, which is nil for nothing. Otherwise Redis wins.
func (r *replay) joined(ctx context.Context, e *entry, record *redisstore.Record) (*entry, error) {
	r.s.mu.Lock()
	merge := r.s.merge
	r.s.mu.Unlock()
	if merge == nil || e.value == nil {
		return r.conflict()
	}
	next := &entry{key: e.key, expiry: e.expiry, pending: true}
	if record != nil {
		next.base = []byte(record.Value)
		if record.Expiry.After(e.expiry) {
			next.expiry = record.Expiry
		}
	}
	merged, ok := merge(e.key, bytes.Clone(e.base), bytes.Clone(e.value), bytes.Clone(next.base))
	if !ok || merged == nil {
		return r.conflict()
	}
	next.value = merged
	r.merged.Add(1)
	return r.change(ctx, next)
}

// conflict is the outcome where Redis has something else, which stays.
func (r *replay) conflict() (*entry, error) {
	r.conflicts.Add(1)
	r.s.log.Warn("⚠️ a record was changed in memory and in Redis: Redis wins")
	return nil, nil
}

// apply makes a change in Redis.
func (r *replay) apply(ctx context.Context, e *entry) error {
	switch {
	case e.value == nil && e.force:
		r.deleted.Add(1)
		return r.redis.Bury(ctx, e.key, e.expiry, true)
	case e.value == nil:
		r.deleted.Add(1)
		return r.redis.Swap(ctx, e.key, e.base, nil, time.Time{})
	case e.base == nil || e.force:
		r.created.Add(1)
		if e.force { // deleted first, whatever was there
			if err := r.redis.Bury(ctx, e.key, e.expiry, true); err != nil {
				return err
			}
		}
		return r.create(ctx, e)
	}
	r.updated.Add(1)
	return r.redis.Swap(ctx, e.key, e.base, e.value, e.expiry)
}

// create makes a record in Redis. An earlier attempt may have arrived and its
// record have been deleted since, which has left a tombstone.
func (r *replay) create(ctx context.Context, e *entry) error {
	if len(e.maybe) > 0 && !e.force {
		return r.redis.Restore(ctx, e.key, e.value, e.expiry)
	}
	return r.redis.Swap(ctx, e.key, nil, e.value, e.expiry)
}

// interrupted remembers that a change may have arrived.
func (r *replay) interrupted(e *entry) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if now := r.s.memory.get(e.key); now != nil && now.pending {
		next := *now
		next.mayBe(e.value)
		_ = r.s.memory.put(&next)
	} else if now == nil && e.value != nil {
		next := &entry{key: e.key, expiry: e.expiry, pending: true}
		next.mayBe(e.value)
		_ = r.s.memory.put(next)
	}
}

// settle remembers the outcome of a replayed change. If the record was changed
// again meanwhile, that change is based on this one, also if Redis now has this
// one and another replica's.
func (r *replay) settle(e, settled *entry) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	now := r.s.memory.get(e.key)
	switch {
	case now == e && settled == nil:
		r.s.memory.drop(e.key)
	case now == e:
		_ = r.s.memory.put(settled)
	case now == nil && settled != nil && e.value != nil:
		// It was deleted when Redis had not heard of it, as far as anybody knew.
		_ = r.s.memory.put(&entry{key: e.key, expiry: e.expiry, pending: true, base: settled.value})
	case now != nil && now.pending && settled != nil:
		// Redis has e by now: whoever finds nothing there finds it removed.
		next := *now
		next.base, next.maybe, next.fresh = e.value, nil, false
		next.force = next.force && next.value == nil
		_ = r.s.memory.put(&next)
	}
}
