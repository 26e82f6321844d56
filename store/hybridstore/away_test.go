package hybridstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

const readOnly = "Redis is away, and records from before the outage are read-only"

// cutOff opens a store behind a proxy. Config.Redis.URL is set.
func cutOff(t testing.TB, server *redistest.Server, config hybridstore.Config) (*hybridstore.Store, *testlog.Buffer, *redistest.Proxy) {
	t.Helper()
	proxy := redistest.RunProxy(t, server.Addr())
	at := onURL(server.URLAt(proxy.Addr()))
	config.Redis = at.Redis
	for {
		s, log := open(t, config)
		if s.IsRedisConnected() {
			return s, log, proxy
		}
		s.Close() // the machine is too busy: Redis was away from the start
	}
}

// mustLock takes a lock. Its leases last for a minute.
func mustLock(t testing.TB, s store.SessionStore, key string) (unlock func()) {
	t.Helper()
	unlock, err := tryLock(t, s, key, 30*time.Second)
	require.NoError(t, err)
	return unlock
}

func tryLock(t testing.TB, s store.SessionStore, key string, wait time.Duration) (unlock func(), err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	return s.Lock(ctx, key, time.Minute)
}

// Two isolated replicas do not both spend a token that can be spent once.
func TestRecordsFromBeforeAreReadOnly(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, s, "session", "refresh-1")
	create(t, s, "attempt", "pending")
	create(t, s, "gone", "v")
	requireValue(t, s, "session", "refresh-1")
	proxy.Cut()
	waitAway(t, s)
	waitLogged(t, log, "❌ Redis is away")

	requireValue(t, s, "session", "refresh-1")
	err := s.Swap(t.Context(), "session", []byte("refresh-1"), []byte("refresh-2"), later())
	require.ErrorContains(t, err, readOnly)
	err = s.Swap(t.Context(), "attempt", []byte("pending"), nil, time.Time{})
	require.ErrorContains(t, err, readOnly)
	_, err = tryLock(t, s, "session", time.Second)
	require.ErrorContains(t, err, readOnly)
	for _, sentinel := range []error{store.ErrConflict, store.ErrNotFound, store.ErrUnsure, store.ErrInvalid} {
		require.NotErrorIs(t, err, sentinel)
	}
	requireValue(t, s, "attempt", "pending")

	until := time.Now().Add(3 * time.Hour).Truncate(time.Millisecond)
	require.NoError(t, s.Extend(t.Context(), "session", until))
	_, expiry, err := s.Get(t.Context(), "session")
	require.NoError(t, err)
	require.WithinDuration(t, until, expiry, 0)
	require.ErrorContains(t, s.Swap(t.Context(), "session", []byte("refresh-1"), []byte("refresh-2"), later()), readOnly)
	require.NoError(t, s.Delete(t.Context(), "gone"))
	requireAbsent(t, s, "gone")

	proxy.Heal()
	waitConnected(t, s)
	waitLogged(t, log, "✅ Redis is back")
	require.Contains(t, log.String(), "extended=1 removed=1")
	_, expiry, err = plain(t, server).Get(t.Context(), "session")
	require.NoError(t, err)
	require.WithinDuration(t, until, expiry, time.Millisecond)
	requireAbsent(t, plain(t, server), "gone")
	update(t, s, "session", "refresh-1", "refresh-2")
}

// A front end drops a session whose answer is "not found". A replica without
// Redis answers so only for records that it has deleted itself.
func TestUnknownIsUnsure(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, plain(t, server), "of another replica", "v")
	requireAbsent(t, s, "never existed")
	proxy.Cut()
	waitAway(t, s)
	for _, key := range []string{"of another replica", "never existed"} {
		requireUnsure(t, s, key)
		require.ErrorIs(t, s.Extend(t.Context(), key, later()), store.ErrUnsure)
		require.ErrorIs(t, s.Swap(t.Context(), key, []byte("v"), []byte("w"), later()), store.ErrUnsure)
		require.ErrorIs(t, s.Swap(t.Context(), key, nil, nil, time.Time{}), store.ErrUnsure)
	}
	require.NoError(t, s.Delete(t.Context(), "of another replica"), "a removal is never refused")
	requireAbsent(t, s, "of another replica")
	proxy.Heal()
	waitConnected(t, s)
	requireAbsent(t, s, "of another replica")
	requireAbsent(t, plain(t, server), "of another replica")
	requireAbsent(t, s, "never existed")
}

// Records of the outage live fully in memory.
func TestCreatedWhileAway(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{})
	create(t, s, "replaced", "before")
	proxy.Cut()
	waitAway(t, s)
	create(t, s, "session", "v1")
	unlock := mustLock(t, s, "session")
	_, err := tryLock(t, s, "session", 30*time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded, "the lock excludes callers of this replica")
	update(t, s, "session", "v1", "v2")
	unlock()
	require.NoError(t, s.Extend(t.Context(), "session", later().Add(time.Hour)))
	require.ErrorIs(t, s.Swap(t.Context(), "session", []byte("v1"), []byte("v3"), later()), store.ErrConflict)
	create(t, s, "taken", "v")
	require.NoError(t, s.Swap(t.Context(), "taken", []byte("v"), nil, time.Time{}))
	create(t, s, "deleted", "v")
	require.NoError(t, s.Delete(t.Context(), "deleted"))
	require.NoError(t, s.Delete(t.Context(), "replaced"))
	create(t, s, "replaced", "new")

	proxy.Heal()
	waitConnected(t, s)
	waitLogged(t, log, "created=2 changed=0 extended=0 removed=2 waiting=0")
	for _, view := range []store.SessionStore{s, plain(t, server)} {
		requireValue(t, view, "session", "v2")
		requireValue(t, view, "replaced", "new")
		requireAbsent(t, view, "taken")
		requireAbsent(t, view, "deleted")
	}
}

func TestOnlyReplicaChangesRecordsFromBeforeTheOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, log, proxy := cutOff(t, server, hybridstore.Config{OnlyReplica: true})
	for _, key := range []string{"updated", "taken", "changed elsewhere"} {
		create(t, s, key, "v1")
	}
	proxy.Cut()
	waitAway(t, s)
	unlock := mustLock(t, s, "updated")
	update(t, s, "updated", "v1", "v2")
	update(t, s, "updated", "v2", "v3")
	unlock()
	require.NoError(t, s.Swap(t.Context(), "taken", []byte("v1"), nil, time.Time{}))
	requireAbsent(t, s, "taken")
	require.ErrorIs(t, s.Swap(t.Context(), "taken", []byte("v1"), nil, time.Time{}), store.ErrConflict)
	update(t, s, "changed elsewhere", "v1", "here")
	update(t, plain(t, server), "changed elsewhere", "v1", "there") // by an operator, say
	proxy.Heal()
	waitConnected(t, s)
	waitLogged(t, log, "⚠️ changes of the outage are dropped: Redis has other ones\" changes=1")
	for _, view := range []store.SessionStore{s, plain(t, server)} {
		requireValue(t, view, "updated", "v3")
		requireAbsent(t, view, "taken")
		requireValue(t, view, "changed elsewhere", "there")
	}
	require.NotContains(t, log.String(), "elsewhere", "keys are not logged")
}

// TestMemoryIsBounded in entries and bytes. A full memory refuses creations only.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	for _, tt := range []struct {
		name   string
		config hybridstore.Config
	}{
		{"entries", hybridstore.Config{MaxEntries: 3}},
		{"bytes", hybridstore.Config{MaxBytes: 3 * 320}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, log, proxy := cutOff(t, server, tt.config)
			for i := range 10 {
				create(t, s, fmt.Sprint(tt.name, i), "v")
			}
			proxy.Cut()
			waitAway(t, s)
			requireValue(t, s, tt.name+"9", "v")
			requireUnsure(t, s, tt.name+"0") // forgotten, the least recently used
			for i := range 3 {
				create(t, s, fmt.Sprint("new", tt.name, i), "v") // in the place of what Redis knows
			}
			require.ErrorIs(t, s.Swap(t.Context(), "new"+tt.name+"3", nil, []byte("v"), later()), store.ErrFull)
			update(t, s, "new"+tt.name+"0", "v", "w")
			for i := range 10 {
				require.NoError(t, s.Delete(t.Context(), fmt.Sprint(tt.name, i)), "a removal is never refused")
			}
			requireValue(t, s, "new"+tt.name+"0", "w")
			proxy.Heal()
			waitConnected(t, s)
			waitLogged(t, log, "created=3 changed=0 extended=0 removed=10")
			requireAbsent(t, plain(t, server), tt.name+"0")
			requireValue(t, s, "new"+tt.name+"0", "w")
		})
	}
}

// Sessions that end push no others out of memory.
func TestDeletionsLeaveRoom(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{MaxEntries: 10})
	for i := range 5 {
		create(t, s, fmt.Sprint("live", i), "v")
	}
	for i := range 100 {
		create(t, s, fmt.Sprint("ended", i), "v")
		require.NoError(t, s.Delete(t.Context(), fmt.Sprint("ended", i)))
	}
	proxy.Cut()
	waitAway(t, s)
	for i := range 5 {
		requireValue(t, s, fmt.Sprint("live", i), "v")
	}
}

// In a memory that is full, what has expired is reclaimed.
func TestExpiredMakesRoom(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{MaxEntries: 3})
	proxy.Cut()
	waitAway(t, s)
	for i := range 3 {
		require.NoError(t, s.Swap(t.Context(), fmt.Sprint(i), nil, []byte("v"), time.Now().Add(50*time.Millisecond)))
	}
	eventually(t, "nothing is reclaimed", func() bool { return s.Swap(t.Context(), "new", nil, []byte("v"), later()) == nil })
	requireValue(t, s, "new", "v")
}

// A replica does not go on with a record of which Redis has said that it is
// outdated.
func TestChangedElsewhereIsForgotten(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _, proxy := cutOff(t, server, hybridstore.Config{})
	other := plain(t, server)
	create(t, other, "deleted", "v")
	create(t, other, "kept", "v")
	requireValue(t, s, "deleted", "v")
	requireValue(t, s, "kept", "v")
	require.NoError(t, other.Delete(t.Context(), "deleted"))
	requireEventuallyAbsent(t, s, "deleted")
	proxy.Cut()
	waitAway(t, s)
	requireUnsure(t, s, "deleted")
	requireValue(t, s, "kept", "v")
}

// A user can disconnect also when Redis takes no writes.
func TestDeletedFromAFullRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	create(t, s, "session", "v")
	_, err := server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	require.Error(t, s.Swap(t.Context(), "another", nil, []byte("v"), later()))
	require.NoError(t, s.Delete(t.Context(), "session"))
	require.True(t, s.IsRedisConnected())
	requireAbsent(t, plain(t, server), "session")
}
