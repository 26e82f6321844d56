package oauthclient_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
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
