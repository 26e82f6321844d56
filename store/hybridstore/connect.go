package hybridstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// connection is what run knows from one time of service to the next.
type connection struct {
	redis *redisstore.Store // nil until the first success
	last  *link             // the last time of service
	terms uint64
	epoch string // of the last attempt
	lost  bool   // Redis has lost its data since the last time of service
	// away tells that Redis was not there before, so other replicas may have
	// something to replay.
	away bool
}

// run connects, watches and reconnects until Close. It reports the outcome of
// the first attempt.
func (s *Store) run(first chan<- error) {
	c := &connection{}
	defer func() {
		if l := s.link.Swap(nil); l != nil {
			l.end()
		}
		if c.redis != nil {
			c.redis.Close()
		}
	}()
	pause := firstRetry
	for s.background.Err() == nil {
		err := s.connect(c)
		if first != nil {
			first <- err
			first = nil
			if err != nil && !redisstore.IsOutage(err) {
				return
			}
		}
		if err == nil {
			pause = firstRetry
			s.watch(c)
			c.away = true
			continue
		}
		c.away = true
		if !redisstore.IsOutage(err) && s.background.Err() == nil {
			s.log.Error("❌ Redis refuses", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-s.background.Done():
		}
		pause = min(2*pause, lastRetry)
	}
}

// connect puts Redis into service, once everything that happened while it was
// away has been replayed.
func (s *Store) connect(c *connection) (err error) {
	select {
	case <-s.kick: // it was about the outage
	default:
	}
	if c.redis == nil {
		c.redis, err = redisstore.New(s.cfg.Redis)
	} else {
		err = c.redis.Ping(s.background)
	}
	if err != nil {
		return err
	}
	epoch, err := c.redis.Epoch(s.background)
	if err != nil {
		return err
	}
	c.lost = c.lost || c.epoch != "" && c.epoch != epoch
	c.epoch = epoch
	c.terms++
	r := &replay{s: s, redis: c.redis, lost: c.lost, term: c.terms}
	// Also a Redis that has kept its data may have lost the latest of them.
	if err := c.redis.Relock(s.background); err != nil {
		return err
	}
	if r.lost {
		if err := r.restore(c.last.provenFrom()); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			s.goneAgain()
		}
	}()
	if err := s.endAlone(); err != nil {
		return err
	}
	l := newLink(c.redis, epoch)
	catchUp := lastRetry + s.cfg.Redis.OpTimeout // of other replicas, once Redis is there
	if c.away {
		l.locksFrom = time.Now().Add(catchUp)
	}
	young, err := c.redis.EpochIsYoungFor(s.background)
	if err != nil {
		return err
	}
	if r.lost {
		young = redisstore.YoungEpoch
	}
	l.sureFrom = time.Now().Add(young)
	if others := l.sureFrom.Add(catchUp - redisstore.YoungEpoch); others.After(l.locksFrom) {
		l.locksFrom = others // whose leases may have been lost with the data
	}
	l.term.Store(c.terms)
	if err := r.changes(l); err != nil {
		return err
	}
	c.lost = false
	if c.last == nil {
		s.log.Info("✅ Redis is connected", "caching", c.redis.Caching(), "created", r.created.Load())
	} else {
		s.log.Info("✅ Redis is back", "restored", r.restored.Load(), "created", r.created.Load(), "updated", r.updated.Load(),
			"deleted", r.deleted.Load(), "merged", r.merged.Load(), "conflicts", r.conflicts.Load())
	}
	c.last = l
	s.verify(l)
	return nil
}

// watch returns when Redis is out of service.
func (s *Store) watch(c *connection) {
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for s.link.Load() == c.last {
		kicked := false
		select {
		case <-s.background.Done():
			return
		case <-s.kick:
			kicked = true
		case <-ticker.C:
		}
		if s.link.Load() != c.last || s.epochEnded(s.background, c.last) || s.background.Err() != nil {
			continue
		}
		if kicked {
			// The connection was made anew, perhaps to a Redis that has failed over:
			// nobody has told of changes meanwhile, and leases may be gone.
			_ = c.redis.Relock(s.background)
			c.terms++
			c.last.term.Store(c.terms)
			s.verify(c.last)
		}
	}
}

// verify reads again what is remembered from before this term, which forgets
// what has gone and has Redis tell of changes from here on.
func (s *Store) verify(l *link) {
	s.mu.Lock()
	entries := s.memory.settledEntries()
	s.mu.Unlock()
	term := l.term.Load()
	s.work.Go(func() {
		_ = inParallel(entries, func(e *entry) error {
			if s.link.Load() != l || l.term.Load() != term || s.background.Err() != nil {
				return ErrClosed // no more of this
			}
			if e.value != nil {
				_, _ = s.get(s.background, e.key)
			}
			return nil
		})
	})
}

// inParallel calls f for each entry, for many at a time: each is a round trip.
// After the first error it calls f no more, and returns it.
func inParallel(entries []*entry, f func(*entry) error) (err error) {
	var wg sync.WaitGroup
	var failed atomic.Bool
	work := make(chan *entry)
	for range min(roundTrips, len(entries)) {
		wg.Go(func() {
			for e := range work {
				if failed.Load() {
					continue
				}
				if failure := f(e); failure != nil && failed.CompareAndSwap(false, true) {
					err = failure
				}
			}
		})
	}
	for _, e := range entries {
		work <- e
	}
	close(work)
	wg.Wait()
	return err
}

// replay brings to Redis what it does not know.
type replay struct {
	s     *Store
	redis *redisstore.Store
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
	return inParallel(entries, func(e *entry) (err error) {
		switch {
		case !now.Before(e.expiry):
			return nil
		case e.value == nil:
			err = r.redis.Bury(r.s.background, e.key, e.expiry, false)
		case e.term >= from && r.redis.Caching():
			if err = r.bringBack(e); err == nil {
				r.restored.Add(1)
				// Should Redis lose its data again, before this was read.
				proven := *e
				proven.term, proven.stamp = r.term, ""
				r.s.replace(e, &proven)
			}
		}
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		return err
	})
}

// bringBack restores one record. Another replica may have restored what this one
// had replaced just before Redis lost it, and that one had not heard of.
func (r *replay) bringBack(e *entry) error {
	r.s.setBusy(e.key, 1) // so that this change does not have it forgotten
	defer r.s.setBusy(e.key, -1)
	restore := r.redis.Restore
	if e.stamp == "" { // written and never read: nobody would have told of a change
		restore = r.redis.RestoreDoubtful
	}
	err := restore(r.s.background, e.key, e.value, e.expiry)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	record, err := r.redis.Read(r.s.background, e.key)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, redisstore.ErrForeign):
		return store.ErrConflict
	case err != nil:
		return err
	case !e.tookThePlaceOf(record.Value):
		return store.ErrConflict
	}
	return r.redis.Swap(r.s.background, e.key, []byte(record.Value), e.value, e.expiry)
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
	known := &entry{key: e.key, value: e.value, expiry: e.expiry, term: r.term}
	if e.base != nil {
		known.replaced = sha256.Sum256(e.base)
	}
	err := r.apply(ctx, e)
	if err == nil {
		return known, nil
	}
	if !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	record, err := r.redis.Read(ctx, e.key)
	switch {
	case err == nil && e.value != nil && record.Value == string(e.value):
		return known, nil // its own first attempt
	case err == nil && (e.expects(record.Value) || r.lost && e.tookThePlaceOf(record.Value)):
		next := *e
		next.base, next.maybe = []byte(record.Value), nil
		return r.change(ctx, &next)
	case err == nil:
		if next := r.join(e, record); next != nil {
			r.merged.Add(1)
			return r.change(ctx, next)
		}
	case errors.Is(err, redisstore.ErrForeign):
		err = nil // whatever that is, it is nobody's change
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	case e.value == nil:
		return nil, nil // so it was deleted
	case e.fresh:
		// What it replaces had ended by itself.
		if err = r.redis.Swap(ctx, e.key, nil, e.value, e.expiry); err == nil {
			return known, nil
		}
	case r.lost:
		if err = r.redis.Restore(ctx, e.key, e.value, e.expiry); err == nil {
			return known, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
		if _, readErr := r.redis.Read(ctx, e.key); readErr == nil {
			// Another replica has restored the record in this moment: probably
			// what the change was made from.
			return r.change(ctx, e)
		}
	}
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	r.conflicts.Add(1)
	r.s.log.Warn("⚠️ a record was changed in memory and in Redis: Redis wins")
	return nil, nil
}

// join returns a change from what Redis has to what it and e are together, or
// nil if nobody knows what that is.
func (r *replay) join(e *entry, record redisstore.Record) *entry {
	r.s.mu.Lock()
	merge := r.s.merge
	r.s.mu.Unlock()
	if merge == nil || e.value == nil {
		return nil
	}
	theirs := []byte(record.Value)
	value, ok := merge(e.key, bytes.Clone(e.base), bytes.Clone(e.value), bytes.Clone(theirs))
	if !ok || value == nil {
		return nil
	}
	next := &entry{key: e.key, value: value, expiry: e.expiry, pending: true, base: theirs}
	if record.Expiry.After(e.expiry) {
		next.expiry = record.Expiry
	}
	return next
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
		return r.redis.Swap(ctx, e.key, nil, e.value, e.expiry)
	}
	r.updated.Add(1)
	return r.redis.Swap(ctx, e.key, e.base, e.value, e.expiry)
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
