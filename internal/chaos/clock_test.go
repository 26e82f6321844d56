package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// One replica's clock is half a minute ahead and the other's behind, for as
// long as several lives of a token.
func TestClockSkewBetweenReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		const life = 5 * time.Minute
		redis := redistest.Run(t, redistest.Options{})
		w := newWorld(t, authtest.Options{AccessTokenTTL: life, DiscardRequests: true}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
		skewed := func(by time.Duration) func(*session.Config) {
			return func(c *session.Config) { c.Now = func() time.Time { return w.clock.Now().Add(by) } }
		}
		l := newLoad(t, w, w.newUsers(pick(20, 50), newRandom(t)), loadtest.NewFleet(
			w.replica(t, "ahead", b.store(t, redis.URL()), skewed(30*time.Second)),
			w.replica(t, "behind", b.store(t, redis.URL()), skewed(-30*time.Second)),
		))
		l.CallsOnly = true // so that refreshes can be counted
		l.Start()
		steps := pick(90, 300)
		for range steps {
			l.Progress(10)
			w.clock.advance(10 * time.Second)
		}
		l.Stop()
		passed := time.Duration(steps) * 10 * time.Second
		most := len(l.Users) * (int(passed/(3*time.Minute)) + 2) // skew and refreshing ahead cost two minutes
		require.LessOrEqual(t, w.as.Counts().Refreshes, most)
	})
}
