package hybridstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
)

// wire is a connection to Redis whose traffic a test sees before Redis and the
// store do.
type wire struct {
	net.Conn
	received func([]byte) error // an error ends the connection
	sending  func([]byte)
}

func (w wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err == nil && w.received != nil {
		if err = w.received(p[:n]); err != nil {
			w.Conn.Close()
			return 0, err
		}
	}
	return n, err
}

func (w wire) Write(p []byte) (int, error) {
	if w.sending != nil {
		w.sending(p)
	}
	return w.Conn.Write(p)
}

func onWire(addr string, received func([]byte) error, sending func([]byte)) hybridstore.Config {
	config := onURL("")
	config.Redis.ClientOption = rueidis.ClientOption{
		InitAddress: []string{addr},
		DialCtxFn: func(ctx context.Context, addr string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", addr)
			return wire{conn, received, sending}, err
		},
	}
	return config
}

// TestNewerIsRestoredOverOlder has a replica not hear of the last change before
// Redis lost its data, because its connection broke with the news in it, and be
// the first to bring back what it knows.
func TestNewerIsRestoredOverOlder(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]bool{"as it was": false, "changed meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			proxy := redistest.RunProxy(t, server.Addr())
			writer, log := open(t, onURL(server.URLAt(proxy.Addr())))
			var armed atomic.Bool
			unaware, _ := open(t, onWire(server.Addr(), func(p []byte) error {
				if bytes.Contains(p, []byte("invalidate")) && armed.Load() {
					server.Kill()
					return errDead
				}
				return nil
			}, nil))
			writer.SetMerge(newerWins)
			create(t, writer, "token", "refresh-1")
			requireValue(t, unaware, "token", "refresh-1")
			armed.Store(true)
			update(t, writer, "token", "refresh-1", "refresh-2")
			waitAway(t, unaware)
			requireValue(t, unaware, "token", "refresh-1")
			waitAway(t, writer)
			proxy.Cut()
			want := "refresh-2"
			if meanwhile {
				want = "refresh-3"
				update(t, writer, "token", "refresh-2", want)
			}

			armed.Store(false)
			require.NoError(t, server.RestartEmpty())
			waitConnected(t, unaware)
			requireValue(t, plain(t, server), "token", "refresh-1")
			proxy.Heal()
			waitConnected(t, writer)
			requireValue(t, plain(t, server), "token", want)
			requireEventually(t, unaware, "token", want)
			requireValue(t, writer, "token", want)
			require.NotContains(t, log.String(), "Redis wins")
		})
	}
}

// TestRestoredByTwoAtOnce has another replica bring back the former state of a
// record between two steps of the one that has changed it meanwhile.
func TestRestoredByTwoAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	other := plain(t, server)
	var armed atomic.Bool
	changed, log := open(t, onWire(server.Addr(), nil, func(p []byte) {
		// The change is sent as such, and then, as there was nothing to change,
		// as a record to restore, which has no former state.
		if armed.Load() && bytes.Contains(p, []byte("refresh-2")) && !bytes.Contains(p, []byte("refresh-1")) &&
			armed.CompareAndSwap(true, false) {
			_ = other.Restore(context.Background(), "token", []byte("refresh-1"), later())
		}
	}))
	create(t, changed, "token", "refresh-1")
	server.Kill()
	waitAway(t, changed)
	update(t, changed, "token", "refresh-1", "refresh-2")
	armed.Store(true)
	require.NoError(t, server.RestartEmpty())
	waitConnected(t, changed)
	require.False(t, armed.Load(), "this was about two replicas that restore")
	requireValue(t, other, "token", "refresh-2")
	requireValue(t, changed, "token", "refresh-2")
	require.NotContains(t, log.String(), "Redis wins")
}

// cutOff cuts a replica off from Redis, and returns when it has noticed.
func cutOff(t *testing.T, proxy *redistest.Proxy, s *hybridstore.Store) {
	t.Helper()
	proxy.Cut()
	waitAway(t, s)
}

// TestLaterIsRestoredOverEarlier has a replica be cut off, miss changes, and be
// the first to be back after Redis has lost its data.
func TestLaterIsRestoredOverEarlier(t *testing.T) {
	t.Parallel()
	for name, touched := range map[string]bool{"as it was": false, "touched meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			proxies := [2]*redistest.Proxy{redistest.RunProxy(t, server.Addr()), redistest.RunProxy(t, server.Addr())}
			earlier, _ := open(t, onURL(server.URLAt(proxies[0].Addr())))
			later, log := open(t, onURL(server.URLAt(proxies[1].Addr())))
			earlier.SetMerge(newerWins)
			later.SetMerge(newerWins)
			create(t, earlier, "token", "refresh-1")
			requireValue(t, later, "token", "refresh-1")
			requireValue(t, earlier, "token", "refresh-1")
			cutOff(t, proxies[0], earlier)
			update(t, later, "token", "refresh-1", "refresh-2")
			update(t, later, "token", "refresh-2", "refresh-3")
			if touched {
				update(t, earlier, "token", "refresh-1", "refresh-1, touched")
			}
			cutOff(t, proxies[1], later)
			require.NoError(t, server.RestartEmpty())
			proxies[0].Heal()
			waitConnected(t, earlier)
			proxies[1].Heal()
			waitConnected(t, later)
			requireValue(t, plain(t, server), "token", "refresh-3")
			requireEventually(t, earlier, "token", "refresh-3")
			require.Contains(t, log.String(), "merged=1 conflicts=0")
		})
	}
}

// TestLaterIsRestoredFirst has Redis die right after a change was answered, so
// that the writer has not yet read it, and the replica that has not heard of it
// come last.
func TestLaterIsRestoredFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	unaware, _ := open(t, onURL(server.URLAt(proxy.Addr())))
	var armed, sent atomic.Bool
	writer, _ := open(t, onWire(server.Addr(), func(p []byte) error {
		if bytes.Contains(p, []byte(":1\r\n")) && sent.CompareAndSwap(true, false) {
			server.Kill() // this is the last that is heard of it
		}
		return nil
	}, func(p []byte) {
		if bytes.Contains(p, []byte("refresh-2")) && armed.CompareAndSwap(true, false) {
			sent.Store(true)
		}
	}))
	unaware.SetMerge(newerWins)
	create(t, writer, "token", "refresh-1")
	requireValue(t, unaware, "token", "refresh-1")
	proxy.Cut()
	armed.Store(true)
	update(t, writer, "token", "refresh-1", "refresh-2")
	waitAway(t, writer)
	waitAway(t, unaware)
	require.NoError(t, server.RestartEmpty())
	waitConnected(t, writer)
	requireValue(t, plain(t, server), "token", "refresh-2")
	proxy.Heal()
	waitConnected(t, unaware)
	requireValue(t, plain(t, server), "token", "refresh-2")
}

// TestTakenIsNotRestored has a record be taken while Redis is away, which loses
// it, and a replica be back later that remembers it.
func TestTakenIsNotRestored(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxies := [2]*redistest.Proxy{redistest.RunProxy(t, server.Addr()), redistest.RunProxy(t, server.Addr())}
	taker, _ := open(t, onURL(server.URLAt(proxies[0].Addr())))
	other, _ := open(t, onURL(server.URLAt(proxies[1].Addr())))
	create(t, taker, "attempt", "state")
	requireValue(t, other, "attempt", "state")
	requireValue(t, taker, "attempt", "state")
	cutOff(t, proxies[0], taker)
	cutOff(t, proxies[1], other)
	require.NoError(t, taker.Swap(t.Context(), "attempt", []byte("state"), nil, time.Time{}))
	require.NoError(t, server.RestartEmpty())
	proxies[0].Heal()
	waitConnected(t, taker)
	proxies[1].Heal()
	waitConnected(t, other)
	requireAbsent(t, plain(t, server), "attempt")
}

// TestDataLostBeforeTheReplay has Redis lose its data when the store has seen
// that they are there, and has not yet replayed what happened meanwhile.
func TestDataLostBeforeTheReplay(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	var armed atomic.Bool
	s, log := open(t, onWire(proxy.Addr(), nil, func(p []byte) {
		if bytes.Contains(p, []byte("refresh-2")) && armed.CompareAndSwap(true, false) {
			_, _ = server.Do("FLUSHALL")
		}
	}))
	create(t, s, "token", "refresh-1")
	requireValue(t, s, "token", "refresh-1")
	cutOff(t, proxy, s)
	update(t, s, "token", "refresh-1", "refresh-2")
	armed.Store(true)
	proxy.Heal()
	waitConnected(t, s)
	require.False(t, armed.Load(), "this was about a loss before the replay")
	requireValue(t, plain(t, server), "token", "refresh-2")
	require.NotContains(t, log.String(), "Redis wins")
	require.Contains(t, log.String(), "lost its data")
}
