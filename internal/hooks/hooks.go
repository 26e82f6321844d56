// Package hooks calls hooks of the host after work that several callers share, and
// not within it: a hook that begins the same work would wait for itself.
package hooks

import (
	"context"
	"sync"
)

type contextKey struct{}

// Waiting are hooks that wait for the end of shared work.
type Waiting struct {
	mu    sync.Mutex
	hooks []func()
	over  bool
}

// Begin returns the context of shared work, and what its first caller must Run when
// the work is over. Inside other shared work, the hooks wait for the end of that.
func Begin(ctx context.Context) (context.Context, *Waiting) {
	w := new(Waiting)
	if of(ctx) != nil {
		return ctx, w // it stays empty
	}
	return context.WithValue(ctx, contextKey{}, w), w
}

// Call calls a hook after the shared work that ctx belongs to, or now if there is none.
// The hook's context belongs to no such work, and does not end with that of a caller.
func Call(ctx context.Context, hook func(context.Context)) {
	after := context.WithValue(context.WithoutCancel(ctx), contextKey{}, (*Waiting)(nil))
	if w := of(ctx); w == nil || !w.add(func() { hook(after) }) {
		hook(after)
	}
}

// of returns the hooks that wait for the work of ctx, or nil.
func of(ctx context.Context) *Waiting {
	w, _ := ctx.Value(contextKey{}).(*Waiting)
	return w
}

// Run calls the hooks, each of them also if another one panics.
func (w *Waiting) Run() {
	if hook := w.next(); hook != nil {
		defer w.Run()
		hook()
	}
}

// add reports whether Run will call the hook. It will not if the work is over, and a
// part of it goes on.
func (w *Waiting) add(hook func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.hooks = append(w.hooks, hook)
	}
	return !w.over
}

// next returns the next hook, or nil after the last one.
func (w *Waiting) next() (hook func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over = len(w.hooks) == 0; w.over {
		return nil
	}
	hook, w.hooks = w.hooks[0], w.hooks[1:]
	return hook
}
