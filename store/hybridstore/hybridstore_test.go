package hybridstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// logbook is a log that tests read.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// open returns a store that is closed at the test's end, and its log.
func open(t testing.TB, cfg hybridstore.Config) (*hybridstore.Store, *logbook) {
	t.Helper()
	log := &logbook{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := hybridstore.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, log
}

// onURL is a configuration that notices outages quickly.
func onURL(url string) hybridstore.Config {
	return hybridstore.Config{Redis: redisstore.Config{URL: url, OpTimeout: 200 * time.Millisecond}}
}

// plain is a view of what is in Redis.
func plain(t testing.TB, server *redistest.Server) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(redisstore.Config{URL: server.URL()})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// newerWins is for SetMerge, where the values tell their order.
func newerWins(_ string, _, mine, theirs []byte) (merged []byte, ok bool) {
	if theirs == nil {
		return nil, false
	}
	if bytes.Compare(mine, theirs) > 0 {
		return mine, true
	}
	return theirs, true
}

func later() time.Time { return time.Now().Add(time.Hour) }

func create(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	require.NoError(t, s.Swap(t.Context(), key, nil, []byte(value), later()))
}

func update(t testing.TB, s store.SessionStore, key, old, value string) {
	t.Helper()
	require.NoError(t, s.Swap(t.Context(), key, []byte(old), []byte(value), later()))
}

func requireValue(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	got, _, err := s.Get(t.Context(), key)
	require.NoError(t, err, key)
	require.Equal(t, value, string(got), key)
}

func requireAbsent(t testing.TB, s store.SessionStore, key string) {
	t.Helper()
	_, _, err := s.Get(t.Context(), key)
	require.True(t, isAbsent(err), key)
}

// isAbsent reports whether a replica, perhaps on its own, has no such record.
func isAbsent(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnsure)
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 15*time.Second, time.Millisecond, what)
}

func waitConnected(t testing.TB, s *hybridstore.Store) {
	t.Helper()
	eventually(t, "Redis is never back in service", s.IsRedisConnected)
}

func waitAway(t testing.TB, s *hybridstore.Store) {
	t.Helper()
	eventually(t, "the outage is never noticed", func() bool { return !s.IsRedisConnected() })
}

func waitLogged(t testing.TB, log *logbook, line string) {
	t.Helper()
	eventually(t, "this is never logged: "+line, func() bool { return strings.Contains(log.String(), line) })
}

func requireEventually(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	eventually(t, "the value is never seen", func() bool {
		got, _, err := s.Get(t.Context(), key)
		return err == nil && string(got) == value
	})
}

func requireEventuallyAbsent(t testing.TB, s store.SessionStore, key string) {
	t.Helper()
	eventually(t, "the record never goes", func() bool {
		_, _, err := s.Get(t.Context(), key)
		return isAbsent(err)
	})
}

func TestContractInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		s, _ := open(t, hybridstore.Config{})
		isolated, _ := open(t, hybridstore.Config{})
		return storetest.Backend{Store: s, Isolated: isolated, Resolution: 10 * time.Millisecond}
	})
}

func TestContractWithRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		mine, other := hybridstore.Config{}, hybridstore.Config{}
		mine.Redis = redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":"}
		other.Redis = redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":"}
		grownUpUnder(t, server, mine.Redis.KeyPrefix)
		grownUpUnder(t, server, other.Redis.KeyPrefix)
		s, _ := open(t, mine)
		peer, _ := open(t, mine)
		isolated, _ := open(t, other)
		t.Cleanup(func() { require.True(t, s.IsRedisConnected() && peer.IsRedisConnected(), "this was about Redis") })
		return storetest.Backend{Store: s, Peer: peer, Isolated: isolated, Resolution: 10 * time.Millisecond}
	})
}

func TestContractWithoutRedis(t *testing.T) {
	t.Parallel()
	url := "redis://" + closedPort(t)
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		s, _ := open(t, onURL(url))
		isolated, _ := open(t, onURL(url))
		return storetest.Backend{Store: alone{s}, Isolated: alone{isolated}, Resolution: 10 * time.Millisecond}
	})
}

// alone is a store that has never reached Redis, seen by a caller that counts
// unsure as absent.
type alone struct{ store.SessionStore }

func (s alone) Get(ctx context.Context, key string) ([]byte, time.Time, error) {
	value, expiry, err := s.SessionStore.Get(ctx, key)
	if errors.Is(err, store.ErrUnsure) {
		err = store.ErrNotFound
	}
	return value, expiry, err
}

func (s alone) Extend(ctx context.Context, key string, expiry time.Time) error {
	err := s.SessionStore.Extend(ctx, key, expiry)
	if errors.Is(err, store.ErrUnsure) {
		err = store.ErrNotFound
	}
	return err
}

// closedPort is an address at which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestEmptyURLIsMemory(t *testing.T) {
	t.Parallel()
	s, log := open(t, hybridstore.Config{})
	require.True(t, s.Ephemeral())
	require.False(t, s.IsRedisConnected())
	require.Contains(t, log.String(), "⚠️ no Redis configured")
	create(t, s, "k", "v")
	requireValue(t, s, "k", "v")
	s.Close()
	_, _, err := s.Get(t.Context(), "k")
	require.ErrorIs(t, err, hybridstore.ErrClosed)
}

func TestBadURLIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	const canary = "canary-password"
	server := redistest.Run(t, redistest.Options{Password: "right"})
	for _, tt := range []struct{ name, url, want string }{
		{"no URL", "localhost:6379", "hybridstore: redisstore: Config.URL: the scheme is none of redis"},
		{"not to be parsed", "redis://:" + canary + "%@localhost", "hybridstore: redisstore: Config.URL: cannot be parsed"},
		{"wrong password", "redis://:" + canary + "@" + server.Addr(), "hybridstore: redisstore: connecting: the server refuses: WRONGPASS"},
	} {
		start := time.Now()
		_, err := hybridstore.Open(t.Context(), tt.url)
		require.ErrorContains(t, err, tt.want, tt.name)
		require.NotContains(t, err.Error(), canary, tt.name)
		require.Less(t, time.Since(start), 5*time.Second, tt.name)
	}
	config := onURL(server.URL())
	config.Redis.OnChange = func([]string) {}
	_, err := hybridstore.New(t.Context(), config)
	require.ErrorIs(t, err, store.ErrInvalid)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", config, config, config), "right")
}

func TestEndedContextEndsOpen(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	require.NoError(t, server.Pause())
	defer func() { require.NoError(t, server.Resume()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := hybridstore.Open(ctx, server.URL())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestRedisDownAtStart has a host come up before its Redis.
func TestRedisDownAtStart(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	server.Kill()
	s, log := open(t, onURL(server.URL()))
	require.False(t, s.IsRedisConnected())
	require.False(t, s.Ephemeral(), "its records may still get to Redis, so they must be sealed")
	require.Contains(t, log.String(), "⚠️ Redis is not there")
	create(t, s, "k", "v1")
	update(t, s, "k", "v1", "v2")
	create(t, s, "gone", "v")
	require.NoError(t, s.Swap(t.Context(), "gone", []byte("v"), nil, time.Time{}))

	require.NoError(t, server.Restart())
	waitConnected(t, s)
	waitLogged(t, log, "✅ Redis is connected")
	requireValue(t, plain(t, server), "k", "v2")
	requireAbsent(t, plain(t, server), "gone")
	requireValue(t, s, "k", "v2")
}

// TestReplay makes every kind of change while Redis is away.
func TestReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	s, log := open(t, onURL(server.URL()))
	for _, key := range []string{"updated", "deleted", "taken", "read only", "deleted and created"} {
		create(t, s, key, "before")
	}
	create(t, plain(t, server), "unknown here", "before")
	create(t, plain(t, server), "deleted unread", "before")
	server.Kill()
	requireValue(t, s, "read only", "before") // notices
	waitAway(t, s)
	waitLogged(t, log, "❌ Redis is away")

	create(t, s, "created", "new")
	update(t, s, "updated", "before", "meanwhile")
	update(t, s, "updated", "meanwhile", "after")
	require.NoError(t, s.Delete(t.Context(), "deleted"))
	require.NoError(t, s.Delete(t.Context(), "deleted unread"))
	require.NoError(t, s.Swap(t.Context(), "taken", []byte("before"), nil, time.Time{}))
	require.ErrorIs(t, s.Swap(t.Context(), "taken", []byte("before"), nil, time.Time{}), store.ErrConflict)
	require.NoError(t, s.Delete(t.Context(), "deleted and created"))
	create(t, s, "deleted and created", "anew")
	requireAbsent(t, s, "unknown here")

	require.NoError(t, server.Restart())
	waitConnected(t, s)
	waitLogged(t, log, "✅ Redis is back")
	require.NotContains(t, log.String(), "Redis wins")
	for _, view := range []store.SessionStore{s, plain(t, server)} {
		requireValue(t, view, "created", "new")
		requireValue(t, view, "updated", "after")
		requireValue(t, view, "read only", "before")
		requireValue(t, view, "deleted and created", "anew")
		requireValue(t, view, "unknown here", "before")
		for _, key := range []string{"deleted", "taken", "deleted unread"} {
			requireAbsent(t, view, key)
		}
	}
	update(t, s, "updated", "after", "and on")
}

// TestConflictRedisWins cuts off one replica while another one goes on.
func TestConflictRedisWins(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s, log := open(t, onURL(server.URLAt(proxy.Addr())))
	other := plain(t, server)
	for _, key := range []string{"updated", "deleted there", "taken", "deleted here"} {
		create(t, s, key, "before")
	}
	proxy.Cut()
	waitAway(t, s)
	update(t, s, "updated", "before", "here")
	update(t, s, "deleted there", "before", "here")
	require.NoError(t, s.Swap(t.Context(), "taken", []byte("before"), nil, time.Time{}))
	require.NoError(t, s.Delete(t.Context(), "deleted here"))
	create(t, s, "created", "here")
	update(t, other, "updated", "before", "there")
	require.NoError(t, other.Delete(t.Context(), "deleted there"))
	update(t, other, "taken", "before", "there")
	update(t, other, "deleted here", "before", "there")
	create(t, other, "created", "there")

	proxy.Heal()
	waitConnected(t, s)
	require.Equal(t, 4, strings.Count(log.String(), "⚠️ a record was changed in memory and in Redis: Redis wins"))
	for _, view := range []store.SessionStore{s, other} {
		requireEventually(t, view, "updated", "there")
		requireEventually(t, view, "taken", "there")
		requireEventually(t, view, "created", "there")
		requireEventuallyAbsent(t, view, "deleted there")
		requireEventuallyAbsent(t, view, "deleted here") // a user who disconnected means it
	}
	require.NotContains(t, log.String(), "deleted there", "keys are not logged")
}

func TestLocksWhileAwayAreLocal(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, _ := open(t, onURL(server.URL()))
	server.Kill()
	unlock, err := s.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	require.False(t, s.IsRedisConnected())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Lock(ctx, "k", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	unlock, err = s.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	unlock()
}

// TestMemoryIsBounded fills it with what Redis does not know.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	config := onURL(server.URL())
	config.MaxEntries = 3
	s, log := open(t, config)
	for i := range 10 {
		create(t, s, fmt.Sprint("known", i), "v")
	}
	server.Kill()
	waitAway(t, s)
	requireValue(t, s, "known9", "v")
	requireAbsent(t, s, "known0") // forgotten, the least recently used
	for i := range 3 {
		create(t, s, fmt.Sprint("new", i), "v") // in the place of what Redis knows
	}
	require.ErrorIs(t, s.Swap(t.Context(), "new3", nil, []byte("v"), later()), store.ErrFull)
	update(t, s, "new0", "v", "w")
	require.NoError(t, s.Swap(t.Context(), "new1", []byte("v"), nil, time.Time{}))
	create(t, s, "new3", "v")
	s.Close()
	require.Contains(t, log.String(), "❌ closed while Redis is away: changes are lost")
}

// TestReconnectsWithBackoff listens to how often somebody knocks: at pauses that
// double from 50 ms to 2 s.
func TestReconnectsWithBackoff(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	knocks := make(chan time.Time, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
			knocks <- time.Now()
		}
	}()
	open(t, onURL("redis://"+l.Addr().String()))
	var pauses []time.Duration
	last := <-knocks
	wants := []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000}
	for len(pauses) < len(wants) {
		next := <-knocks
		if pause := next.Sub(last); pause > 25*time.Millisecond { // a client may knock twice
			pauses = append(pauses, pause)
		}
		last = next
	}
	for i, want := range wants {
		require.GreaterOrEqual(t, pauses[i], want*time.Millisecond-5*time.Millisecond, "pause %d of %v", i, pauses)
		// Without the limit the last one were 6.4 s; a busy machine adds to each.
		require.Less(t, pauses[i], 4500*time.Millisecond, "pause %d of %v", i, pauses)
	}
}
