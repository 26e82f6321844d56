// Package testclock is a clock that stands still until a test moves it.
package testclock

import (
	"sync"
	"time"
)

// Clock is safe for concurrent use. Create one with [New].
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// New returns a clock that shows now.
func New(now time.Time) *Clock { return &Clock{now: now} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
