package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// callPause is between two calls of a user.
const callPause = 10 * time.Millisecond

// work is what the users do all the time: they call tools, and try again when an
// answer says so.
type work struct {
	stop func() // waits for the last answers

	mu      sync.Mutex
	done    int           // calls that were answered with a result
	again   int           // answers "try again"
	longest time.Duration // from a user's first try to the result
	failed  error         // what should not have happened
}

// startWork has all users work until stop is called.
func startWork(ctx context.Context, users []*user) *work {
	w := &work{}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, u := range users {
		wg.Go(func() {
			for w.wait(ctx, callPause) {
				w.callUntilDone(ctx, u)
			}
		})
	}
	w.stop = func() { cancel(); wg.Wait() }
	return w
}

func (w *work) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// callUntilDone makes one call, trying again as a front end does. A call that
// has begun is finished, also when the work is stopped.
func (w *work) callUntilDone(ctx context.Context, u *user) {
	start := time.Now()
	for {
		a, err := u.call(context.WithoutCancel(ctx), u.w.publicURL)
		switch {
		case err != nil:
			w.fail(err)
			return
		case a.status == http.StatusOK:
			w.succeed(time.Since(start))
			return
		case !a.tryAgain():
			w.fail(fmt.Errorf("%s is answered HTTP status %d %s", u.name, a.status, a.Error))
			return
		}
		w.mu.Lock()
		w.again++
		w.mu.Unlock()
		if !w.wait(ctx, retryPause) {
			return
		}
	}
}

func (w *work) succeed(took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done++
	w.longest = max(w.longest, took)
}

func (w *work) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed = err
	}
}

// during does something while the users work, lets them go on for a while, and
// tells how it was for them.
func (w *work) during(ctx context.Context, calls int, happen func() error) (string, error) {
	w.mu.Lock()
	w.again, w.longest = 0, 0
	before := w.done
	w.mu.Unlock()
	if err := happen(); err != nil {
		return "", err
	}
	w.mu.Lock()
	goal := w.done + calls
	w.mu.Unlock()
	for {
		w.mu.Lock()
		done, again, longest, failed := w.done, w.again, w.longest, w.failed
		w.mu.Unlock()
		switch {
		case failed != nil:
			return "", failed
		case done >= goal:
			return fmt.Sprintf("%d calls answered, %d told to try again, the slowest took %v",
				done-before, again, longest.Round(time.Millisecond)), nil
		case !w.wait(ctx, callPause):
			return "", ctx.Err()
		}
	}
}
