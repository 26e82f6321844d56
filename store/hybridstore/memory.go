package hybridstore

import (
	"container/list"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

// kind is the change of an entry that is not in Redis yet.
type kind byte

const (
	seen     kind = iota // nothing: the entry is what Redis had
	extended             // a later expiry
	created              // a record that this replica has created
	changed              // another value, or none, in the place of base
	removed              // that the record is gone, whatever its value
)

// entry is what this replica knows of a record. An entry that is in the memory
// is not written to: a change puts another one in its place.
type entry struct {
	key    string
	kind   kind
	value  []byte // nil: absent
	expiry time.Time
	base   []byte      // the value in Redis that a change replaces
	stamp  redis.Stamp // of every attempt to write this to Redis
	// sent says that an attempt may have reached Redis.
	sent bool
	// replaces is the removal that precedes a creation, and that Redis has not taken yet.
	replaces *entry
	// unlock gives back the lock in Redis under which the record was changed.
	unlock func()

	place *list.Element // in memory.used, if the entry can be dropped for another
}

// fromBefore reports whether the record is older than the outage.
func (e *entry) fromBefore() bool { return e.kind == seen || e.kind == extended || e.kind == changed }

// entryOverhead is about what an entry takes beside its key and its values.
const entryOverhead = 300

func (e *entry) size() int64 { return int64(len(e.key) + len(e.value) + len(e.base) + entryOverhead) }

// memory is what a replica goes on with while Redis is away: what it has last
// seen there, and the overlay of what it has changed since. Store.mu guards it.
type memory struct {
	maxEntries int
	maxBytes   int64

	entries map[string]*entry
	bytes   int64
	overlay map[string]*entry // the entries with a change that is not in Redis yet
	used    list.List         // of the entries that can be dropped, the last used first
	swept   time.Time
}

func newMemory(maxEntries int, maxBytes int64) memory {
	return memory{
		maxEntries: maxEntries, maxBytes: maxBytes,
		entries: make(map[string]*entry), overlay: make(map[string]*entry),
	}
}

// get returns the live entry or the removal under key, or nil.
func (m *memory) get(key string, now time.Time) *entry {
	e := m.entries[key]
	if e != nil && e.expired(now) {
		return m.expire(e, now)
	}
	return e
}

// expire drops an entry that has expired, and returns the removal that preceded it if
// that is still to be told to Redis.
func (m *memory) expire(e *entry, now time.Time) *entry {
	if e.replaces == nil || e.replaces.expired(now) {
		m.drop(e.key)
		return nil
	}
	_ = m.put(e.replaces, now)
	return e.replaces
}

// removal returns the removal of a record, and of the one that it has replaced.
func (e *entry) removal() *entry {
	gone := &entry{key: e.key, kind: removed, expiry: e.expiry, unlock: e.unlock}
	if r := e.replaces; r != nil && (r.expiry.IsZero() || r.expiry.After(gone.expiry)) {
		gone.expiry = r.expiry
	}
	return gone
}

// expired reports whether the record has expired. A removal of a record whose
// expiry is unknown has none.
func (e *entry) expired(now time.Time) bool { return !e.expiry.IsZero() && !now.Before(e.expiry) }

// put replaces the entry under the same key, and drops the least recently used ones
// to make room. It returns [store.ErrFull] if that is not enough for a new record.
func (m *memory) put(e *entry, now time.Time) error {
	known := m.entries[e.key] != nil
	m.drop(e.key)
	if !known {
		e.key = strings.Clone(e.key) // which may be a piece of a large request
	}
	m.entries[e.key] = e
	m.bytes += e.size()
	if e.kind != seen {
		m.overlay[e.key] = e
	}
	if e.kind == seen || e.kind == extended {
		e.place = m.used.PushFront(e)
	}
	for m.full() && m.used.Len() > 0 {
		m.drop(m.used.Back().Value.(*entry).key)
	}
	if e.kind == created && !known && m.full() {
		m.reclaim(now, time.Second)
		if m.full() {
			m.drop(e.key)
			return store.ErrFull
		}
	}
	return nil
}

func (m *memory) full() bool { return len(m.entries) > m.maxEntries || m.bytes > m.maxBytes }

// drop forgets what is under key.
func (m *memory) drop(key string) {
	e := m.entries[key]
	if e == nil {
		return
	}
	delete(m.entries, key)
	delete(m.overlay, key)
	m.bytes -= e.size()
	if e.place != nil {
		m.used.Remove(e.place)
	}
}

// forget drops what was last seen, and no change that is not in Redis yet.
func (m *memory) forget(key string) {
	if e := m.entries[key]; e != nil && e.kind == seen {
		m.drop(key)
	}
}

// touch notes that an entry is used.
func (m *memory) touch(e *entry) {
	if e.place != nil {
		m.used.MoveToFront(e.place)
	}
}

// reclaim drops what has expired. It looks at everything, once in a pause at most.
func (m *memory) reclaim(now time.Time, pause time.Duration) {
	if now.Sub(m.swept) < pause {
		return
	}
	m.swept = now
	for _, e := range m.entries {
		if e.expired(now) {
			m.expire(e, now)
		}
	}
}
