package hybridstore

import (
	"hash/maphash"
	"time"

	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

// before is the state in which an operation with Redis began.
type before struct {
	key                      string
	entry                    *entry // what was last seen, or nil
	lease                    *lease // what this replica holds, or nil
	invalidations, ownWrites uint64
}

var seed = maphash.MakeSeed()

func slot(key string) byte { return byte(maphash.String(seed, key)) }

// begin notes the state before a read or a write.
func (s *Store) begin(key string, write bool) before {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slot(key)
	if write {
		s.ownWrites[i]++
	}
	return before{key: key, entry: s.memory.get(key, time.Now()), lease: s.leases[key], invalidations: s.invalidations[i], ownWrites: s.ownWrites[i]}
}

// saw remembers what a read has got, unless the record has changed meanwhile.
func (s *Store) saw(b before, record redis.Record) {
	s.hasRead(b.lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, now := slot(b.key), s.memory.entries[b.key]
	switch {
	case now != nil && now.kind != seen:
	case now != nil && now.stamp == record.Stamp && now.expiry.Equal(record.Expiry):
		s.memory.touch(now)
	case b.invalidations != s.invalidations[i] || b.ownWrites != s.ownWrites[i]:
		s.memory.forget(b.key)
	default:
		_ = s.memory.put(&entry{key: b.key, value: []byte(record.Value), expiry: record.Expiry, stamp: record.Stamp}, time.Now())
	}
}

// hasRead notes that the holder of a lock knows what the record is.
func (s *Store) hasRead(l *lease) {
	if l != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.read = true
	}
}

// endWrite remembers what a write has left behind, nil for nothing, unless
// another one was under way at the same time: their order is unknown.
func (s *Store) endWrite(b before, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slot(b.key)
	alone := b.ownWrites == s.ownWrites[i]
	s.ownWrites[i]++
	s.memory.forget(b.key)
	if now := s.memory.entries[b.key]; e == nil || !alone || now != nil {
		return
	}
	e.kind = seen
	_ = s.memory.put(e, time.Now())
}

// forget drops what was last seen of a record.
func (s *Store) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.forget(key)
}

// changedElsewhere is called when Redis tells that records have changed, and with
// nil when the connection was lost. What was seen of them is outdated, and is
// not read again: that would cost Redis a read per change and replica.
func (s *Store) changedElsewhere(keys []string) {
	if keys == nil {
		s.look()
		s.watches.All()
		return
	}
	s.mu.Lock()
	for _, key := range keys {
		s.invalidations[slot(key)]++
		s.memory.forget(key)
	}
	s.mu.Unlock()
	s.watches.Changed(keys...)
}
