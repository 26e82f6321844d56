package memstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestWatcher(t *testing.T) {
	t.Parallel()
	storetest.RunWatcher(t, func(testing.TB) (storetest.WatchedStore, storetest.WatchedStore) {
		s := memstore.New(memstore.Config{})
		return s, s
	})
}

// A watch that has ended leaves nothing behind.
func TestWatchesAreForgotten(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Config{})
	_, stopped, _ := s.Watch("stopped")
	changed, stop, _ := s.Watch("changed")
	require.Equal(t, 2, s.Watched())
	stopped()
	require.NoError(t, s.Swap(t.Context(), "changed", nil, []byte("v"), time.Now().Add(time.Hour)))
	<-changed
	require.Zero(t, s.Watched())
	again, stopAgain, _ := s.Watch("changed")
	stop() // of the watch that has ended, and of no other
	require.Equal(t, 1, s.Watched())
	require.Error(t, s.Swap(t.Context(), "changed", nil, []byte("v"), time.Now().Add(time.Hour)))
	select {
	case <-again:
		t.Fatal("a Swap that changed nothing was reported")
	default:
	}
	stopAgain()
	require.Zero(t, s.Watched())
}
