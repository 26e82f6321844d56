package hybridstore

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// tombstoneLife is how long a deleted record is remembered whose expiry is not
// known. Sessions live for a day after their last use by default.
const tombstoneLife = 48 * time.Hour

// mostDigests bounds what is remembered of attempts with an unknown outcome.
const mostDigests = 16

// entry is what is known of one record. It is never changed after it was put
// into a memory; a change puts another one, so whoever compares pointers knows
// whether something has happened in between.
type entry struct {
	key    string
	value  []byte // nil: deleted, a tombstone
	expiry time.Time
	stamp  string // Redis's, if value was read from there

	// An entry that Redis does not know yet is pending. base is what Redis had
	// when it was last heard of, nil for nothing. force: there was a Delete,
	// which does not care about that. fresh: value was created, not made from
	// base. maybe has the digests of what Redis may have instead of base, since
	// an attempt may have arrived whose answer did not.
	pending bool
	base    []byte
	maybe   []digest
	force   bool
	fresh   bool

	// term is the time of service of a connection in which Redis told about
	// changes to the record since it was read, or zero.
	term uint64
}

// live returns the value, or nil if there is none at now.
func (e *entry) live(now time.Time) []byte {
	if e == nil || e.value == nil || !now.Before(e.expiry) {
		return nil
	}
	return e.value
}

// isValue tells an entry from none, and from a tombstone.
func (e *entry) isValue() bool { return e != nil && e.value != nil }

// unproven is e where Redis may have something newer by now.
func (e *entry) unproven() *entry {
	copied := *e
	copied.term, copied.stamp = 0, ""
	return &copied
}

// shared tells whether other replicas may know the record.
func (e *entry) shared() bool {
	return e.isValue() && (!e.pending || !e.fresh || len(e.maybe) > 0)
}

// digest is the SHA-256 of a value.
type digest = [sha256.Size]byte

// mayBe adds a value that Redis may have. Of many only the last ones are kept.
func (e *entry) mayBe(value []byte) {
	sum := sha256.Sum256(value)
	if value == nil || slices.Contains(e.maybe, sum) {
		return
	}
	e.maybe = append(slices.Clone(e.maybe[max(0, len(e.maybe)-mostDigests+1):]), sum)
}

// expects tells whether a value in Redis is one that an attempt of ours left.
func (e *entry) expects(value string) bool {
	return slices.Contains(e.maybe, sha256.Sum256([]byte(value)))
}

// memory is what this replica knows: entries by key, of which those that Redis
// knows too can be forgotten, the least recently used first. It is not safe
// for concurrent use.
type memory struct {
	most    int
	entries map[string]*list.Element // of *entry
	settled list.List                // entries that are not pending, the most recently used in front
	waiting list.List                // pending entries, in the order of their changes
}

func newMemory(most int) memory {
	return memory{most: most, entries: make(map[string]*list.Element)}
}

// get returns the entry of key, or nil.
func (m *memory) get(key string) *entry {
	if el := m.entries[key]; el != nil {
		return el.Value.(*entry)
	}
	return nil
}

// touch makes an entry the last one to be forgotten.
func (m *memory) touch(key string) {
	if el := m.entries[key]; el != nil && !el.Value.(*entry).pending {
		m.settled.MoveToFront(el)
	}
}

// drop forgets the entry of key, if there is one.
func (m *memory) drop(key string) {
	el := m.entries[key]
	if el == nil {
		return
	}
	delete(m.entries, key)
	if el.Value.(*entry).pending {
		m.waiting.Remove(el)
	} else {
		m.settled.Remove(el)
	}
}

// put replaces the entry of e.key. It returns ErrFull if there is no room for
// another one, which is only when all others are pending.
func (m *memory) put(e *entry) error {
	if m.entries[e.key] == nil && len(m.entries) >= m.most {
		oldest := m.settled.Back()
		if oldest == nil {
			return store.ErrFull
		}
		m.drop(oldest.Value.(*entry).key)
	}
	if el := m.entries[e.key]; el != nil && el.Value.(*entry).pending == e.pending {
		el.Value = e // in its place
		return nil
	}
	m.drop(e.key)
	if e.pending {
		m.entries[e.key] = m.waiting.PushBack(e)
	} else {
		m.entries[e.key] = m.settled.PushFront(e)
	}
	return nil
}

// pendingEntries returns the entries that Redis does not know, those that were
// changed first in front.
func (m *memory) pendingEntries() []*entry { return collect(&m.waiting) }

// settledEntries returns the others.
func (m *memory) settledEntries() []*entry { return collect(&m.settled) }

func collect(l *list.List) []*entry {
	var entries []*entry
	for el := l.Front(); el != nil; el = el.Next() {
		entries = append(entries, el.Value.(*entry))
	}
	return entries
}

// swap is SessionStore.Swap on what this replica knows. With interrupted, it was
// tried in Redis before, with an unknown outcome.
func (m *memory) swap(key string, old, new []byte, expiry, now time.Time, interrupted bool) error {
	e := m.get(key)
	current := e.live(now)
	if interrupted && new != nil && current != nil && bytes.Equal(current, new) {
		return nil // it did arrive, and was read from there
	}
	if (current == nil) != (old == nil) || !bytes.Equal(current, old) {
		return store.ErrConflict
	}
	next := &entry{key: key, pending: true, base: e.baseAt(now)}
	if e != nil && e.pending {
		next.maybe, next.force = e.maybe, e.force
	}
	if interrupted {
		next.mayBe(new)
	}
	switch {
	case new != nil && now.Before(expiry):
		next.value, next.expiry = bytes.Clone(new), expiry.Round(0)
		next.fresh = old == nil || e.fresh
	case current == nil:
		return nil
	case next.base == nil && len(next.maybe) == 0 && !next.force:
		m.drop(key) // Redis never heard of it
		return nil
	default:
		next.expiry = e.expiry
	}
	return m.put(next)
}

// delete is SessionStore.Delete on what this replica knows. A record that it
// does not know may be in Redis all the same.
func (m *memory) delete(key string, now time.Time) error {
	e := m.get(key)
	expiry := now.Add(tombstoneLife)
	if e != nil && e.value != nil {
		expiry = e.expiry
	}
	return m.put(&entry{key: key, expiry: expiry, pending: true, base: e.baseAt(now), force: true})
}

// baseAt is what Redis has under e.key at now, as far as is known.
func (e *entry) baseAt(now time.Time) []byte {
	if e != nil && e.pending {
		return e.base
	}
	return e.live(now)
}
