package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// RunCounter checks what [store.Counter] promises. It calls open once for each
// case, for two handles on the same data, which may be one and the same. Counts
// expire by the real clock.
func RunCounter(t *testing.T, open func(t testing.TB) (counter, peer store.Counter)) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, store.Counter, store.Counter){
		"totals":      counterTotals,
		"expiry":      counterExpiry,
		"arguments":   counterArguments,
		"concurrency": counterConcurrency,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counter, peer := open(t)
			run(t, counter, peer)
		})
	}
}

func requireTotal(t *testing.T, want int64, c store.Counter, key string, n int64, expiry time.Time) {
	t.Helper()
	total, err := c.Add(t.Context(), key, n, expiry)
	require.NoError(t, err)
	require.Equal(t, want, total)
}

func counterTotals(t *testing.T, c, peer store.Counter) {
	expiry := time.Now().Add(time.Hour)
	requireTotal(t, 0, c, "a", 0, expiry)
	requireTotal(t, 1, c, "a", 1, expiry)
	requireTotal(t, 31, peer, "a", 30, expiry)
	requireTotal(t, 31, c, "a", 0, expiry)
	requireTotal(t, 26, peer, "a", -5, expiry)
	requireTotal(t, 31, c, "a", 5, expiry)
	requireTotal(t, 1_000_000_000_031, c, "a", 1_000_000_000_000, expiry)
	requireTotal(t, 5, c, "b\x00\xff", 5, expiry)
	requireTotal(t, 5, peer, "b\x00\xff", 0, expiry)
	if records, ok := c.(store.SessionStore); ok {
		_, _, err := records.Get(t.Context(), "a")
		require.ErrorIs(t, err, store.ErrNotFound, "a count is no record")
		require.NoError(t, records.Swap(t.Context(), "a", nil, []byte("x"), expiry))
		requireTotal(t, 1_000_000_000_032, c, "a", 1, expiry)
	}
}

func counterExpiry(t *testing.T, c, peer store.Counter) {
	soon := time.Now().Add(200 * time.Millisecond).Truncate(time.Millisecond) // databases keep milliseconds
	requireTotal(t, 7, c, "a", 7, soon)
	require.Eventually(t, func() bool {
		total, err := peer.Add(t.Context(), "a", 0, soon)
		return err == nil && total == 0
	}, time.Minute, 20*time.Millisecond)
	require.False(t, time.Now().Before(soon), "not before its time")
	requireTotal(t, 2, peer, "a", 2, time.Now().Add(time.Hour))
	requireTotal(t, 1, c, "past", 1, time.Unix(1, 0))
	requireTotal(t, 1, c, "past", 1, time.Unix(1, 0))
}

func counterArguments(t *testing.T, c, _ store.Counter) {
	_, err := c.Add(t.Context(), "", 1, time.Now().Add(time.Hour))
	require.ErrorIs(t, err, store.ErrInvalid)
	_, err = c.Add(t.Context(), "a", 1, time.Time{})
	require.ErrorIs(t, err, store.ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Add(ctx, "a", 1, time.Now().Add(time.Hour))
	require.ErrorIs(t, err, context.Canceled)
	requireTotal(t, 0, c, "a", 0, time.Now().Add(time.Hour))
}

func counterConcurrency(t *testing.T, c, peer store.Counter) {
	const workers, each = 8, 25
	expiry := time.Now().Add(time.Hour)
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				total, err := []store.Counter{c, peer}[i%2].Add(t.Context(), "a", 1, expiry)
				mu.Lock()
				if err == nil {
					seen[total] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, workers*each, "each total is seen once")
	requireTotal(t, workers*each, c, "a", 0, expiry)
}
