package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// fleet returns handlers of one host, each with a counter of its own.
func fleet(t *testing.T, n, limit int, open func() store.Counter) (replicas []*httpapi.Handler) {
	t.Helper()
	for range n {
		h, _ := newFake(t, &fake{counter: open()}, byUser, func(c *httpapi.Config) { c.Logger, c.RequestsPerMinute = slog.New(slog.DiscardHandler), limit })
		replicas = append(replicas, h)
	}
	return replicas
}

// allow sends requests of one user to replicas, some at once, and counts the
// allowed ones.
func allow(t *testing.T, user string, requests int, replica func(i int) *httpapi.Handler) int {
	t.Helper()
	var allowed, next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(requests); i = next.Add(1) - 1 {
				if from(t, replica(int(i)), "status", someone, "User", user).Code != http.StatusTooManyRequests {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(allowed.Load())
}

// However many replicas there are, together they allow what one does. What that
// costs is in docs/performance.md.
func TestFleetsKeepTheLimit(t *testing.T) {
	const limit = 600
	for _, n := range []int{1, 20, 100} {
		t.Run(fmt.Sprint(n, " replicas"), func(t *testing.T) {
			server := redistest.Run(t, redistest.Options{})
			replicas := fleet(t, n, limit, func() store.Counter {
				s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL(), OpTimeout: time.Minute})
				require.NoError(t, err)
				t.Cleanup(s.Close)
				return patient{s}
			})
			inTurn := func(i int) *httpapi.Handler { return replicas[i%n] }
			count := func(what, name string, requests int, replica func(int) *httpapi.Handler) int {
				return inOneMinute(t, func(user string) (allowed int) {
					require.NoError(t, server.ResetStats())
					allowed = allow(t, name+user, requests, replica)
					stats, err := server.CommandStats()
					require.NoError(t, err)
					commands := stats["evalsha"] + stats["eval"]
					t.Logf("%s: %d of %d requests allowed, %d commands, %d per 1,000 requests",
						what, allowed, requests, commands, commands*1000/int64(requests))
					return allowed
				})
			}
			require.Equal(t, limit, count("a flood", "mallory", 10*limit, inTurn))
			allowed := count("requests up to the limit, on any replica", "alice", limit, func(int) *httpapi.Handler { return replicas[rand.IntN(n)] })
			require.LessOrEqual(t, allowed, limit)
			require.GreaterOrEqual(t, allowed, limit*3/4, "the rest is reserved and not used")
			require.Equal(t, limit/4, count("a quarter of the limit, on any replica", "bob", limit/4, func(int) *httpapi.Handler { return replicas[rand.IntN(n)] }))
		})
	}
}

// Minute by minute, a fleet under a flood allows the limit and no more, and a
// new minute does not give the whole budget again.
func TestFleetsKeepTheLimitForMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 60
		shared := memstore.New(memstore.Config{})
		asked := 0
		replicas := fleet(t, 10, limit, func() store.Counter {
			return counter{func(ctx context.Context, key string, n int64) (int64, error) {
				asked++
				return shared.Add(ctx, key, n, time.Now().Add(2*time.Minute))
			}}
		})
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		for minute := range 5 {
			allowed, early := 0, 0
			for tick := range 600 { // ten requests to each replica in each second
				for _, h := range replicas {
					if from(t, h, "status", someone, "User", "alice").Code == 200 {
						allowed++
						if tick < 100 {
							early++
						}
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
			require.LessOrEqual(t, allowed, limit, "minute %d", minute)
			require.GreaterOrEqual(t, allowed, limit*3/4, "minute %d", minute)
			if minute > 0 {
				require.LessOrEqual(t, early, limit/6+1, "minute %d", minute)
			}
		}
		t.Logf("%d commands for %d requests", asked, 5*600*10)
		require.Less(t, asked, 5*60*10*2, "a replica asks once a second at most, and gives back")
	})
}

// Steady use costs a few commands a minute: the first portion of a minute is what
// was used in the last one.
func TestSteadyUseIsCheap(t *testing.T) {
	t.Parallel()
	for perMinute, most := range map[int]int{10: 2, 60: 2, 300: 10} {
		synctest.Test(t, func(t *testing.T) {
			shared := memstore.New(memstore.Config{})
			asked := 0
			h := fleet(t, 1, 600, func() store.Counter {
				return counter{func(ctx context.Context, key string, n int64) (int64, error) {
					asked++
					return shared.Add(ctx, key, n, time.Now().Add(2*time.Minute))
				}}
			})[0]
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
			for minute := range 5 {
				asked = 0
				for range perMinute {
					require.Equal(t, 200, from(t, h, "status", someone, "User", "alice").Code)
					time.Sleep(time.Minute / time.Duration(perMinute))
				}
				if minute > 0 {
					require.LessOrEqual(t, asked, most, "%d a minute", perMinute)
				}
			}
			t.Logf("%d a minute: %d commands a minute", perMinute, asked)
		})
	}
}
