package hybridstore_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

// TestEmptyRedisIsRefilled is the Sunday on which Redis comes back without its
// data. Two replicas know a few sessions each.
func TestEmptyRedisIsRefilled(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	a, logA := open(t, onURL(server.URL()))
	b, _ := open(t, onURL(server.URL()))
	create(t, a, "of a", "1")
	create(t, b, "of b", "2")
	create(t, a, "of both", "3")
	update(t, a, "of both", "3", "4")
	requireValue(t, b, "of both", "4")
	create(t, a, "deleted online", "5")
	requireValue(t, b, "deleted online", "5")
	create(t, a, "deleted while away", "6")
	requireValue(t, b, "deleted while away", "6")
	require.NoError(t, a.Delete(t.Context(), "deleted online"))

	server.Kill()
	waitAway(t, a)
	waitAway(t, b)
	require.NoError(t, a.Delete(t.Context(), "deleted while away"))
	update(t, a, "of a", "1", "1a")
	require.NoError(t, server.RestartEmpty())
	waitConnected(t, a)
	waitConnected(t, b)
	for _, view := range []store.SessionStore{a, b, plain(t, server)} {
		requireEventually(t, view, "of a", "1a")
		requireEventually(t, view, "of b", "2")
		requireEventually(t, view, "of both", "4")
		requireEventuallyAbsent(t, view, "deleted online")
		requireEventuallyAbsent(t, view, "deleted while away")
	}
	require.NotContains(t, logA.String(), "Redis wins")
}

// TestDeletedElsewhereDoesNotRise leaves alone the replica that only read the
// session which another one, gone since, has deleted.
func TestDeletedElsewhereDoesNotRise(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	deleter, _ := open(t, onURL(server.URL()))
	reader, _ := open(t, onURL(server.URL()))
	create(t, deleter, "deleted", "v")
	create(t, deleter, "kept", "v")
	requireValue(t, reader, "deleted", "v")
	requireValue(t, reader, "kept", "v")
	require.NoError(t, deleter.Delete(t.Context(), "deleted"))
	deleter.Close()
	requireEventuallyAbsent(t, reader, "deleted")

	require.NoError(t, server.RestartEmpty())
	requireEventually(t, plain(t, server), "kept", "v")
	requireAbsent(t, plain(t, server), "deleted")
	requireAbsent(t, reader, "deleted")
}

// TestTombstonesOutrankMemories has a replica not hear of a deletion because it
// is cut off, and Redis lose its data before it is back. Whichever replica
// reaches the empty Redis first, the session stays deleted.
func TestTombstonesOutrankMemories(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		deleterFirst bool
	}{{"the deleter is back first", true}, {"the one who remembers is back first", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			proxyA, proxyB := redistest.RunProxy(t, server.Addr()), redistest.RunProxy(t, server.Addr())
			deleter, _ := open(t, onURL(server.URLAt(proxyA.Addr())))
			remembers, _ := open(t, onURL(server.URLAt(proxyB.Addr())))
			create(t, deleter, "deleted", "v")
			requireValue(t, remembers, "deleted", "v")
			create(t, remembers, "kept", "v")
			proxyB.Cut()
			waitAway(t, remembers)
			require.NoError(t, deleter.Delete(t.Context(), "deleted"))
			requireValue(t, remembers, "deleted", "v") // it cannot know

			proxyA.Cut()
			waitAway(t, deleter)
			require.NoError(t, server.RestartEmpty())
			first, second := proxyB, proxyA
			order := []*hybridstore.Store{remembers, deleter}
			if tt.deleterFirst {
				first, second = second, first
				order[0], order[1] = order[1], order[0]
			}
			first.Heal()
			waitConnected(t, order[0])
			second.Heal()
			waitConnected(t, order[1])
			for _, view := range []store.SessionStore{deleter, remembers, plain(t, server)} {
				requireEventuallyAbsent(t, view, "deleted")
				requireEventually(t, view, "kept", "v")
			}
			create(t, deleter, "deleted", "anew")
			requireEventually(t, remembers, "deleted", "anew")
		})
	}
}

// TestQuickEmptyRestartIsNeverNotFound has Redis lose its data so quickly that
// only its answers give it away.
func TestQuickEmptyRestartIsNeverNotFound(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log := open(t, onURL(server.URL()))
	create(t, s, "k", "0")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			got, _, err := s.Get(context.Background(), "k")
			if err != nil || string(got) != strconv.Itoa(n) {
				t.Errorf("read %s, %v, want %d", got, err, n)
				return
			}
			if err := s.Swap(context.Background(), "k", got, []byte(strconv.Itoa(n+1)), later()); err != nil {
				t.Errorf("swap %d: %v", n, err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	for range 3 {
		require.NoError(t, server.RestartEmpty())
		time.Sleep(300 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	waitConnected(t, s)
	want, _, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	requireValue(t, plain(t, server), "k", string(want))
	t.Logf("%s", log)
}

// TestNobodyNoticesAnOutage counts through kills, pauses and restarts.
func TestNobodyNoticesAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	s, _ := open(t, onURL(server.URL()))
	const users = 4
	ctx, cancel := context.WithCancel(t.Context())
	var counts [users]atomic.Int64
	var wg sync.WaitGroup
	for user := range users {
		key := strconv.Itoa(user)
		create(t, s, key, "0")
		wg.Go(func() {
			unknown := false // whether the last change may arrive yet
			for ctx.Err() == nil {
				n := counts[user].Load()
				old := []byte(strconv.FormatInt(n, 10))
				err := s.Swap(context.Background(), key, old, []byte(strconv.FormatInt(n+1, 10)), later())
				got, _, getErr := s.Get(context.Background(), key)
				for unknown && isUnsure(getErr) {
					got, _, getErr = s.Get(context.Background(), key)
				}
				conflict := errors.Is(err, store.ErrConflict) && !unknown
				unknown = err != nil
				if getErr != nil || conflict {
					t.Errorf("user %d at %d: swap %v, get %s, %v", user, n, err, got, getErr)
					return
				}
				now, _ := strconv.ParseInt(string(got), 10, 64)
				if now != n+1 && (err == nil || now != n) {
					t.Errorf("user %d: %d follows %d (%v)", user, now, n, err)
				}
				counts[user].Store(now)
				time.Sleep(time.Millisecond)
			}
		})
	}
	progress := func() {
		t.Helper()
		before := counts[0].Load()
		eventually(t, "no progress", func() bool { return counts[0].Load() > before+5 })
	}
	progress()
	server.Kill()
	waitAway(t, s)
	progress()
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	progress()
	require.NoError(t, server.Pause())
	waitAway(t, s)
	progress()
	require.NoError(t, server.Resume())
	waitConnected(t, s)
	progress()
	cancel()
	wg.Wait()
	waitConnected(t, s)
	for user := range users {
		requireEventually(t, plain(t, server), strconv.Itoa(user), strconv.FormatInt(counts[user].Load(), 10))
	}
}

// TestAbsentUntilOthersRestore has Redis lose its data, and the only replica
// that knows a session be late to bring it back. The others are not to say
// meanwhile that it is gone.
func TestAbsentUntilOthersRestore(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	late, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	early, log := open(t, onURL(server.URL()))
	create(t, late, "of late", "v")
	create(t, early, "deleted", "v")
	require.NoError(t, early.Delete(t.Context(), "deleted"))
	proxy.Cut()
	waitAway(t, late)
	require.NoError(t, server.RestartEmpty())
	for !strings.Contains(log.String(), "✅ Redis is back") {
		_, _, err := early.Get(t.Context(), "of late")
		require.ErrorIs(t, err, store.ErrUnsure)
	}
	_, _, err := early.Get(t.Context(), "of late")
	require.ErrorIs(t, err, store.ErrUnsure, "Redis is back, and others may be about to restore")
	_, _, err = early.Get(t.Context(), "deleted")
	require.NotErrorIs(t, err, store.ErrUnsure)
	create(t, early, "new", "v")
	proxy.Heal()
	waitConnected(t, late)
	requireValue(t, plain(t, server), "of late", "v")
	requireEventually(t, early, "of late", "v")
}
