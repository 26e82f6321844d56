package hybridstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// dyingNetwork dies right after it has delivered an invalidation, with the
// answers that follow it, and stays dead until it is healed.
type dyingNetwork struct {
	net.Conn
	armed, dead *atomic.Bool
}

var errDead = errors.New("the network is dead")

func (c dyingNetwork) Read(p []byte) (int, error) {
	if c.dead.Load() {
		c.Conn.Close()
		return 0, errDead
	}
	n, err := c.Conn.Read(p)
	if at := bytes.Index(p[:n], []byte("invalidate")); at >= 0 && c.armed.CompareAndSwap(true, false) {
		c.dead.Store(true)
		// The answer after the invalidation is that of EXISTS.
		n = bytes.LastIndex(p[:n], []byte(":1\r\n"))
	}
	return n, err
}

// TestOutageBetweenAnInvalidationAndItsAnswer loses an answer when this
// replica has already been told that what it knows has changed, by itself.
func TestOutageBetweenAnInvalidationAndItsAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	var armed, dead atomic.Bool
	config := hybridstore.Config{Redis: redisstore.Config{
		OpTimeout: 200 * time.Millisecond,
		ClientOption: rueidis.ClientOption{
			InitAddress: []string{server.Addr()},
			DialCtxFn: func(ctx context.Context, addr string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
				if dead.Load() {
					return nil, &net.OpError{Op: "dial", Err: errDead}
				}
				conn, err := dialer.DialContext(ctx, "tcp", addr)
				return dyingNetwork{conn, &armed, &dead}, err
			},
		},
	}}
	s, log := open(t, config)
	create(t, s, "k", "v1")
	requireValue(t, s, "k", "v1")
	armed.Store(true)
	require.NoError(t, s.Swap(t.Context(), "k", []byte("v1"), []byte("v2"), later()))
	require.True(t, dead.Load(), "this was about a network that dies")
	require.False(t, s.IsRedisConnected())
	requireValue(t, s, "k", "v2")
	update(t, s, "k", "v2", "v3")
	requireValue(t, plain(t, server), "k", "v2") // the attempt had arrived

	dead.Store(false)
	waitConnected(t, s)
	requireValue(t, plain(t, server), "k", "v3")
	require.NotContains(t, log.String(), "Redis wins")
}

// TestCreatedAgainAfterExpiry replaces, while Redis is away, a record that has
// expired by the time that Redis is asked for it.
func TestCreatedAgainAfterExpiry(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	s, log := open(t, onURL(server.URL()))
	expiry := time.Now().Add(500 * time.Millisecond)
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("old"), expiry))
	server.Kill()
	waitAway(t, s)
	require.NoError(t, s.Swap(t.Context(), "k", []byte("old"), nil, time.Time{}))
	create(t, s, "k", "new")
	time.Sleep(time.Until(expiry))
	require.NoError(t, server.Restart())
	waitConnected(t, s)
	requireValue(t, plain(t, server), "k", "new")
	require.NotContains(t, log.String(), "Redis wins")
}

// TestInterruptedTake has the answer to a take be lost for good: whether it was
// this one that took it is not known, so nobody is told that it was.
func TestInterruptedTake(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	create(t, s, "attempt", "pending")
	proxy.LoseAnswerTo("EVALSHA")
	err := s.Swap(t.Context(), "attempt", []byte("pending"), nil, time.Time{})
	if err != nil { // with Redis back at once
		require.NotErrorIs(t, err, store.ErrConflict)
		require.NotErrorIs(t, err, store.ErrNotFound)
	}
	waitConnected(t, s)
	requireEventuallyAbsent(t, s, "attempt")
	requireAbsent(t, plain(t, server), "attempt")
}

// TestReconnectedCacheIsVerified loses the connection that tells of changes,
// and with it all that this replica could vouch for.
func TestReconnectedCacheIsVerified(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	s, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	other := plain(t, server)
	create(t, s, "kept", "v")
	create(t, s, "deleted", "v")
	requireValue(t, s, "kept", "v")
	require.NoError(t, server.ResetStats())
	proxy.Drop()
	eventually(t, "what is remembered is not read again", func() bool {
		stats, err := server.CommandStats()
		return err == nil && stats["client|caching"] >= 2
	})
	require.NoError(t, other.Delete(t.Context(), "deleted"))
	requireEventuallyAbsent(t, s, "deleted")
	require.NoError(t, server.RestartEmpty())
	requireEventually(t, plain(t, server), "kept", "v")
	requireAbsent(t, plain(t, server), "deleted")
}
