package oauthclient_test

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// goroutines returns the stacks of the goroutines that this module or the SDK
// started, tests themselves excepted.
func goroutines() []string {
	buf := make([]byte, 4<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	return slices.DeleteFunc(stacks, func(s string) bool {
		ours := strings.Contains(s, "mcpoauth/mcpoauth") || strings.Contains(s, "modelcontextprotocol/go-sdk")
		return !ours || strings.Contains(s, "testing.tRunner(")
	})
}

// requireNoGoroutine waits for goroutines that are ending. It does so on the
// test's own goroutine, which is not counted.
func requireNoGoroutine(t *testing.T) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Millisecond) {
		if len(goroutines()) == 0 {
			return
		}
	}
	require.Empty(t, strings.Join(goroutines(), "\n\n"))
}

// It is not parallel, so that no other test's goroutines are seen.
func TestNoGoroutineOutlivesAnOperation(t *testing.T) {
	requireNoGoroutine(t) // of a test before
	for _, wire := range wires[:4] {
		for _, end := range []string{"nothing", "Disconnect"} {
			t.Run(wire.name+", "+end, func(t *testing.T) {
				as := authtest.New(authtest.Options{})
				t.Cleanup(as.Close)
				opts := wire.opts
				opts.Auth = as
				srv := mcptest.New(opts)
				t.Cleanup(srv.Close)
				httpClient := &http.Client{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})}
				c, err := oauthclient.New(oauthclient.Config{ServerURL: srv.URL(), CallbackURL: callbackURL, Shared: oauthclient.Shared{Transport: httpClient.Transport}})
				require.NoError(t, err)
				callback, err := as.Approve(t.Context(), requireAuthorization(t, c.Connect(t.Context())).AuthURL)
				require.NoError(t, err)
				require.NoError(t, c.FinishAuth(t.Context(), parseCallback(t, callback)))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stopped := make(chan error)
				go func() {
					_, err := c.CallTool(ctx, "slow", map[string]int{"count": 1, "intervalMs": 60_000})
					stopped <- err
				}()
				require.Eventually(t, func() bool { return srv.Executed("slow") == 1 }, 30*time.Second, time.Millisecond)
				cancel()
				require.Error(t, <-stopped)
				require.Eventually(t, func() bool { return srv.Cancelled() == 1 }, 30*time.Second, time.Millisecond)
				srv.KillSessions()
				_, err = c.CallTool(t.Context(), "echo", nil)
				require.NoError(t, err)
				srv.FailNextRPC("tools/call", 1, http.StatusInternalServerError, 0)
				_, err = c.CallTool(t.Context(), "echo", nil)
				require.Error(t, err)
				if end == "Disconnect" {
					require.NoError(t, c.Disconnect(t.Context()))
				}
				httpClient.CloseIdleConnections()
				srv.Close()
				as.Close()
				http.DefaultClient.CloseIdleConnections() // of the browser
				requireNoGoroutine(t)
			})
		}
	}
}
