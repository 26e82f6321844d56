package redisstore_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

func TestReadTellsExpiryAndStamp(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL()})
	expiry := time.Now().Add(time.Hour)
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), expiry))
	first, err := s.Read(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", first.Value)
	require.Equal(t, expiry.UnixMilli(), first.Expiry.UnixMilli())
	require.NoError(t, s.Swap(t.Context(), "k", []byte("v"), []byte("v"), expiry))
	second, err := s.Read(t.Context(), "k")
	require.NoError(t, err)
	require.NotEqual(t, first.Stamp, second.Stamp, "a stamp tells writes of the same value apart")
	_, err = s.Read(t.Context(), "absent")
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = s.Read(t.Context(), "")
	require.ErrorIs(t, err, store.ErrInvalid)
}

// TestBuriedIsNotRestored has two replicas disagree about what was there
// before Redis lost it.
func TestBuriedIsNotRestored(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL()})
	ctx, value := t.Context(), []byte("v")
	absent := func(key string) {
		t.Helper()
		_, _, err := s.Get(ctx, key)
		require.ErrorIs(t, err, store.ErrNotFound)
		require.NoError(t, s.Swap(ctx, key, nil, nil, time.Time{}))
	}

	require.NoError(t, s.Bury(ctx, "buried first", later(), false))
	absent("buried first")
	require.ErrorIs(t, s.Restore(ctx, "buried first", value, later()), store.ErrConflict)
	absent("buried first")

	require.NoError(t, s.Restore(ctx, "restored first", value, later()))
	requireValue(t, s, "restored first", "v")
	require.NoError(t, s.Swap(ctx, "restored first", value, []byte("w"), later()))
	require.NoError(t, s.Bury(ctx, "restored first", later(), false), "also after an update")
	absent("restored first")

	create(t, s, "created", "v")
	require.ErrorIs(t, s.Bury(ctx, "created", later(), false), store.ErrConflict)
	require.ErrorIs(t, s.Restore(ctx, "created", []byte("w"), later()), store.ErrConflict)
	requireValue(t, s, "created", "v")
	require.NoError(t, s.Bury(ctx, "created", later(), true))
	absent("created")
	require.ErrorIs(t, s.Swap(ctx, "created", value, []byte("w"), later()), store.ErrConflict)

	create(t, s, "created", "again")
	requireValue(t, s, "created", "again")
	require.ErrorIs(t, s.Bury(ctx, "created", later(), false), store.ErrConflict, "what is created anew is nobody's ghost")

	require.NoError(t, s.Bury(ctx, "soon", time.Now().Add(30*time.Millisecond), false))
	require.Eventually(t, func() bool { return s.Restore(ctx, "soon", value, later()) == nil }, 5*time.Second, time.Millisecond,
		"a tombstone ends")
	require.NoError(t, s.Restore(ctx, "over", value, time.Now().Add(-time.Hour)))
	absent("over")
}

func TestEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	replicas := [2]*redisstore.Store{open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})}
	epoch := func() string {
		var epochs [2]string
		var wg sync.WaitGroup
		for i, s := range replicas {
			wg.Go(func() {
				var err error
				if epochs[i], err = s.Epoch(context.Background()); err != nil {
					t.Errorf("epoch: %v", err)
				}
			})
		}
		wg.Wait()
		require.NotEmpty(t, epochs[0])
		require.Equal(t, epochs[0], epochs[1], "all replicas agree, also on a new one")
		return epochs[0]
	}
	first := epoch()
	require.NoError(t, server.Restart())
	require.Equal(t, first, epoch(), "it survives a restart with data")
	require.NoError(t, server.RestartEmpty())
	require.NotEqual(t, first, epoch(), "it does not survive the data")
}

// TestRelock has Redis lose its data, and with them the leases, while a lock is
// held, another was given back, and a third has been granted to somebody else.
func TestRelock(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	holder, other := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})
	lock := func(s *redisstore.Store, key string) func() {
		t.Helper()
		unlock, err := s.Lock(t.Context(), key, time.Minute)
		require.NoError(t, err)
		return unlock
	}
	free := func(key string) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		unlock, err := other.Lock(ctx, key, time.Minute)
		if err == nil {
			unlock()
		}
		return err == nil
	}
	unlock := lock(holder, "held")
	lock(holder, "given back")()
	lost := lock(holder, "lost")
	_, err := holder.Lock(t.Context(), "over", time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, server.RestartEmpty())
	unlockOther := lock(other, "lost")

	require.NoError(t, holder.Relock(t.Context()))
	require.False(t, free("held"))
	require.True(t, free("given back"))
	require.True(t, free("over"))
	require.False(t, free("lost"), "it is somebody else's")
	unlockOther()
	require.Eventually(t, func() bool { return !free("lost") }, 5*time.Second, time.Millisecond, "now it is the holder's again")
	lost()
	require.True(t, free("lost"))
	unlock()
	require.True(t, free("held"))
	require.NoError(t, holder.Relock(t.Context()))
	require.True(t, free("held"))

}

// TestRelockConfirms has a Redis that has failed over know of the grant of a lease,
// and not of its confirmation.
func TestRelockConfirms(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL()})
	unlock, err := s.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	defer unlock()
	_, err = server.Do("PEXPIRE", "mcpoauth:l:k", "1500")
	require.NoError(t, err)
	require.NoError(t, s.Relock(t.Context()))
	left, err := server.Do("PTTL", "mcpoauth:l:k")
	require.NoError(t, err)
	require.Greater(t, left, int64(30_000))
}

func TestOnChange(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	var mu sync.Mutex
	var changed []string
	s := open(t, redisstore.Config{URL: server.URL(), OnChange: func(keys []string) {
		mu.Lock()
		defer mu.Unlock()
		if keys == nil {
			keys = []string{"everything"}
		}
		changed = append(changed, keys...)
	}})
	requireChanged := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(want, changed)
		}, 5*time.Second, time.Millisecond)
		changed = nil
	}
	other := open(t, redisstore.Config{URL: server.URL()})
	create(t, other, "k", "v")
	create(t, other, "unread", "v")
	requireValue(t, s, "k", "v")
	require.NoError(t, other.Delete(t.Context(), "unread"))
	require.NoError(t, other.Delete(t.Context(), "k"))
	requireChanged("k")
	_, err := server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	require.NoError(t, err)
	requireChanged("everything")
	_, err = redisstore.New(redisstore.Config{URL: "redis://", OnChange: func([]string) {}})
	require.Error(t, err)
}

func TestPingAsksOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: time.Minute})
	require.NoError(t, s.Ping(t.Context()))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Ping(ended), context.Canceled)
	server.Kill()
	start := time.Now()
	err := s.Ping(t.Context())
	require.True(t, redisstore.IsOutage(err), "%v", err)
	require.Less(t, time.Since(start), 10*time.Second)
	require.NoError(t, server.Restart())
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, 5*time.Second, time.Millisecond)
	s.Close()
	require.ErrorIs(t, s.Ping(t.Context()), redisstore.ErrClosed)
}

// TestIsOutage tells apart what a fallback is for and what it would hide.
func TestIsOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Password: "right"})
	paused := redistest.Run(t, redistest.Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: 200 * time.Millisecond})
	_, _, ofContext := s.Get(ended, "k")
	_, _, missing := s.Get(t.Context(), "k")
	_, wrongPassword := redisstore.New(redisstore.Config{URL: "redis://:wrong@" + server.Addr()})
	require.NoError(t, paused.Pause())
	_, silent := redisstore.New(redisstore.Config{URL: paused.URL(), OpTimeout: 100 * time.Millisecond})
	require.NoError(t, paused.Resume())
	server.Kill()
	_, _, away := s.Get(t.Context(), "not in the cache")
	_, gone := redisstore.New(redisstore.Config{URL: server.URL()})
	_, badURL := redisstore.New(redisstore.Config{URL: "x"})
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"no error", nil, false},
		{"an ended context", ofContext, false},
		{"a missing record", missing, false},
		{"a conflict", store.ErrConflict, false},
		{"an argument", store.ErrInvalid, false},
		{"a closed store", redisstore.ErrClosed, false},
		{"a wrong password", wrongPassword, false},
		{"a bad URL", badURL, false},
		{"a silent server", silent, true},
		{"a server that went away", away, true},
		{"a server that is not there", gone, true},
	} {
		require.Equal(t, tt.want, redisstore.IsOutage(tt.err), "%s: %v", tt.name, tt.err)
	}
}
