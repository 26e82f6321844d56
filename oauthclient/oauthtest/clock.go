package oauthtest

import (
	"time"

	"github.com/mcpoauth/mcpoauth/internal/testclock"
)

// Clock is a clock that stands still until a test moves it. Its method Now is
// what the Config.Now fields of this module take.
type Clock struct{ clock *testclock.Clock }

// NewClock returns a clock that shows now.
func NewClock(now time.Time) *Clock { return &Clock{testclock.New(now)} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time { return c.clock.Now() }

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) { c.clock.Advance(d) }
