package redis

import (
	"context"
	"sync"
	"time"
)

// opContext is a context with a timeout. Its timer starts with the first call that
// waits for the context. A Get that is answered from the cache waits for nothing,
// and the timer would be most of its cost.
type opContext struct {
	context.Context // the caller's
	deadline        time.Time

	once   sync.Once
	timed  context.Context
	cancel context.CancelFunc
}

func newOpContext(ctx context.Context, timeout time.Duration) *opContext {
	deadline := time.Now().Add(timeout)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	return &opContext{Context: ctx, deadline: deadline}
}

// start returns the context with the timer.
func (c *opContext) start() context.Context {
	c.once.Do(func() { c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline) })
	return c.timed
}

// stop ends the context and its timer, if there is one.
func (c *opContext) stop() {
	c.once.Do(func() { c.timed, c.cancel = endedContext, func() {} })
	c.cancel()
}

// endedContext is what an operation's context is after the operation.
var endedContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Deadline implements [context.Context].
func (c *opContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *opContext) Done() <-chan struct{} { return c.start().Done() }

// Err implements [context.Context].
func (c *opContext) Err() error { return c.start().Err() }
