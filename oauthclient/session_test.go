package oauthclient_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestLostSessionIsReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.mcp.KillSessions()
	w.mcp.Reset()
	require.NoError(t, w.call(c), "transparent")
	require.Equal(t, 1, w.mcp.Executed("echo"))
	require.Equal(t, 1, w.mcp.Count("initialize"))
	require.Equal(t, 2, w.mcp.Count("tools/call"))

	w.mcp.KillSessions()
	tools, err := c.ListTools(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, tools)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}

// A server that forgets every session at once would be asked for ever.
func TestSessionLostAgainIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.mcp.Reset()
	w.mcp.FailNextRPC("tools/call", 1000, http.StatusNotFound, 0)
	var server *oauthclient.ServerError
	require.ErrorAs(t, w.call(c), &server)
	require.Equal(t, http.StatusNotFound, server.StatusCode)
	require.Equal(t, 2, w.mcp.Count("tools/call"))
	require.Equal(t, 1, w.mcp.Count("initialize"))
}

func TestConcurrentCallsReplaceALostSessionOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.mcp.KillSessions()
	w.mcp.Reset()
	errs := together(t, 20, w.mcp.BlockRPC("initialize"), func(ctx context.Context) error {
		_, err := c.CallTool(ctx, "echo", nil)
		return err
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, 20, w.mcp.Executed("echo"))
	require.LessOrEqual(t, w.mcp.Count("initialize"), 2)
}

// Without a session a 404 is just that.
func TestNotFoundWithoutASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.mcp.Reset()
	w.mcp.FailNextRPC("tools/call", 1, http.StatusNotFound, 0)
	var server *oauthclient.ServerError
	require.ErrorAs(t, w.call(c), &server)
	require.Equal(t, http.StatusNotFound, server.StatusCode)
	require.Equal(t, 1, w.mcp.Count("tools/call"))
}

// The server may have done what was asked: it must not be asked again.
func TestNothingIsReplayed(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name     string
		inject   func(w *world)
		executed int
	}{
		{"the connection broke after the tool ran", func(w *world) { w.mcp.DropNextRPC("tools/call", 1) }, 1},
		{"the connection broke before", func(w *world) { w.mcp.SetOutage(authtest.Abort()) }, 0},
		{"500", func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 500, 0) }, 0},
		{"503", func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 503, time.Minute) }, 0},
		{"429", func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 429, time.Minute) }, 0},
		{"event stream that ends without the result", func(w *world) { w.mcp.SetOutage(authtest.Body(200, "text/event-stream", ": hello\n\n")) }, 0},
		{"event stream that is cut", func(w *world) {
			w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
				authtest.Body(200, "text/event-stream", "event: message\ndata: {\"json")(rw, r)
				_ = http.NewResponseController(rw).Flush()
				panic(http.ErrAbortHandler)
			})
		}, 0},
		{"JSON that is cut", func(w *world) {
			w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
				authtest.Body(200, "application/json", `{"jsonrpc":`)(rw, r)
				_ = http.NewResponseController(rw).Flush()
				panic(http.ErrAbortHandler)
			})
		}, 0},
	}
	for _, wire := range []struct {
		name string
		opts mcptest.Options
	}{wires[0], wires[3]} {
		for _, fault := range faults {
			t.Run(wire.name+", "+fault.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, wire.opts)
				c := w.connected()
				require.NoError(t, w.call(c))
				w.mcp.Reset()
				fault.inject(w)
				requireTemporary(t, w.call(c))
				require.Equal(t, 1, w.mcp.Count("tools/call"))
				require.Equal(t, fault.executed, w.mcp.Executed("echo"))
				w.mcp.SetOutage(nil)
				require.NoError(t, w.call(c), "the client goes on working")
				require.Equal(t, 1, w.as.Counts().Authorizations)
			})
		}
	}
}

// An answer that cannot be used is the trouble of one call: the connection and
// the other calls on it go on.
func TestBadAnswersBreakNoOtherCall(t *testing.T) {
	t.Parallel()
	cut := func(contentType, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			authtest.Body(200, contentType, body)(rw, r)
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	bad := []struct {
		name      string
		answer    http.HandlerFunc
		temporary bool
	}{
		{"JSON that is none", authtest.Body(200, "application/json", `nonsense`), false},
		{"JSON that is no message", authtest.Body(200, "application/json", `{"hello":{}}`), false},
		{"JSON that is cut", cut("application/json", `{"jsonrpc":`), true},
		{"JSON that is too large", authtest.Body(200, "application/json", strings.Repeat(" ", 70<<10)), false},
		{"event that is none", authtest.Body(200, "text/event-stream", "data: nonsense\n\n"), true},
		{"event that can be resumed", authtest.Body(200, "text/event-stream", "id: 1\ndata: nonsense\n\n"), true},
		{"line that is none", authtest.Body(200, "text/event-stream", "id: 1\n\nnonsense\n\n"), true},
		{"stream that is cut", cut("text/event-stream", "data: {"), true},
		{"stream that ends", authtest.Body(200, "text/event-stream", ""), true},
		{"stream that is too large", authtest.Body(200, "text/event-stream", strings.Repeat(": ping\n\n", 10<<10)), false},
		{"neither", authtest.Body(200, "text/html", "<html>Sign in</html>"), false},
		{"no content type", authtest.Body(200, "", ""), false},
	}
	for _, wire := range wires[:4] {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxResponseBytes = 64 << 10 })
			before := w.mcp.Count("initialize")
			other := make(chan error)
			go func() {
				_, err := c.CallTool(t.Context(), "slow", map[string]int{"count": 1, "intervalMs": 100})
				other <- err
			}()
			require.Eventually(t, func() bool { return w.mcp.Executed("slow") == 1 }, 30*time.Second, time.Millisecond)
			for _, row := range bad {
				w.mcp.SetOutage(row.answer)
				err := w.call(c)
				if row.temporary {
					requireTemporary(t, err)
				} else {
					var server *oauthclient.ServerError
					var limit *oauthclient.ResponseLimitError
					require.True(t, errors.As(err, &server) || errors.As(err, &limit), "%s: %v", row.name, err)
				}
			}
			w.mcp.SetOutage(nil)
			require.NoError(t, <-other)
			require.Equal(t, 1, w.mcp.Executed("slow"))
			require.NoError(t, w.call(c))
			require.Zero(t, w.mcp.Count("initialize")-before, "the same connection")
		})
	}
}

func TestRetryAfterOfTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	rows := []struct {
		value string
		want  time.Duration
		slack time.Duration // for a date, which a busy machine comes closer to
	}{
		{"7", 7 * time.Second, 0},
		{"-7", 0, 0},
		{"9999999", time.Hour, 0},
		{"soon", 0, 0},
		{"", 0, 0},
		{time.Now().Add(30 * time.Minute).Format(http.TimeFormat), 30 * time.Minute, time.Minute},
		{time.Now().Add(-time.Minute).Format(http.TimeFormat), 0, 0},
	}
	for _, row := range rows {
		w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Retry-After", row.value)
			rw.WriteHeader(http.StatusServiceUnavailable)
		})
		temporary := requireTemporary(t, w.call(c))
		require.InDelta(t, row.want, temporary.RetryAfter, float64(row.slack), row.value)
		require.Equal(t, http.StatusServiceUnavailable, temporary.StatusCode)
	}
}

// What a gateway says of an overload is JSON of its own, and no JSON-RPC error of
// the MCP server.
func TestOverloadedGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	for _, body := range []string{`{"error":"too many requests"}`, `{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}`, `{"message":"slow down"}`} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				rw.Header().Set("Retry-After", "7")
				rw.WriteHeader(status)
				_, _ = rw.Write([]byte(body))
			})
			temporary := requireTemporary(t, w.call(c))
			require.Equal(t, 7*time.Second, temporary.RetryAfter)
			require.Equal(t, status, temporary.StatusCode)
		}
	}
	w.mcp.SetOutage(nil)
	require.NoError(t, w.call(c))
}

func TestOutageAtConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	w.mcp.SetOutage(authtest.StatusOutage(503))
	requireTemporary(t, c.Connect(t.Context()))
	w.mcp.SetOutage(authtest.Body(200, "text/html", "<html>"))
	var server *oauthclient.ServerError
	require.ErrorAs(t, c.Connect(t.Context()), &server)
	w.mcp.SetOutage(authtest.StatusOutage(404))
	require.ErrorAs(t, c.Connect(t.Context()), &server)
	require.Equal(t, 404, server.StatusCode)
	w.mcp.SetOutage(authtest.Abort())
	requireTemporary(t, c.Connect(t.Context()))
	w.mcp.SetOutage(nil)
	w.finish(c, w.begin(c))
	require.NoError(t, w.call(c))
}
