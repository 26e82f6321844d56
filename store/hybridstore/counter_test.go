package hybridstore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	storetest.RunCounter(t, func(t testing.TB) (store.Counter, store.Counter) {
		cfg := onURL(server.URL())
		cfg.Redis.KeyPrefix = rand.Text() + ":"
		mine, _ := open(t, cfg)
		peer, _ := open(t, cfg)
		return mine, peer
	})
	t.Run("memory", func(t *testing.T) {
		storetest.RunCounter(t, func(t testing.TB) (store.Counter, store.Counter) {
			s, _ := open(t, hybridstore.Config{})
			return s, s
		})
	})
}

// Redis going away is no reason to refuse a request: a replica counts on alone.
func TestCountingGoesOnWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	expiry := time.Now().Add(time.Hour)
	total, err := s.Add(t.Context(), "a", 5, expiry)
	require.NoError(t, err)
	require.EqualValues(t, 5, total)
	server.Kill()
	for want := range int64(3) {
		total, err = s.Add(t.Context(), "a", 1, expiry)
		require.NoError(t, err)
		require.Equal(t, want+1, total)
	}
	waitAway(t, s)
	total, err = s.Add(t.Context(), "a", 1, expiry)
	require.NoError(t, err)
	require.EqualValues(t, 4, total)
}

// TestResetUnderACount: a lost connection alone is no outage.
func TestResetUnderACount(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	config := onURL(server.URLAt(proxy.Addr()))
	config.Redis.OpTimeout = 5 * time.Second // the connection is lost again and again
	s, log := open(t, config)
	for range 20 {
		proxy.LoseAnswerTo("EVALSHA")
		_, err := s.Add(t.Context(), "a", 1, time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.True(t, s.IsRedisConnected())
	}
	require.NotContains(t, log.String(), "❌")
}
