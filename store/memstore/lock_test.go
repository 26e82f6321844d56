package memstore_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// TestLockOrder has waiters come one after the other and expects them to be
// let in in that order.
func TestLockOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		unlock, err := s.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)

		const waiters = 10
		order := make(chan int, waiters)
		for i := range waiters {
			go func() {
				unlock, err := s.Lock(t.Context(), "k", time.Hour)
				if err == nil {
					order <- i
					unlock()
				}
			}()
			synctest.Wait()
		}
		require.Empty(t, order, "no waiter gets in while the lock is held")
		unlock()
		synctest.Wait()
		for i := range waiters {
			require.Equal(t, i, <-order)
		}
		require.Zero(t, s.HeldLocks())
	})
}

// TestLeaseWakesWaiterInTime measures on the bubble's clock: a poll would let
// the waiter in late.
func TestLeaseWakesWaiterInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		start := time.Now()
		_, err := s.Lock(t.Context(), "k", 10*time.Second)
		require.NoError(t, err)

		// A queue of leases that their holders do not give back.
		for i := range 3 {
			_, err := s.Lock(t.Context(), "k", time.Minute)
			require.NoError(t, err)
			require.Equal(t, 10*time.Second+time.Duration(i)*time.Minute, time.Since(start))
		}
	})
}

// TestLeaseOfWaiterStartsWhenGranted keeps the time of waiting from eating up
// the lease.
func TestLeaseOfWaiterStartsWhenGranted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Config{})
		unlock, err := s.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)
		var second func()
		go func() { second, _ = s.Lock(t.Context(), "k", time.Minute) }()
		time.Sleep(50 * time.Second)
		unlock()
		synctest.Wait()
		require.NotNil(t, second)

		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		_, err = s.Lock(ctx, "k", time.Minute)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		second()
	})
}

func TestLockTableForgets(t *testing.T) {
	t.Parallel()
	t.Run("unlocked", func(t *testing.T) {
		t.Parallel()
		s := memstore.New(memstore.Config{})
		unlock, err := s.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, s.HeldLocks())
		unlock()
		require.Zero(t, s.HeldLocks())
	})
	t.Run("never unlocked", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Config{})
			_, err := s.Lock(t.Context(), "k", time.Hour)
			require.NoError(t, err)
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Zero(t, s.HeldLocks())
		})
	})
	t.Run("never unlocked, injected clock", func(t *testing.T) {
		t.Parallel()
		c := newClock()
		s := memstore.New(memstore.Config{Now: c.Now})
		_, err := s.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)
		c.Advance(time.Hour - 1)
		s.Sweep()
		require.Equal(t, 1, s.HeldLocks())
		c.Advance(1)
		s.Sweep()
		require.Zero(t, s.HeldLocks())
	})
	t.Run("waiters gave up", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Config{})
			unlock, err := s.Lock(t.Context(), "k", time.Hour)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			for range 10 {
				go func() { _, _ = s.Lock(ctx, "k", time.Hour) }()
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			unlock()
			require.Zero(t, s.HeldLocks())
		})
	})
}

// TestInjectedClockDecides lets real time and injected time disagree: only the
// injected one may end a lease.
func TestInjectedClockDecides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := memstore.New(memstore.Config{Now: c.Now})
		_, err := s.Lock(t.Context(), "k", time.Minute)
		require.NoError(t, err)

		granted := make(chan struct{})
		go func() {
			unlock, err := s.Lock(t.Context(), "k", time.Minute)
			if err == nil {
				close(granted)
				unlock()
			}
		}()
		time.Sleep(24 * time.Hour) // of the bubble, with the injected clock frozen
		synctest.Wait()
		select {
		case <-granted:
			t.Fatal("real time has ended the lease")
		default:
		}

		c.Advance(time.Minute)
		s.Sweep()
		synctest.Wait()
		select {
		case <-granted:
		default:
			t.Fatal("Sweep did not let the waiter in")
		}
	})
}

// TestInjectedClockIsNoticedWithoutSweep is for a clock that runs by itself but
// is not the real one: the timer of the lease asks it again.
func TestInjectedClockIsNoticedWithoutSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := newClock()
		s := memstore.New(memstore.Config{Now: slow.Now})
		_, err := s.Lock(t.Context(), "k", time.Minute)
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Minute + time.Second)
			slow.Advance(time.Minute)
		}()
		start := time.Now()
		unlock, err := s.Lock(t.Context(), "k", time.Minute)
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(start), 2*time.Minute)
		unlock()
	})
}

// TestLockHandsOver is many goroutines, short leases, cancellations and late
// unlocks on a few names, for the race detector, and ends with free locks.
func TestLockHandsOver(t *testing.T) {
	t.Parallel()
	s := memstore.New(memstore.Config{})
	keys := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+j%7)*time.Millisecond)
				unlock, err := s.Lock(ctx, keys[(i+j)%len(keys)], time.Duration(1+j%3)*time.Millisecond)
				if err == nil && j%5 != 0 { // now and then a holder does not unlock
					unlock()
					unlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		unlock, err := s.Lock(t.Context(), key, time.Hour)
		require.NoError(t, err)
		unlock()
	}
	require.Zero(t, s.HeldLocks())
}
