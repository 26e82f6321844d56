package hybridstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

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
