package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/singleflight"
)

// panicError is a panic of what one caller does for all.
type panicError struct{ text string }

func (e *panicError) Error() string { return "oauthclient: " + e.text }

// inFlight runs fn once for all concurrent callers with the same key, on a
// goroutine of its own: fn goes on when a caller leaves, who gets the context's
// error. A panic of fn, which runs functions of the host, reaches the callers:
// on that goroutine it would end the process.
func inFlight(ctx context.Context, flight *singleflight.Group, key string, fn func(context.Context) (any, error)) (any, error) {
	result := flight.DoChan(key, func() (value any, err error) {
		defer func() {
			if panicked := recover(); panicked != nil {
				err = &panicError{fmt.Sprintf("%v\n\n%s", panicked, debug.Stack())}
			}
		}()
		return fn(context.WithoutCancel(ctx))
	})
	select {
	case r := <-result:
		if panicked, ok := errors.AsType[*panicError](r.Err); ok {
			panic(panicked.text)
		}
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
