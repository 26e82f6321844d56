package redisstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// later is an expiry that no test reaches.
func later() time.Time { return time.Now().Add(time.Hour) }

// steady is the URL of a server for a test that counts commands. A connection that
// a busy machine keeps from answering is not replaced, and so nothing is read again.
func steady(server *redistest.Server) string { return server.URL() + "?write_timeout=1m" }

// create stores a new record.
func create(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	require.NoError(t, s.Swap(t.Context(), key, nil, []byte(value), later()))
}

// requireValue requires what a store answers.
func requireValue(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	got, _, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, value, string(got))
}

// requireOutage requires an error that cannot be mistaken for an answer about a
// record.
func requireOutage(t testing.TB, err error) {
	t.Helper()
	require.Error(t, err)
	for _, sentinel := range []error{store.ErrNotFound, store.ErrConflict, store.ErrFull, store.ErrInvalid} {
		require.NotErrorIs(t, err, sentinel)
	}
}

// TestWarmGetsSendNothing is the proof for "zero Redis commands" on the hot
// path: the server counts.
func TestWarmGetsSendNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: steady(server)})
	create(t, s, "k", "v")
	requireValue(t, s, "k", "v")
	_, _, err := s.Get(t.Context(), "absent")
	require.ErrorIs(t, err, store.ErrNotFound)

	require.NoError(t, server.ResetStats())
	for range 10_000 {
		requireValue(t, s, "k", "v")
	}
	_, _, err = s.Get(t.Context(), "absent")
	require.ErrorIs(t, err, store.ErrNotFound)
	stats, err := server.CommandStats()
	require.NoError(t, err)
	require.Empty(t, stats)
}

// TestCommandsPerOperation keeps an eye on what each operation costs.
func TestCommandsPerOperation(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: steady(server)})
	other := open(t, redisstore.Config{URL: steady(server)})
	create(t, s, "k", "v")
	unlock, err := s.Lock(t.Context(), "k", time.Minute) // loads the scripts
	require.NoError(t, err)
	unlock()
	for _, tt := range []struct {
		name string
		op   func() error
		want redistest.Stats
	}{
		{"cold Get", func() error { _, _, err := s.Get(t.Context(), "k"); return err },
			redistest.Stats{"client|caching": 1, "multi": 1, "pttl": 1, "get": 1, "exec": 1}},
		{"Swap", func() error { return s.Swap(t.Context(), "k", []byte("v"), []byte("w"), later()) },
			redistest.Stats{"evalsha": 1, "get": 1, "set": 1, "exists": 1}},
		{"Swap that conflicts", func() error {
			if err := other.Swap(t.Context(), "k", nil, []byte("w"), later()); !errors.Is(err, store.ErrConflict) {
				return fmt.Errorf("no conflict: %w", err)
			}
			return nil
		}, redistest.Stats{"evalsha": 1, "get": 1, "exists": 1}},
		{"Lock and unlock", func() error {
			unlock, err := s.Lock(t.Context(), "k", time.Minute)
			if err == nil {
				unlock()
			}
			return err
		}, redistest.Stats{"evalsha": 3, "get": 3, "set": 1, "pexpire": 1, "del": 1}},
		{"Delete", func() error { return s.Delete(t.Context(), "k") }, redistest.Stats{"del": 1, "exists": 1}},
	} {
		require.NoError(t, server.ResetStats())
		require.NoError(t, tt.op(), tt.name)
		stats, err := server.CommandStats()
		require.NoError(t, err)
		require.Equal(t, tt.want, stats, tt.name)
	}
}

// TestOwnWritesAreSeenAtOnce hammers the moment between a write's answer and
// Redis's word that the cached value is out of date, while others keep filling
// the cache.
func TestOwnWritesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	cluster := redistest.RunCluster(t, 3)
	borrowed, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, PipelineMultiplex: 2})
	require.NoError(t, err)
	t.Cleanup(borrowed.Close)
	for _, tt := range []struct {
		name   string
		config redisstore.Config
	}{
		{"standalone", redisstore.Config{URL: server.URL()}},
		{"cluster", redisstore.Config{URL: cluster.URL()}},
		{"borrowed client with four connections", redisstore.Config{Client: borrowed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.config.KeyPrefix = rand.Text()
			s := open(t, tt.config)
			hammer(t, s)
		})
	}
}

func hammer(t *testing.T, s *redisstore.Store) {
	t.Helper()
	const writers, writes = 4, 300
	stop := make(chan struct{})
	var readers, wg sync.WaitGroup
	for i := range writers {
		key := "k" + strconv.Itoa(i)
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Microsecond):
					_, _, _ = s.Get(t.Context(), key)
				}
			}
		})
		wg.Go(func() {
			var old []byte
			for n := range writes {
				next := []byte(strconv.Itoa(n))
				if err := s.Swap(t.Context(), key, old, next, later()); err != nil {
					t.Errorf("swap: %v", err)
					return
				}
				if got, _, err := s.Get(t.Context(), key); err != nil || string(got) != string(next) {
					t.Errorf("after writing %s: read %s, %v", next, got, err)
					return
				}
				old = next
			}
			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("delete: %v", err)
			}
			if _, _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("after deleting: %v", err)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
}

// TestWritesElsewhereAreSeenWithinMilliseconds measures from the end of a write
// through one replica to the first read of it through another that had the old
// value in its cache.
func TestWritesElsewhereAreSeenWithinMilliseconds(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	writer, reader := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})
	const writes = 200
	var took, delays []time.Duration
	old := []byte("start")
	create(t, writer, "k", string(old))
	for n := range writes {
		requireEventually(t, reader, "k", string(old))
		next := []byte(strconv.Itoa(n))
		start := time.Now()
		require.NoError(t, writer.Swap(t.Context(), "k", old, next, later()))
		took = append(took, time.Since(start))
		start = time.Now()
		requireEventually(t, reader, "k", string(next))
		delays = append(delays, time.Since(start))
		old = next
	}
	slices.Sort(took)
	slices.Sort(delays)
	median := delays[writes/2]
	t.Logf("median %v, 99%% %v, most %v; a write: %v", median, delays[writes*99/100], delays[writes-1], took[writes/2])
	require.Less(t, median, 20*time.Millisecond+10*took[writes/2], "a busy machine slows writes as well")
}

// requireEventually requires that a store comes to answer value soon.
func requireEventually(t testing.TB, s store.SessionStore, key, value string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second) // half of CacheTTL
	for {
		got, _, err := s.Get(t.Context(), key)
		if err == nil && string(got) == value {
			return
		}
		if time.Now().After(deadline) {
			require.Fail(t, "the value was never seen", "last: %s, %v", got, err)
		}
	}
}

// TestKilledConnectionLeavesNothingStale kills every connection of a replica
// while another one writes.
func TestKilledConnectionLeavesNothingStale(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	writer, reader := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URLAt(proxy.Addr())})
	old := "start"
	create(t, writer, "k", old)
	const rounds = 20
	var delays []time.Duration
	for n := range rounds {
		requireEventually(t, reader, "k", old)
		if n%2 == 0 {
			proxy.Drop()
		} else {
			_, err := server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			require.NoError(t, err)
		}
		next := strconv.Itoa(n)
		require.NoError(t, writer.Swap(t.Context(), "k", []byte(old), []byte(next), later()))
		start := time.Now()
		requireEventually(t, reader, "k", next)
		delays = append(delays, time.Since(start))
		old = next
	}
	slices.Sort(delays)
	require.Less(t, delays[rounds/2], 2*time.Second, "a connection that was closed is noticed before one that is silent")
}

// TestSilentNetworkLeavesNothingStale loses every packet, so that neither side
// hears of it, and bounds for how long the cache is believed: three seconds, and
// what a busy machine adds, not CacheTTL, which is a minute.
func TestSilentNetworkLeavesNothingStale(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	writer := open(t, redisstore.Config{URL: server.URL()})
	reader := open(t, redisstore.Config{URL: server.URLAt(proxy.Addr()), OpTimeout: 2 * time.Second})
	create(t, writer, "k", "old")
	requireValue(t, reader, "k", "old")

	proxy.Silence()
	require.NoError(t, writer.Swap(t.Context(), "k", []byte("old"), []byte("new"), later()))
	start := time.Now()
	var believed time.Duration
	for {
		_, _, err := reader.Get(t.Context(), "k")
		if err != nil {
			requireOutage(t, err)
			break
		}
		believed = time.Since(start)
		require.Less(t, believed, 20*time.Second, "the cache is still believed")
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("believed for %v", believed)
	proxy.Heal()
	requireEventually(t, reader, "k", "new")
	requireValue(t, reader, "k", "new")
}

// TestCacheFollowsServerSideChanges covers what happens without a Swap.
func TestCacheFollowsServerSideChanges(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Config: []string{"tracking-table-max-keys 10"}})
	s := open(t, redisstore.Config{URL: server.URL()})
	create(t, s, "k", "v")
	requireValue(t, s, "k", "v")
	_, err := server.Do("FLUSHALL")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, _, err := s.Get(t.Context(), "k")
		return errors.Is(err, store.ErrNotFound)
	}, 30*time.Second, time.Millisecond, "an administrator emptied the server")

	for i := range 100 { // far more than the server remembers who has read
		create(t, s, strconv.Itoa(i), "old")
		requireValue(t, s, strconv.Itoa(i), "old")
	}
	other := open(t, redisstore.Config{URL: server.URL()})
	for i := range 100 {
		require.NoError(t, other.Swap(t.Context(), strconv.Itoa(i), []byte("old"), []byte("new"), later()))
		requireEventually(t, s, strconv.Itoa(i), "new")
	}
}

// TestCancelledReaderDoesNotFailOthers has many readers share one request,
// whose sender gives up.
func TestCancelledReaderDoesNotFailOthers(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s := open(t, redisstore.Config{URL: server.URLAt(proxy.Addr())})
	create(t, s, "k", "v")
	proxy.Delay(50 * time.Millisecond)
	impatient, cancel := contextWithTimeout(t, 20*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = s.Get(impatient, "k") })
	time.Sleep(5 * time.Millisecond)
	for range 8 {
		wg.Go(func() {
			if got, _, err := s.Get(t.Context(), "k"); err != nil || string(got) != "v" {
				t.Errorf("read %s, %v", got, err)
			}
		})
	}
	wg.Wait()
}

// A Redis whose memory is full refuses transactions, in which the cache reads,
// but no other reads: sessions go on being used.
func TestFullRedisIsRead(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s, other := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})
	create(t, s, "k", "v")
	_, err := server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	requireValue(t, other, "k", "v")
	_, _, err = other.Get(t.Context(), "absent")
	require.ErrorIs(t, err, store.ErrNotFound)
	err = other.Swap(t.Context(), "k", []byte("v"), []byte("w"), later())
	require.ErrorContains(t, err, "OOM (its memory is full)")
	requireValue(t, s, "k", "v")
	_, err = server.Do("CONFIG", "SET", "maxmemory", "0")
	require.NoError(t, err)
	require.NoError(t, other.Swap(t.Context(), "k", []byte("v"), []byte("w"), later()))
	requireEventually(t, s, "k", "w")
}

// A record that is read all the time is asked for once per CacheTTL.
func TestCacheTTLIsHowOftenRedisIsAsked(t *testing.T) {
	t.Parallel()
	const ttl, rounding, times = 200 * time.Millisecond, 10 * time.Millisecond, 5
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: steady(server), CacheTTL: ttl})
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))
	require.NoError(t, server.ResetStats())
	start := time.Now()
	for asked := int64(0); asked < times; {
		_, _, err := s.Get(t.Context(), "k")
		require.NoError(t, err)
		stats, err := server.CommandStats()
		require.NoError(t, err)
		asked = stats["get"]
		require.LessOrEqual(t, asked, int64(time.Since(start)/(ttl-rounding))+1)
		require.Less(t, time.Since(start), time.Minute, "Redis is not asked again")
	}
}
