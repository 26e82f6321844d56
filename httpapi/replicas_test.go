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
	"github.com/mcpoauth/mcpoauth/store"
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

// inOneMinute returns what f counts, from a call of f that begins and ends in the
// same minute. No call has the users of another one.
func inOneMinute[T any](t testing.TB, f func(user string) T) T {
	t.Helper()
	for try := range 5 {
		withinAMinute()
		minute := time.Now().Truncate(time.Minute)
		counted := f(fmt.Sprint("user ", try))
		if time.Now().Truncate(time.Minute).Equal(minute) {
			return counted
		}
	}
	require.FailNow(t, "the machine is too slow")
	return *new(T)
}

// patient is a counter that a busy machine may slow: a replica that does not wait
// for the store is another test's.
type patient struct{ store.Counter }

func (p patient) Add(ctx context.Context, key string, n int64, expiry time.Time) (int64, error) {
	return p.Counter.Add(context.WithoutCancel(ctx), key, n, expiry)
}

// patientStore is a store that counts so.
type patientStore struct {
	store.SessionStore
	patient
}

// onRedis returns n replicas, each with a store and a manager of its own. The stores
// notice an outage after opTimeout.
func onRedis(t *testing.T, w *world, n int, server *redistest.Server, opTimeout time.Duration, change ...any) (replicas []*httpapi.Handler) {
	t.Helper()
	for range n {
		s, err := hybridstore.New(t.Context(), hybridstore.Config{Logger: slog.New(slog.DiscardHandler), Redis: redisstore.Config{URL: server.URL(), OpTimeout: opTimeout}})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		replicas = append(replicas, w.replica(t, append([]any{func(c *session.Config) { c.Store, c.InsecurePlaintext = patientStore{s, patient{s}}, true }}, change...)...))
	}
	return replicas
}

// Two replicas do not give a caller two budgets.
func TestReplicasShareABudget(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	for _, limit := range []int{10, 40, 200} {
		replicas := onRedis(t, w, 2, server, time.Minute, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = limit })
		require.Equal(t, limit, inOneMinute(t, func(user string) (allowed int) {
			for i := range 2 * limit {
				if from(t, replicas[i%2], "status", someone, userHeader, fmt.Sprint(user, limit)).Code != http.StatusTooManyRequests {
					allowed++
				}
			}
			return allowed
		}))
	}
}

// Requests at the same time see each other, on whichever replica they are: as
// many are let through as may be, neither more nor none.
func TestReplicasShareABudgetAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := onRedis(t, w, 2, server, time.Minute, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = 20 })
	require.EqualValues(t, 20, inOneMinute(t, func(user string) int64 {
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if from(t, replicas[i%2], "status", someone, userHeader, user).Code != http.StatusTooManyRequests {
					allowed.Add(1)
				}
			})
		}
		wg.Wait()
		return allowed.Load()
	}))
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
			s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL() + "?write_timeout=1m", OpTimeout: time.Minute})
			require.NoError(t, err)
			t.Cleanup(s.Close)
			withinAMinute() // a minute that begins after the first call begins with small portions
			w.replica(t, byHeader, func(c *session.Config) { c.Store, c.InsecurePlaintext = patientStore{s, patient{s}}, true },
				func(c *httpapi.Config) { c.RequestsPerMinute = tc.limit })
			b := w.browser(t, "alice")
			id := b.authorized()
			require.Equal(t, 200, b.call(id, "echo", `{}`).status)
			stats := inOneMinute(t, func(string) redistest.Stats {
				require.NoError(t, server.ResetStats())
				for range 200 {
					require.Equal(t, 200, b.call(id, "echo", `{}`).status)
				}
				stats, err := server.CommandStats()
				require.NoError(t, err)
				return stats
			})
			require.LessOrEqual(t, stats["evalsha"]+stats["eval"], tc.budget+btoi(tc.budget > 0), "%v", stats)
		})
	}
}

func btoi(b bool) int64 {
	if b {
		return 1 // the script is sent once
	}
	return 0
}

// Redis going away refuses no request.
func TestRateLimitWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	onRedis(t, w, 1, server, 2*time.Second, byHeader, func(c *httpapi.Config) { c.RequestsPerMinute = 20 })
	b := w.browser(t, "alice")
	id := b.authorized()
	withinAMinute()
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
	server.Kill()
	for range 10 {
		require.Equal(t, 200, b.call(id, "echo", `{}`).status, w.log)
	}
}
