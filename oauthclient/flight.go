package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
)

// panicError is a panic of what one caller does for all.
type panicError struct {
	text string
	seen atomic.Bool // raised for a caller, or logged
}

func (e *panicError) Error() string { return "oauthclient: " + e.text }

// inFlight runs fn once for all concurrent callers with the same op, on a
// goroutine of its own: fn goes on when a caller leaves, who gets the context's
// error. A panic of fn, which runs functions of the host, reaches the callers:
// on that goroutine it would end the process. Without a caller it is logged.
func (c *config) inFlight(ctx context.Context, op string, fn func(context.Context) (any, error)) (any, error) {
	result := c.flight.DoChan(c.id+" "+op, func() (value any, err error) {
		defer func() {
			if panicked := recover(); panicked != nil {
				err = &panicError{text: fmt.Sprintf("%v\n\n%s", panicked, debug.Stack())}
			}
		}()
		return fn(context.WithoutCancel(ctx))
	})
	select {
	case r := <-result:
		if panicked, ok := errors.AsType[*panicError](r.Err); ok {
			panicked.seen.Store(true)
			panic(panicked.text)
		}
		return r.Val, r.Err
	case <-ctx.Done():
		go c.logUnseen(context.WithoutCancel(ctx), result)
		return nil, ctx.Err()
	}
}

// logUnseen waits for a result that its caller does not wait for, and logs it if it
// is a panic that no caller has got yet.
func (c *config) logUnseen(ctx context.Context, result <-chan singleflight.Result) {
	panicked, ok := errors.AsType[*panicError]((<-result).Err)
	if ok && !panicked.seen.Swap(true) {
		c.Logger.ErrorContext(ctx, "mcpoauth: a function of the host panicked, and its caller has left", "panic", panicked.text)
	}
}
