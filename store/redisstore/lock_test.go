package redisstore_test

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// TestStalledHolderDoesNoHarm is the reason for tokens and for Swap: a holder
// wakes up after its lease has ended and goes on as if it had not.
func TestStalledHolderDoesNoHarm(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	stalled, next := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})
	create(t, stalled, "token", "refresh-1")

	unlockStalled, err := stalled.Lock(t.Context(), "token", 100*time.Millisecond)
	require.NoError(t, err)
	seen, _, err := stalled.Get(t.Context(), "token")
	require.NoError(t, err)
	// Here it stalls.
	unlockNext, err := next.Lock(t.Context(), "token", time.Minute)
	require.NoError(t, err)
	defer unlockNext()
	require.NoError(t, next.Swap(t.Context(), "token", seen, []byte("refresh-2"), later()))

	require.ErrorIs(t, stalled.Swap(t.Context(), "token", seen, []byte("refresh-2'"), later()), store.ErrConflict,
		"its write is refused")
	unlockStalled()
	ctx, cancel := contextWithTimeout(t, 50*time.Millisecond)
	defer cancel()
	_, err = stalled.Lock(ctx, "token", time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded, "its unlock releases no other holder's lease")
	requireEventually(t, stalled, "token", "refresh-2")
}

func TestThousandTakersOneWinner(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	cfg := redisstore.Config{URL: server.URL(), OpTimeout: time.Minute}
	replicas := [2]*redisstore.Store{open(t, cfg), open(t, cfg)}
	create(t, replicas[0], "attempt", "pending")
	var won, lost atomic.Int32
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			<-start
			err := replicas[i%2].Swap(t.Context(), "attempt", []byte("pending"), []byte(strconv.Itoa(i)), later())
			switch err {
			case nil:
				won.Add(1)
			case store.ErrConflict:
				lost.Add(1)
			default:
				t.Errorf("taker %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	require.Equal(t, int32(1), won.Load())
	require.Equal(t, int32(999), lost.Load())
}

// TestLockedReadIsFreshWhenNewsIsLate: the node with the record is slow to say that it
// has changed, and the node with the lock is quick to grant it.
func TestLockedReadIsFreshWhenNewsIsLate(t *testing.T) {
	t.Parallel()
	cluster := redistest.RunCluster(t, 3)
	key := apart(t, cluster)
	slow, err := cluster.NodeOf("mcpoauth:v:" + key)
	require.NoError(t, err)
	proxy := redistest.RunProxy(t, slow.Addr())
	writer := open(t, redisstore.Config{URL: cluster.URL()})
	reader := open(t, redisstore.Config{ClientOption: rueidis.ClientOption{
		InitAddress: []string{cluster.Nodes[0].Addr()},
		DialCtxFn: func(ctx context.Context, addr string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			if addr == slow.Addr() {
				addr = proxy.Addr()
			}
			return dialer.DialContext(ctx, "tcp", addr)
		},
	}})
	create(t, writer, key, "old")
	requireValue(t, reader, key, "old")
	proxy.Delay(100 * time.Millisecond)
	require.NoError(t, writer.Swap(t.Context(), key, []byte("old"), []byte("new"), later()))
	unlock, err := reader.Lock(t.Context(), key, time.Minute)
	require.NoError(t, err)
	defer unlock()
	requireValue(t, reader, key, "new")
}

// apart returns a key whose record and whose lock are on different nodes.
func apart(t *testing.T, cluster *redistest.Cluster) string {
	t.Helper()
	for i := range 100 {
		key := "k" + strconv.Itoa(i)
		record, err := cluster.NodeOf("mcpoauth:v:" + key)
		require.NoError(t, err)
		lock, err := cluster.NodeOf("mcpoauth:l:" + key)
		require.NoError(t, err)
		if record != lock {
			return key
		}
	}
	require.Fail(t, "all keys are on one node")
	return ""
}

// TestLockedReadsAreFreshOnEveryConnection passes a lock to and fro between two
// replicas with many connections, of which the lock's is not the cache's.
func TestLockedReadsAreFreshOnEveryConnection(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	var replicas [2]*redisstore.Store
	for i := range replicas {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, PipelineMultiplex: 2})
		require.NoError(t, err)
		t.Cleanup(client.Close)
		replicas[i] = open(t, redisstore.Config{Client: client})
	}
	value := "0"
	create(t, replicas[0], "k", value)
	for n := range 300 {
		s := replicas[n%2]
		unlock, err := s.Lock(t.Context(), "k", time.Minute)
		require.NoError(t, err)
		requireValue(t, s, "k", value)
		next := strconv.Itoa(n + 1)
		require.NoError(t, s.Swap(t.Context(), "k", []byte(value), []byte(next), later()))
		value = next
		unlock()
	}
}

// TestWaitingAsksSeldom counts what a hundred waiters cost the server.
func TestWaitingAsksSeldom(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	holder, waiting := open(t, redisstore.Config{URL: server.URL()}), open(t, redisstore.Config{URL: server.URL()})
	unlock, err := holder.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	require.NoError(t, server.ResetStats())
	began := time.Now()
	var granted atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			unlock, err := waiting.Lock(t.Context(), "k", time.Minute)
			if err != nil {
				t.Errorf("lock: %v", err)
				return
			}
			granted.Add(1)
			unlock()
		})
	}
	time.Sleep(500 * time.Millisecond) // Redis has no clock to move
	stats, err := server.CommandStats()
	require.NoError(t, err)
	tenths := int64(time.Since(began) / (100 * time.Millisecond))
	require.LessOrEqual(t, stats["evalsha"], 7+tenths, "one waiter asks, less and less often: at most every 100 ms in the end")
	require.Zero(t, granted.Load())
	require.Equal(t, 1, waiting.Waiting())

	start := time.Now()
	unlock()
	wg.Wait()
	t.Logf("100 waiters in turn: %v", time.Since(start))
	require.Zero(t, waiting.Waiting(), "nothing is remembered about a lock without waiters")
}

// TestCancelledLockLeavesNoLease cancels while the answer is on its way.
func TestCancelledLockLeavesNoLease(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s := open(t, redisstore.Config{URL: server.URLAt(proxy.Addr()), OpTimeout: time.Minute})
	proxy.Delay(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	locked := make(chan error, 1)
	go func() { _, err := s.Lock(ctx, "k", time.Minute); locked <- err }()
	require.Eventually(t, func() bool { // sent, granted, not answered
		n, err := server.Do("EXISTS", "mcpoauth:l:k")
		return err == nil && n == int64(1)
	}, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-locked, context.Canceled)
	proxy.Heal()

	ctx, cancel = contextWithTimeout(t, 30*time.Second)
	defer cancel()
	unlock, err := s.Lock(ctx, "k", time.Minute)
	require.NoError(t, err)
	unlock()
}

// TestUnlockBoundsItsOwnTime has the server hang when the lock is given back.
func TestUnlockBoundsItsOwnTime(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second})
	unlock, err := s.Lock(t.Context(), "k", time.Minute)
	require.NoError(t, err)
	require.NoError(t, server.Pause())
	defer func() { require.NoError(t, server.Resume()) }()
	start := time.Now()
	unlock()
	require.Less(t, time.Since(start), 30*time.Second)
}

// TestUnlockDuringAnOutage has Redis come back, with the lease, after unlock
// has stopped waiting for it: others do not wait for the rest of the lease.
func TestUnlockDuringAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	holder := open(t, redisstore.Config{URL: server.URL(), OpTimeout: 2 * time.Second})
	other := open(t, redisstore.Config{URL: server.URL()})
	unlock, err := holder.Lock(t.Context(), "k", 10*time.Minute)
	require.NoError(t, err)
	server.Kill()
	unlock()
	require.NoError(t, server.Restart())
	ctx, cancel := contextWithTimeout(t, time.Minute)
	defer cancel()
	unlock, err = other.Lock(ctx, "k", time.Minute)
	require.NoError(t, err)
	unlock()
}

// deaf is a connection that dies instead of delivering an answer, once armed,
// and every later one with it.
type deaf struct {
	net.Conn
	armed, dead *atomic.Bool
}

func (c deaf) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.armed.Load() {
		c.dead.Store(true)
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// TestGrantThatWasNotHeard: a lock is granted to a replica that does not get the
// answer, and cannot take its request back.
func TestGrantThatWasNotHeard(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	var armed, dead atomic.Bool
	const opTimeout = 2 * time.Second
	lost := open(t, redisstore.Config{OpTimeout: opTimeout, ClientOption: rueidis.ClientOption{
		InitAddress: []string{server.Addr()},
		DialCtxFn: func(ctx context.Context, addr string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			if dead.Load() {
				return nil, net.ErrClosed
			}
			conn, err := dialer.DialContext(ctx, "tcp", addr)
			return deaf{conn, &armed, &dead}, err
		},
	}})
	other := open(t, redisstore.Config{URL: server.URL()})
	unlock, err := lost.Lock(t.Context(), "k", time.Minute) // so that the server knows the script
	require.NoError(t, err)
	unlock()
	armed.Store(true)
	_, err = lost.Lock(t.Context(), "k", time.Minute)
	require.True(t, redis.IsOutage(err), "%v", err)
	require.True(t, dead.Load())

	ctx, cancel := contextWithTimeout(t, 30*time.Second)
	defer cancel()
	unlock, err = other.Lock(ctx, "k", time.Minute)
	require.NoError(t, err, "it is not held for its whole time")
	unlock()
}
