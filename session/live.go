package session

import (
	"bytes"
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// liveSession is a session that this replica has in memory: its client, and
// the record as last seen. It can be dropped at any time; the record in the
// store is the session.
type liveSession struct {
	m      *Manager
	key    string
	client *oauthclient.MCPOAuthClient

	// of the record that the client was made for
	serverURL string
	created   time.Time
	grants    int

	// guarded by liveTable.mu
	busy    int           // operations in progress
	used    time.Time     // the last of them
	elem    *list.Element // in liveTable.order; nil once dropped
	retired bool          // dropped while busy; the last operation closes it

	mu      sync.Mutex
	value   []byte // the stored bytes of rec
	rec     *record
	removed bool     // the record is gone for good; rec is what it was, if known
	begun   []string // IDs of attempts begun here that nobody was told of yet
}

// serves tells whether the client suits a record: it was made for it, and not
// before the user authorized anew. An MCP session belongs to the account that
// opened it, and that may have become another one.
func (l *liveSession) serves(r *record) bool {
	return l.created.Equal(r.Created) && l.grants >= r.Grants
}

// seen returns the record that value decodes to, if it was seen before.
func (l *liveSession) seen(value []byte) *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rec != nil && bytes.Equal(l.value, value) {
		return l.rec
	}
	return nil
}

func (l *liveSession) saw(value []byte, r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.removed {
		l.value, l.rec = value, r
	}
}

// maxBegun bounds liveSession.begun. More attempts than this, none of whose
// callers waited for the answer, are not worth remembering.
const maxBegun = 16

func (l *liveSession) noteBegun(attemptID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.begun) == maxBegun {
		l.begun = slices.Delete(l.begun, 0, 1)
	}
	l.begun = append(l.begun, attemptID)
}

// takeBegun reports true to the first who asks about an attempt begun here.
func (l *liveSession) takeBegun(attemptID string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.begun, attemptID)
	if i >= 0 {
		l.begun = slices.Delete(l.begun, i, i+1)
	}
	return i >= 0
}

// remove marks the record as gone. Its last state, if known, is kept for the
// goodbye to the servers.
func (l *liveSession) remove(last *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = true
	if last != nil {
		l.rec = last
	}
}

func (l *liveSession) isRemoved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed
}

// lastCredentials returns the credentials of a removed session.
func (l *liveSession) lastCredentials() oauthclient.Credentials {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec.creds
}

// liveTable holds the live sessions of a Manager in order of use.
type liveTable struct {
	limit int
	now   func() time.Time

	mu     sync.Mutex
	byKey  map[string]*liveSession
	order  *list.List // most recently used first
	closed bool
}

func newLiveTable(limit int, now func() time.Time) *liveTable {
	return &liveTable{limit: limit, now: now, byKey: make(map[string]*liveSession), order: list.New()}
}

// peek returns a live session without using it, or nil.
func (t *liveTable) peek(key string) *liveSession {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[key]
}

// acquire returns the live session that serves a record, and keeps it from
// being evicted until release; failing one, made, which may be nil. It also
// returns what had to make room, which the caller closes. After close it
// returns [ErrClosed].
func (t *liveTable) acquire(key string, r *record, made *liveSession) (l *liveSession, dropped []*liveSession, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	l = t.byKey[key]
	if l == nil || !l.serves(r) {
		if made == nil {
			return nil, nil, nil
		}
		if l != nil {
			t.dropLocked(l)
			if l.retired = l.busy > 0; !l.retired {
				dropped = append(dropped, l)
			}
		}
		l = made
		t.byKey[key], l.elem = l, t.order.PushFront(l)
		dropped = append(dropped, t.overLimit(l)...)
	}
	l.busy++
	l.used = t.now()
	t.order.MoveToFront(l.elem)
	return l, dropped, nil
}

// overLimit drops the least recently used idle sessions until the limit holds,
// or only busy ones are left.
func (t *liveTable) overLimit(keep *liveSession) (evicted []*liveSession) {
	for e := t.order.Back(); e != nil && len(t.byKey) > t.limit; {
		l, previous := e.Value.(*liveSession), e.Prev()
		if l != keep && l.busy == 0 {
			t.dropLocked(l)
			evicted = append(evicted, l)
		}
		e = previous
	}
	return evicted
}

// release ends an operation, and returns what can be closed now.
func (t *liveTable) release(l *liveSession) (dropped []*liveSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.busy--
	l.used = t.now()
	switch {
	case l.elem != nil:
		t.order.MoveToFront(l.elem)
		return t.overLimit(l) // while all were busy there may have been too many
	case l.retired && l.busy == 0:
		return []*liveSession{l}
	}
	return nil
}

// drop takes a session out; false when it was out already.
func (t *liveTable) drop(l *liveSession) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropLocked(l)
}

func (t *liveTable) dropLocked(l *liveSession) bool {
	if l.elem == nil {
		return false
	}
	delete(t.byKey, l.key)
	t.order.Remove(l.elem)
	l.elem = nil
	return true
}

// idle drops and returns the sessions not used since a time.
func (t *liveTable) idle(since time.Time) (idle []*liveSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Back(); e != nil; {
		l, previous := e.Value.(*liveSession), e.Prev()
		if l.used.After(since) {
			break
		}
		if l.busy == 0 {
			t.dropLocked(l)
			idle = append(idle, l)
		}
		e = previous
	}
	return idle
}

// close drops everything and lets nothing in any more.
func (t *liveTable) close() (all []*liveSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, l := range t.byKey {
		t.dropLocked(l)
		all = append(all, l)
	}
	return all
}
