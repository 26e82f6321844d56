package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// withinAMinute waits for the next minute if this one is about to end: the
// numbers of these tests are those of one window.
func withinAMinute() {
	if left := time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)); left < 20*time.Second {
		time.Sleep(left)
	}
}

// onRedis returns n replicas, each with a store and a manager of its own.
func onRedis(t *testing.T, w *world, n int, server *redistest.Server, change ...any) (replicas []*httpapi.Handler) {
	t.Helper()
	for range n {
		s, err := hybridstore.New(t.Context(), hybridstore.Config{Logger: slog.New(slog.DiscardHandler), Redis: redisstore.Config{URL: server.URL(), OpTimeout: 200 * time.Millisecond}})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		replicas = append(replicas, w.replica(t, append([]any{func(c *session.Config) { c.Store, c.InsecurePlaintext = s, true }}, change...)...))
	}
	return replicas
}

// Two replicas do not give a caller two budgets.
func TestReplicasShareABudget(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	for _, limit := range []int{10, 40, 200} {
		replicas := onRedis(t, w, 2, server, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = limit })
		withinAMinute()
		allowed := 0
		for i := range 2 * limit {
			if from(t, replicas[i%2], "status", someone, userHeader, fmt.Sprint("user ", limit)).Code != http.StatusTooManyRequests {
				allowed++
			}
		}
		require.Equal(t, limit, allowed)
	}
}

// Requests at the same time see each other, on whichever replica they are: as
// many are let through as may be, neither more nor none. Not in parallel with
// the floods, which would make the store too slow to be waited for.
func TestReplicasShareABudgetAtOnce(t *testing.T) {
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := onRedis(t, w, 2, server, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = 20 })
	withinAMinute()
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if from(t, replicas[i%2], "status", someone, userHeader, "alice").Code != http.StatusTooManyRequests {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 20, allowed.Load())
}

// What the limiter adds to warm tool calls, which otherwise cost Redis nothing
// (package chaos shows that): a command per portion.
func TestRateLimitCostsOfWarmCalls(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limit  int
		budget int64 // of commands for 200 calls
	}{
		"off":                       {-1, 0},
		"far away: one portion":     {1_000_000, 1},
		"at hand: growing portions": {600, 9},
		"within reach":              {4000, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL()})
			require.NoError(t, err)
			t.Cleanup(s.Close)
			timed := &timedCounter{Store: s}
			withinAMinute() // a minute that begins after the first call begins with small portions
			w.replica(t, byHeader, func(c *session.Config) { c.Store, c.InsecurePlaintext = timed, true },
				func(c *httpapi.Config) { c.RequestsPerMinute = tc.limit })
			b := w.browser(t, "alice")
			id := b.authorized()
			require.Equal(t, 200, b.call(id, "echo", `{}`).status)
			for try := 0; ; try++ {
				withinAMinute()
				timed.slow.Store(false)
				require.NoError(t, server.ResetStats())
				for range 200 {
					require.Equal(t, 200, b.call(id, "echo", `{}`).status)
				}
				stats, err := server.CommandStats()
				require.NoError(t, err)
				if timed.slow.Load() && try < 5 {
					continue // a replica that waits too long for the store goes on alone, and asks again
				}
				require.LessOrEqual(t, stats["evalsha"]+stats["eval"], tc.budget+btoi(tc.budget > 0), "%v", stats)
				break
			}
		})
	}
}

// timedCounter notices counts that took long.
type timedCounter struct {
	*redisstore.Store
	slow atomic.Bool
}

func (c *timedCounter) Add(ctx context.Context, key string, n int64, expiry time.Time) (int64, error) {
	began := time.Now()
	defer func() {
		if time.Since(began) > 100*time.Millisecond {
			c.slow.Store(true)
		}
	}()
	return c.Store.Add(ctx, key, n, expiry)
}

func btoi(b bool) int64 {
	if b {
		return 1 // the script is sent once
	}
	return 0
}

// Redis going away refuses nobody.
func TestRateLimitWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	onRedis(t, w, 1, server, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = 20 })
	b := w.browser(t, "alice")
	id := b.authorized()
	withinAMinute()
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
	server.Kill()
	for range 10 {
		require.Equal(t, 200, b.call(id, "echo", `{}`).status, w.log)
	}
}
