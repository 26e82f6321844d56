package memstore

import (
	"container/list"
	"context"
	"strings"
	"sync"
	"time"
)

// minRearm bounds how often a lease's timer fires when the injected clock and
// the real one disagree, for instance because a test froze the injected one.
const minRearm = 10 * time.Millisecond

// lockTable grants leases by name. A name has a queue exactly while a lease on
// it is held, so an idle table holds nothing.
type lockTable struct {
	now func() time.Time

	mu     sync.Mutex
	queues map[string]*queue
}

// queue is one held name: its holder and its waiters, the first one in front.
type queue struct {
	holder  *lease
	waiters list.List // of *waiter
}

// lease is one grant. Its identity, the pointer, is what a release must show.
type lease struct {
	until time.Time
	timer *time.Timer // ends the lease if its holder does not
}

// waiter is one call that waits for its turn.
type waiter struct {
	ttl     time.Duration
	granted chan *lease // of capacity one, so that granting never blocks
}

// acquire waits for the lease on key.
func (t *lockTable) acquire(ctx context.Context, key string, ttl time.Duration) (*lease, error) {
	now := t.now()
	t.mu.Lock()
	q := t.queues[key]
	if q != nil && !now.Before(q.holder.until) {
		t.next(key, q, now)
		q = t.queues[key]
	}
	if q == nil {
		key = strings.Clone(key) // as in Store.insert
		q = &queue{}
		t.queues[key] = q
		l := t.grant(key, q, ttl, now)
		t.mu.Unlock()
		return l, nil
	}
	w := &waiter{ttl: ttl, granted: make(chan *lease, 1)}
	place := q.waiters.PushBack(w)
	t.mu.Unlock()

	select {
	case l := <-w.granted:
		return l, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	q.waiters.Remove(place) // does nothing if it has left the list already
	t.mu.Unlock()
	select {
	case l := <-w.granted: // in the same moment; no caller will use it
		t.release(key, l)
	default:
	}
	return nil, ctx.Err()
}

// release ends the lease, if it still is the one that is held.
func (t *lockTable) release(key string, l *lease) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queues[key]; q != nil && q.holder == l {
		t.next(key, q, now)
	}
}

// expire is what a lease's timer calls. The clock of the table has the last
// word on whether the lease has run out.
func (t *lockTable) expire(key string, l *lease) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[key]
	if q == nil || q.holder != l {
		return
	}
	if left := l.until.Sub(now); left > 0 {
		l.timer.Reset(max(left, minRearm))
		return
	}
	t.next(key, q, now)
}

// sweep ends every lease that has run out at now.
func (t *lockTable) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, q := range t.queues {
		if !now.Before(q.holder.until) {
			t.next(key, q, now)
		}
	}
}

// next ends the lease that is held and grants one to the first waiter, if any.
// The caller holds mu.
func (t *lockTable) next(key string, q *queue, now time.Time) {
	q.holder.timer.Stop()
	front := q.waiters.Front()
	if front == nil {
		delete(t.queues, key)
		return
	}
	w := q.waiters.Remove(front).(*waiter)
	w.granted <- t.grant(key, q, w.ttl, now)
}

// grant makes a new lease the holder of q. The caller holds mu.
func (t *lockTable) grant(key string, q *queue, ttl time.Duration, now time.Time) *lease {
	l := &lease{until: now.Add(ttl)}
	l.timer = time.AfterFunc(ttl, func() { t.expire(key, l) })
	q.holder = l
	return l
}
