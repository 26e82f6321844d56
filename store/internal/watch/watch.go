// Package watch tells waiters that a record has changed, for the stores that
// implement [store.Watcher].
package watch

import "sync"

// Table holds the watched records, and no others. The zero Table is ready for use.
type Table struct {
	mu      sync.Mutex
	watched map[string]*watched
}

// watched is a record with at least one waiter.
type watched struct {
	changed chan struct{}
	waiters int
}

// Watch does what [store.Watcher] says.
func (t *Table) Watch(key string) (changed <-chan struct{}, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.watched[key]
	if w == nil {
		if t.watched == nil {
			t.watched = make(map[string]*watched)
		}
		w = &watched{changed: make(chan struct{})}
		t.watched[key] = w
	}
	w.waiters++
	var once sync.Once
	return w.changed, func() { once.Do(func() { t.leave(key, w) }) }
}

func (t *Table) leave(key string, w *watched) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.waiters--; w.waiters == 0 && t.watched[key] == w {
		delete(t.watched, key)
	}
}

// Changed wakes the waiters of the records under keys.
func (t *Table) Changed(keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		if w := t.watched[key]; w != nil {
			close(w.changed)
			delete(t.watched, key)
		}
	}
}

// All wakes all waiters: any record may have changed.
func (t *Table) All() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.watched {
		close(w.changed)
	}
	clear(t.watched)
}

// Len returns how many records are watched.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.watched)
}
