package hybridstore_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestWatcher(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	storetest.RunWatcher(t, func(t testing.TB) (storetest.WatchedStore, storetest.WatchedStore) {
		cfg := onURL(server.URL())
		cfg.Redis.KeyPrefix = rand.Text() + ":"
		mine, _ := open(t, cfg)
		peer, _ := open(t, cfg)
		return mine, peer
	})
	t.Run("memory", func(t *testing.T) {
		storetest.RunWatcher(t, func(t testing.TB) (storetest.WatchedStore, storetest.WatchedStore) {
			s, _ := open(t, hybridstore.Config{})
			return s, s
		})
	})
}

// A waiter hears that Redis is away, of what its own replica changes meanwhile,
// and that Redis is back.
func TestWatchingGoesOnWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	watch := func() <-chan struct{} {
		changed, stop, ok := s.Watch("k")
		require.True(t, ok)
		t.Cleanup(stop)
		_, _, _ = s.Get(t.Context(), "k")
		return changed
	}
	wait := func(changed <-chan struct{}, what string) {
		select {
		case <-changed:
		case <-time.After(time.Minute):
			require.Fail(t, "not reported: "+what)
		}
	}
	changed := watch()
	server.Kill()
	wait(changed, "Redis is away")
	waitAway(t, s)
	changed = watch()
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))
	wait(changed, "a change of this replica")
	changed = watch()
	require.NoError(t, server.Restart())
	wait(changed, "Redis is back")
}
