package hybridstore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// recall returns what is remembered of a record.
func (s *Store) recall(key string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.get(key)
}

// learn remembers a record that was read from Redis. before is what was
// remembered before the reading, in term: if that has changed, something newer
// is.
func (s *Store) learn(ctx context.Context, l *link, key string, before *entry, term uint64, record redisstore.Record) {
	if before != nil && before.stamp == record.Stamp && before.term == l.term.Load() {
		return
	}
	for range 3 {
		e := &entry{key: key, value: []byte(record.Value), expiry: record.Expiry, stamp: record.Stamp, term: term}
		if !s.replace(before, e) || before.isValue() {
			return
		}
		// Redis may have told of a change between reading and remembering, when
		// there was nothing to forget yet. Reading again costs nothing if not.
		term = l.term.Load()
		again, err := l.redis.Read(ctx, key)
		if err == nil && again.Stamp == record.Stamp && term == e.term {
			return
		}
		before = e
		if errors.Is(err, store.ErrNotFound) {
			s.forget(before)
			return
		}
		if err != nil {
			break
		}
		record = again
	}
	s.replace(before, before.unproven())
}

// replace puts a settled entry if what is remembered of its record is still
// before, and no change that is pending.
func (s *Store) replace(before, e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory.get(e.key) != before || before != nil && before.pending {
		return false
	}
	return s.memory.put(e) == nil
}

// remember puts a settled entry that is the latest news, unless a change is
// pending, which was made since in memory.
func (s *Store) remember(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.memory.get(e.key); old == nil || !old.pending {
		_ = s.memory.put(e) // no room means that Redis is away and memory full of changes
		s.memory.touch(e.key)
	}
}

// wrote remembers a record that was written to Redis, and reads it, so that
// Redis tells when somebody else changes it.
func (s *Store) wrote(ctx context.Context, l *link, key string, value []byte, expiry time.Time) {
	e := &entry{key: key, value: bytes.Clone(value), expiry: expiry.Round(0), term: l.term.Load()}
	s.remember(e)
	term := l.term.Load()
	record, err := l.redis.Read(ctx, key)
	if err == nil {
		s.learn(ctx, l, key, e, term, record)
	}
}

// forget drops what is remembered of a record, if that is e, and neither a
// tombstone nor pending.
func (s *Store) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e != nil && !e.pending && e.value != nil && s.memory.get(e.key) == e {
		s.memory.drop(e.key)
	}
}

// bury remembers that a record was deleted.
func (s *Store) bury(key string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.memory.get(key); old == nil || !old.pending {
		_ = s.memory.put(&entry{key: key, expiry: until})
	}
}

// buriedUntil is when no replica can remember a record any more.
func (s *Store) buriedUntil(key string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	expiry := time.Now().Add(tombstoneLife)
	if e := s.memory.get(key); e.isValue() && e.expiry.After(expiry) {
		expiry = e.expiry
	}
	return expiry
}

// onChange is called by the connection when records change that were read.
func (s *Store) onChange(keys []string) {
	if keys == nil {
		// A connection was lost, with Redis or without, or all data deleted.
		s.look()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		e := s.memory.get(key)
		switch {
		case e == nil || e.pending || e.value == nil:
		case s.busy[key] > 0:
			// Probably our own change. Should its answer never come, the value
			// that it replaced is what there is to go on with.
			_ = s.memory.put(e.unproven())
		default:
			s.memory.drop(key)
			select {
			case s.news <- key:
			default:
			}
		}
	}
}

// readNews reads what others have changed, so that this replica knows it also
// when Redis goes away before it is needed.
func (s *Store) readNews() {
	for {
		select {
		case key := <-s.news:
			if s.IsRedisConnected() {
				_, _, _ = s.get(s.background, key)
			}
		case <-s.background.Done():
			return
		}
	}
}

// setBusy counts Swaps that are on their way.
func (s *Store) setBusy(key string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[key] += n; s.busy[key] == 0 {
		delete(s.busy, key)
	}
}

// dataLost tells whether Redis has lost its data rather than this one record,
// of which something is remembered. It then takes Redis out of service, until
// what is remembered is back.
func (s *Store) dataLost(ctx context.Context, l *link, remembered *entry) bool {
	return remembered.live(time.Now()) != nil && s.epochEnded(ctx, l)
}

// epochEnded takes Redis out of service if it has lost its data.
func (s *Store) epochEnded(ctx context.Context, l *link) bool {
	epoch, err := l.redis.Epoch(ctx)
	if err != nil {
		return s.lost(ctx, l, err)
	}
	if epoch == l.epoch {
		return false
	}
	if s.takeOut(l) {
		s.log.Error("❌ Redis has lost its data: restoring what this replica knows")
		s.look()
	}
	return true
}
