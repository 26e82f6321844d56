package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/mcpoauth/mcpoauth/internal/hooks"
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
// on that goroutine it would end the process. Without a caller it is logged. Hooks
// of the host are called when fn is over, as package hooks says.
func (c *config) inFlight(ctx context.Context, op string, fn func(context.Context) (any, error)) (any, error) {
	ctx, waiting := hooks.Begin(ctx)
	result := c.flight.DoChan(c.id+" "+op, func() (value any, err error) {
		defer func() {
			if panicked := recover(); panicked != nil {
				err = &panicError{text: panicText(panicked)}
			}
		}()
		return fn(context.WithoutCancel(ctx))
	})
	select {
	case r := <-result:
		waiting.Run()
		if panicked, ok := errors.AsType[*panicError](r.Err); ok {
			panicked.seen.Store(true)
			panic(panicked.text)
		}
		return r.Val, r.Err
	case <-ctx.Done():
		go c.land(context.WithoutCancel(ctx), result, waiting)
		return nil, ctx.Err()
	}
}

// land waits for a result that its caller does not wait for, and calls the hooks. It
// logs a panic that no caller has got yet.
func (c *config) land(ctx context.Context, result <-chan singleflight.Result, waiting *hooks.Waiting) {
	log := func(text string) {
		c.Logger.ErrorContext(ctx, "mcpoauth: a function of the host panicked, and its caller has left", "panic", text)
	}
	defer func() {
		if panicked := recover(); panicked != nil {
			log(panicText(panicked))
		}
	}()
	panicked, ok := errors.AsType[*panicError]((<-result).Err)
	if ok && !panicked.seen.Swap(true) {
		log(panicked.text)
	}
	waiting.Run()
}

// panicText returns what a function that has recovered from a panic says of it.
func panicText(panicked any) string { return fmt.Sprintf("%v\n\n%s", panicked, debug.Stack()) }
