package chaos_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// quiet is a world in which nothing ends by itself.
func quiet(t testing.TB) *world {
	t.Helper()
	return newWorld(t, authtest.Options{}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
}

func stats(t testing.TB, redis *redistest.Server) redistest.Stats {
	t.Helper()
	s, err := redis.CommandStats()
	require.NoError(t, err)
	return s
}

// requireStats requires the commands that Redis has got since it was reset.
func requireStats(t testing.TB, redis *redistest.Server, want redistest.Stats) {
	t.Helper()
	require.Equal(t, want, stats(t, redis))
}

// Tool calls on a session that the replica knows send Redis nothing at all:
// Redis itself counts.
func TestWarmCallsSendRedisNothing(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		id := w.session(t, replicas[1], replicas[0])
		require.NoError(t, echo(t, replicas[0], id))
		require.NoError(t, redis.ResetStats())
		calls := pick(1_000, 10_000)
		requireNoErrors(t, concurrently(4, func(int) error {
			for range calls / 4 {
				if err := echo(t, replicas[0], id); err != nil {
					return err
				}
			}
			return nil
		}))
		require.Equal(t, calls+1, w.mcp.Executed("echo"))
		requireStats(t, redis, redistest.Stats{})
	})
}

// The first call on a replica reads the session once, and writes nothing.
func TestColdCallReadsOnce(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		id := w.session(t, replicas[0], replicas[0])
		require.NoError(t, redis.ResetStats())
		require.NoError(t, echo(t, replicas[1], id))
		requireStats(t, redis, redistest.Stats{"client|caching": 1, "multi": 1, "pttl": 1, "get": 1, "exec": 1})
	})
}

// The time of the last use is written once per session and interval, however
// many calls there are on however many replicas.
func TestTouchIsWrittenOncePerInterval(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis := redistest.Run(t, redistest.Options{})
		w := newWorld(t, authtest.Options{AccessTokenTTL: 1000 * time.Hour}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
		const interval = 5 * time.Minute
		replicas := w.replicas(t, b, redis.URL(), func(c *session.Config) { c.TouchInterval = interval })
		id := w.session(t, replicas[0], replicas[1])
		calls := func() {
			requireNoErrors(t, concurrently(40, func(i int) error { return echo(t, replicas[i%2], id) }))
		}
		calls()
		for range pick(5, 50) {
			require.NoError(t, redis.ResetStats())
			calls()
			require.Zero(t, stats(t, redis)["set"], "within the interval")
			w.clock.advance(interval + time.Second)
			calls()
			require.Equal(t, int64(2), stats(t, redis)["set"], "the session, and the life of its owner's list")
		}
	})
}

// What one replica writes, another one goes by within milliseconds, although it
// asks Redis nothing.
func TestWritesElsewhereAreSeenWithinMilliseconds(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		var delays []time.Duration
		for range pick(20, 200) {
			id := w.session(t, replicas[0], replicas[1])
			require.NoError(t, echo(t, replicas[1], id))
			require.NoError(t, replicas[0].manager.RemoveClient(t.Context(), alice, id))
			start := time.Now()
			eventually(t, "the removal is seen", func() bool {
				_, err := replicas[1].manager.Status(t.Context(), alice, id)
				return err != nil
			})
			delays = append(delays, time.Since(start))
			require.ErrorIs(t, echo(t, replicas[1], id), session.ErrNotFound)
		}
		slices.Sort(delays)
		median := delays[len(delays)/2]
		t.Logf("median %v, most %v", median, delays[len(delays)-1])
		require.Less(t, median, 20*time.Millisecond)
	})
}
