package memstore

import (
	"bytes"
	"time"
)

// entry is one record. Its value is never written to after it was stored;
// an update stores another slice.
type entry struct {
	key    string
	value  []byte // never nil
	expiry time.Time
	index  int // in the expiryHeap
}

// liveAt reports whether the record has not expired at now.
func (e *entry) liveAt(now time.Time) bool { return now.Before(e.expiry) }

// holds reports whether the stored value is old, in the sense of
// SessionStore.Swap: a nil entry is one that is absent, and only a nil old
// matches it.
func (e *entry) holds(old []byte) bool {
	if e == nil || old == nil {
		return e == nil && old == nil
	}
	return bytes.Equal(e.value, old)
}

// wallTime drops the monotonic reading: an expiry is a moment that people and
// other machines agree on, also after the machine has slept.
func wallTime(t time.Time) time.Time { return t.Round(0) }

// expiryHeap orders entries by expiry, the next to expire first, for
// [container/heap]. It makes "is anything expired?" a look at one entry.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expiry.Before(h[j].expiry) }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push appends an *entry.
func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop removes the last entry.
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
