package redisstore_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	storetest.RunCounter(t, func(t testing.TB) (store.Counter, store.Counter) {
		cfg := redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":"}
		return open(t, cfg), open(t, cfg)
	})
}

// One command, one key, which Redis forgets by itself.
func TestCounterCosts(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: steady(server)})
	_, err := s.Add(t.Context(), "a", 1, time.Now().Add(time.Minute)) // brings the script along
	require.NoError(t, err)
	require.NoError(t, server.ResetStats())
	for range 10 {
		_, err := s.Add(t.Context(), "a", 1, time.Now().Add(time.Minute))
		require.NoError(t, err)
	}
	stats, err := server.CommandStats()
	require.NoError(t, err)
	require.Equal(t, redistest.Stats{"evalsha": 10, "get": 10, "set": 10}, stats, "get and set are the script's own")
	ttl, err := server.Do("PTTL", "mcpoauth:n:a")
	require.NoError(t, err)
	require.InDelta(t, time.Minute.Milliseconds(), ttl, 10_000)
}

// Nothing is counted twice because an answer was lost; the caller counts for
// itself then.
func TestCounterDoesNotCountTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server.Kill()
	_, err := s.Add(ctx, "a", 1, time.Now().Add(time.Minute))
	require.Error(t, err)
	require.True(t, redis.IsOutage(err) || redis.IsUnknownOutcome(err), "%v", err)
	require.NotContains(t, err.Error(), "n:a")
}
