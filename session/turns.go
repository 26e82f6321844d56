package session

import (
	"context"
	"sync"
)

// turns let the calls of one replica change a record one after the other. Without
// them, each of n calls that change one record at once loses n races on average;
// with them, only replicas race.
type turns struct {
	mu   sync.Mutex
	held map[string]chan struct{} // each closed at the end of the turn
}

// take waits for the turn of key, and returns the function that ends it.
func (t *turns) take(ctx context.Context, key string) (end func(), err error) {
	for {
		t.mu.Lock()
		held := t.held[key]
		if held == nil {
			mine := make(chan struct{})
			t.held[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.held, key)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
