package redisstore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestWatcher(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	storetest.RunWatcher(t, func(t testing.TB) (storetest.WatchedStore, storetest.WatchedStore) {
		cfg := redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":"}
		return open(t, cfg), open(t, cfg)
	})
}

// Waiting costs Redis nothing: neither does the watch, nor a look at the record
// while the record is the same.
func TestWatchingSendsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: steady(server)})
	writer := open(t, redisstore.Config{URL: steady(server)})
	create(t, writer, "k", "v")
	requireValue(t, s, "k", "v")
	require.NoError(t, server.ResetStats())
	for range 100 {
		_, stop, ok := s.Watch("k")
		require.True(t, ok)
		requireValue(t, s, "k", "v")
		stop()
	}
	stats, err := server.CommandStats()
	require.NoError(t, err)
	require.Empty(t, stats)
	require.Zero(t, s.Watched())
}

// A lost connection is reported: what has changed meanwhile is not known.
func TestWatchReportsALostConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s := open(t, redisstore.Config{URL: server.URLAt(proxy.Addr())})
	writer := open(t, redisstore.Config{URL: server.URL()})
	create(t, writer, "k", "v")
	changed, stop, ok := s.Watch("k")
	require.True(t, ok)
	defer stop()
	requireValue(t, s, "k", "v")
	proxy.Drop()
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("the watch did not end")
	}
	require.NoError(t, writer.Swap(t.Context(), "k", []byte("v"), []byte("w"), later()))
	require.Eventually(t, func() bool {
		value, _, err := s.Get(t.Context(), "k")
		return err == nil && string(value) == "w"
	}, time.Minute, 10*time.Millisecond)
}

// Without invalidations Watch reports false.
func TestWatchNeedsInvalidations(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	uncached := open(t, redisstore.Config{URL: server.URL(), DisableCache: true})
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	borrowed := open(t, redisstore.Config{Client: client})
	for name, s := range map[string]*redisstore.Store{"without a cache": uncached, "borrowed client": borrowed} {
		_, _, ok := s.Watch("k")
		require.False(t, ok, name)
	}
}
