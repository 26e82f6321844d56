package chaos_test

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// quiet is a world in which nothing ends by itself.
func quiet(t testing.TB) *world {
	t.Helper()
	return newWorld(t, authtest.Options{}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
}

// steady is the URL of a Redis for a test that counts commands. A connection that a
// busy machine keeps from answering is not replaced, and so nothing is read again.
func steady(redis *redistest.Server) string { return redis.URL() + "?write_timeout=1m" }

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
		replicas := w.replicas(t, b, steady(redis))
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

// The first call on a replica reads the session once, writes nothing, and sends
// the MCP server one request: what an earlier call on another replica has
// negotiated and listed is in the record.
func TestColdCallReadsOnce(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, steady(redis))
		id := w.session(t, replicas[0], replicas[0])
		require.NoError(t, echo(t, replicas[0], id))
		require.NoError(t, redis.ResetStats())
		posts := w.mcp.CountHTTP(http.MethodPost)
		require.NoError(t, echo(t, replicas[1], id))
		requireStats(t, redis, redistest.Stats{"client|caching": 1, "multi": 1, "pttl": 1, "get": 1, "exec": 1})
		require.Equal(t, posts+1, w.mcp.CountHTTP(http.MethodPost))
	})
}

// A use is written once per session and interval, however many calls there are
// on however many replicas at once, and once per interval for an owner's list.
func TestTouchIsWrittenOncePerInterval(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis := redistest.Run(t, redistest.Options{})
		w := newWorld(t, authtest.Options{AccessTokenTTL: 1000 * time.Hour}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
		const interval = 5 * time.Minute
		// Calls of one second, each at another time.
		second, tick := time.Now().Truncate(time.Second), new(atomic.Int64)
		now := func() time.Time { return second.Add(time.Duration(tick.Add(1)) * time.Microsecond) }
		replicas := w.replicas(t, b, steady(redis), func(c *session.Config) { c.TouchInterval, c.Now = interval, now })
		ids := []string{w.session(t, replicas[0], replicas[1]), w.session(t, replicas[1], replicas[0])}
		calls := func() {
			requireNoErrors(t, concurrently(40, func(i int) error { return echo(t, replicas[i%2], ids[i/2%2]) }))
		}
		calls()
		for range pick(5, 50) {
			require.NoError(t, redis.ResetStats())
			calls()
			require.Zero(t, stats(t, redis)["set"], "within the interval")
			second = second.Add(interval + time.Second)
			tick.Store(0)
			calls()
			require.Equal(t, int64(len(ids)+1), stats(t, redis)["set"], "the sessions, and their owner's list")
		}
	})
}

// What one replica writes, another one goes by within milliseconds, although it
// asks Redis nothing.
func TestWritesElsewhereAreSeenWithinMilliseconds(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		var took, delays []time.Duration
		for range pick(20, 200) {
			id := w.session(t, replicas[0], replicas[1])
			require.NoError(t, echo(t, replicas[1], id))
			start := time.Now()
			require.NoError(t, replicas[0].Manager.RemoveClient(t.Context(), alice, id))
			took = append(took, time.Since(start))
			start = time.Now()
			loadtest.Eventually(t, "the removal is seen", func() bool {
				_, err := replicas[1].Manager.Status(t.Context(), alice, id)
				return err != nil
			})
			delays = append(delays, time.Since(start))
			require.ErrorIs(t, echo(t, replicas[1], id), session.ErrNotFound)
		}
		slices.Sort(took)
		slices.Sort(delays)
		median := delays[len(delays)/2]
		t.Logf("median %v, most %v; a removal: %v", median, delays[len(delays)-1], took[len(took)/2])
		require.Less(t, median, 20*time.Millisecond+5*took[len(took)/2], "a busy machine slows removals as well")
	})
}
