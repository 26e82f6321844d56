package hybridstore_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/ports"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// open returns a store that is closed at the test's end, and its log.
func open(t testing.TB, cfg hybridstore.Config) (*hybridstore.Store, *testlog.Buffer) {
	t.Helper()
	log := new(testlog.Buffer)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := hybridstore.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, log
}

// onURL is a configuration that notices outages soon. A busy machine is no outage.
func onURL(url string) hybridstore.Config {
	return hybridstore.Config{Redis: redisstore.Config{URL: url, OpTimeout: 2 * time.Second}}
}

// plain is a view of what is in Redis.
func plain(t testing.TB, server *redistest.Server) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL() + "?dial_timeout=1m&write_timeout=1m", OpTimeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
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
	require.ErrorIs(t, err, store.ErrNotFound, key)
}

// requireUnsure requires the outcome for a record that a replica has not seen.
func requireUnsure(t testing.TB, s store.SessionStore, key string) {
	t.Helper()
	_, _, err := s.Get(t.Context(), key)
	require.ErrorIs(t, err, store.ErrUnsure, key)
	require.NotErrorIs(t, err, store.ErrNotFound, key)
	require.NotContains(t, err.Error(), key)
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, time.Millisecond, what)
}

func waitConnected(t testing.TB, s *hybridstore.Store) {
	t.Helper()
	eventually(t, "Redis is never back in service", s.IsRedisConnected)
}

func waitAway(t testing.TB, s *hybridstore.Store) {
	t.Helper()
	eventually(t, "the outage is never noticed", func() bool { return !s.IsRedisConnected() })
}

func waitLogged(t testing.TB, log *testlog.Buffer, line string) {
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
		return errors.Is(err, store.ErrNotFound)
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
		// A busy machine is no outage.
		mine.Redis = redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":", OpTimeout: time.Minute}
		other.Redis = redisstore.Config{URL: server.URL(), KeyPrefix: rand.Text() + ":", OpTimeout: time.Minute}
		s, _ := open(t, mine)
		peer, _ := open(t, mine)
		isolated, _ := open(t, other)
		t.Cleanup(func() { require.True(t, s.IsRedisConnected() && peer.IsRedisConnected(), "this was about Redis") })
		return storetest.Backend{Store: s, Peer: peer, Isolated: isolated, Resolution: 10 * time.Millisecond, Timeout: time.Minute}
	})
}

func TestContractWithoutRedis(t *testing.T) {
	t.Parallel()
	url := "redis://" + refused(t)
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		s, _ := open(t, onURL(url))
		isolated, _ := open(t, onURL(url))
		return storetest.Backend{Store: alone{s}, Isolated: alone{isolated}, Resolution: 10 * time.Millisecond}
	})
}

// alone is a store that has never reached Redis, seen by a caller that counts
// unsure as absent.
type alone struct{ store.SessionStore }

func (s alone) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	err := s.SessionStore.Swap(ctx, key, old, new, expiry)
	if errors.Is(err, store.ErrUnsure) && old == nil {
		err = nil // asked whether the record is absent
	} else if errors.Is(err, store.ErrUnsure) {
		err = store.ErrConflict
	}
	return err
}

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

// refused is an address that refuses connections.
func refused(t testing.TB) string {
	t.Helper()
	address, err := ports.Refused()
	require.NoError(t, err)
	return address
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
		require.Less(t, time.Since(start), 30*time.Second, tt.name)
	}
	config := onURL(server.URL())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", config, config, config), "right")
}

// TestMistakesInTheConfig come as one error.
func TestMistakesInTheConfig(t *testing.T) {
	t.Parallel()
	_, err := hybridstore.New(t.Context(), hybridstore.Config{
		MaxEntries: -1, MaxBytes: -1, Redis: redisstore.Config{OpTimeout: -1, MaxValueBytes: -1},
	})
	require.ErrorIs(t, err, store.ErrInvalid)
	for _, field := range []string{"MaxEntries", "MaxBytes", "Redis.OpTimeout", "Redis.MaxValueBytes"} {
		require.ErrorContains(t, err, "hybridstore: Config."+field+": is negative")
	}
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

// TestConnectedFromTheStart: the first write already goes to Redis.
func TestConnectedFromTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	for range 100 {
		s, _ := open(t, onURL(server.URL()))
		require.True(t, s.IsRedisConnected())
		s.Close()
	}
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
	waitLogged(t, log, "✅ Redis is back")
	requireValue(t, plain(t, server), "k", "v2")
	requireAbsent(t, plain(t, server), "gone")
	requireValue(t, s, "k", "v2")
}

// TestReconnectsWithBackoff: the pauses between attempts double from 50 ms to 2 s.
func TestReconnectsWithBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := make(chan time.Time, 1000)
		s, _ := open(t, hybridstore.Config{Redis: redisstore.Config{ClientOption: rueidis.ClientOption{
			InitAddress: []string{"redis.example:6379"},
			DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
				attempts <- time.Now()
				return nil, syscall.ECONNREFUSED
			},
		}}})
		last := <-attempts
		for i, most := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000} {
			next := <-attempts
			for next.Equal(last) { // a client may dial twice
				next = <-attempts
			}
			pause := next.Sub(last)
			require.GreaterOrEqual(t, pause, most*time.Millisecond/2, "pause %d: half of it is random", i)
			require.LessOrEqual(t, pause, most*time.Millisecond, "pause %d", i)
			last = next
		}
		s.Close()
		time.Sleep(time.Minute) // of the bubble, for what the client has scheduled
	})
}
