package session

import (
	"bytes"
	"container/list"
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

	// guarded by liveTable.mu
	busy int           // operations in progress
	used time.Time     // the last of them
	elem *list.Element // in liveTable.order; nil once dropped

	mu      sync.Mutex
	value   []byte // the stored bytes of rec
	rec     *record
	removed bool // the record is gone for good; rec is what it was
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
	l.value, l.rec = value, r
}

// remove marks the record as deleted and keeps its last credentials for the
// goodbye to the servers.
func (l *liveSession) remove(r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed, l.rec = true, r
}

func (l *liveSession) isRemoved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed
}

func (l *liveSession) lastCredentials() (creds oauthclient.Credentials, removed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.removed {
		return creds, false
	}
	return l.rec.creds, true
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

// acquire returns the live session, made with create if there is none, and
// keeps it from being evicted until release. It also returns what had to be
// evicted, which the caller closes. After close it returns nil.
func (t *liveTable) acquire(key string, create func() (*liveSession, error)) (l *liveSession, evicted []*liveSession, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, nil, ErrClosed
	}
	l = t.byKey[key]
	if l == nil {
		if l, err = create(); err != nil {
			return nil, nil, err
		}
		t.byKey[key], l.elem = l, t.order.PushFront(l)
		evicted = t.overLimit(l)
	}
	l.busy++
	l.used = t.now()
	t.order.MoveToFront(l.elem)
	return l, evicted, nil
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

func (t *liveTable) release(l *liveSession) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.busy--
	l.used = t.now()
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

func (t *liveTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}
