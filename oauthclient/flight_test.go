package oauthclient_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A panic of the host's code in what one caller does for all (here its transport,
// in a refresh and in a negotiation) reaches the caller, who can recover from it.
// The client works afterwards.
func TestHostPanicsInFlight(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"refresh": "/token", "negotiation": "/mcp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var armed atomic.Bool
			c := w.connected(func(cfg *oauthclient.Config) {
				cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					if strings.HasSuffix(req.URL.Path, path) && armed.Swap(false) {
						panic("the host's transport")
					}
					return w.http.Transport.RoundTrip(req)
				})
				cfg.InsecureTransport = true
			})
			w.clock.Advance(2 * time.Hour)
			w.edit(func(creds *oauthclient.Credentials) { creds.Connection = oauthclient.Connection{} })
			armed.Store(true)
			require.Panics(t, func() { _ = w.call(c) })
			require.False(t, armed.Load())
			require.NoError(t, w.call(c))
		})
	}
}

// A panic whose caller has left is logged, once.
func TestHostPanicsInFlight_WhenCallersHaveLeft(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"refresh": "/token", "negotiation": "/mcp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var armed atomic.Bool
			begun, left := make(chan struct{}), make(chan struct{})
			log := new(testlog.Buffer)
			c := w.connected(logTo(log), func(cfg *oauthclient.Config) {
				cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					if strings.HasSuffix(req.URL.Path, path) && armed.Swap(false) {
						close(begun)
						<-left
						panic("the host's transport")
					}
					return w.http.Transport.RoundTrip(req)
				})
				cfg.InsecureTransport = true
			})
			w.clock.Advance(2 * time.Hour)
			w.edit(func(creds *oauthclient.Credentials) { creds.Connection = oauthclient.Connection{} })
			armed.Store(true)
			ctx, leave := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := c.CallTool(ctx, "echo", nil)
				ended <- err
			}()
			<-begun
			leave()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.NotContains(t, log.String(), "panicked")
			close(left)
			require.Eventually(t, func() bool { return strings.Contains(log.String(), "level=ERROR") }, time.Minute, time.Millisecond)
			require.Contains(t, log.String(), "the host's transport")
			require.Contains(t, log.String(), "flight_test.go", "the log says where")
			require.NoError(t, w.call(c))
			require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"))
		})
	}
}
