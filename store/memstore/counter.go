package memstore

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// Add implements [store.Counter]. It returns [store.ErrFull] when a new count
// finds MaxEntries live ones; counts take no room from records.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("memstore: add: %w", err)
	}
	if err := store.CheckAdd(key, expiry); err != nil {
		return 0, err
	}
	now := s.now()
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	return s.counts.add(key, n, expiry, now)
}

// add is Add on a store whose entries are counts. The caller holds mu.
func (s *Store) add(key string, n int64, expiry, now time.Time) (total int64, err error) {
	s.reclaim(now, reclaimPerWrite)
	e := s.entries[key]
	if e != nil && !e.liveAt(now) {
		s.remove(e)
		e = nil
	}
	if e != nil {
		n += int64(binary.BigEndian.Uint64(e.value))
	}
	value := binary.BigEndian.AppendUint64(nil, uint64(n))
	switch {
	case e != nil:
		e.value, e.expiry = value, wallTime(expiry)
		heap.Fix(&s.byExpiry, e.index)
	case now.Before(expiry):
		err = s.insert(key, value, expiry)
	}
	return n, err
}
