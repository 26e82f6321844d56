package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

type push = func(mcp.ProgressNotificationParams)

// streamed makes a tool call with events to a handler in memory.
func streamed(t *testing.T, f *fake, change ...func(*httpapi.Config)) *httptest.ResponseRecorder {
	t.Helper()
	h, _ := newFake(t, f, change...)
	return request(t, h, "POST", pathCall, anyCall, "Accept", "text/event-stream")
}

func TestStreamResultOnly(t *testing.T) {
	t.Parallel()
	w := streamed(t, &fake{})
	require.Equal(t, 200, w.Code)
	requireProtected(t, w)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	require.Equal(t, "no", w.Header().Get("X-Accel-Buffering"))
	require.Equal(t, "event: result\ndata: {\"content\":[{\"type\":\"text\",\"text\":\"done\"}],\"isError\":false}\n\n", w.Body.String())
	require.True(t, w.Flushed)
}

func TestStreamProgress(t *testing.T) {
	t.Parallel()
	w := streamed(t, &fake{progress: func(_ context.Context, push push) error {
		push(mcp.ProgressNotificationParams{ProgressToken: "p", Progress: 1, Total: 4, Message: "a < b\nc"})
		push(mcp.ProgressNotificationParams{Progress: 0.5})
		return nil
	}})
	events, _, _ := strings.Cut(w.Body.String(), "event: result")
	require.Equal(t, `event: progress
data: {"progressToken":"p","progress":1,"total":4,"message":"a < b\nc"}

event: progress
data: {"progress":0.5}

`, events)
}

// What fails after the first event is an event; the status is long gone.
func TestStreamErrors(t *testing.T) {
	t.Parallel()
	begun := func(_ context.Context, push push) error {
		push(mcp.ProgressNotificationParams{Progress: 1})
		// Wait until it is written: the call may not fail before.
		time.Sleep(time.Second)
		return nil
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"failure":       {&oauthclient.ServerError{StatusCode: 403}, `{"error":"The server does not allow this.","code":"server_refused"}`},
		"authorization": {&oauthclient.AuthorizationRequiredError{AuthURL: "https://as.example/?a&b"}, `{"requiresAuth":true,"authUrl":"https://as.example/?a&b","sessionId":"s","error":"Authorization is required."}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := streamed(t, &fake{progress: begun, err: tc.err})
				require.Equal(t, 200, w.Code)
				require.Equal(t, "event: progress\ndata: {\"progress\":1}\n\nevent: error\ndata: "+tc.want+"\n\n", w.Body.String())
				require.Len(t, w.Result().Cookies(), 1, "later it would be too late for the browser's binding")
			})
			w := streamed(t, &fake{err: tc.err})
			require.NotEqual(t, 200, w.Code, "before the first event it is a plain answer")
			require.Equal(t, tc.want, w.Body.String())
		})
	}
}

func TestStreamHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := streamed(t, &fake{progress: func(_ context.Context, push push) error {
			time.Sleep(50 * time.Second)
			push(mcp.ProgressNotificationParams{Progress: 1})
			time.Sleep(20 * time.Second)
			return nil
		}}, func(c *httpapi.Config) { c.HeartbeatInterval = 20 * time.Second })
		const beat = ": still working\n\n"
		require.True(t, strings.HasPrefix(w.Body.String(), beat+beat+"event: progress\ndata: {\"progress\":1}\n\n"), w.Body)
		require.Equal(t, 200, w.Code)
	})
}

// blockedWriter is a connection whose other end does not read.
type blockedWriter struct {
	*httptest.ResponseRecorder
	release chan struct{}
	first   bool
}

func (w *blockedWriter) Write(p []byte) (int, error) {
	if !w.first {
		w.first = true
		<-w.release
	}
	return w.ResponseRecorder.Write(p)
}

// A slow reader costs no memory, and holds up no tool: progress that it missed is
// dropped, the newest progress and the result are not.
func TestSlowReadersDropProgress(t *testing.T) {
	t.Parallel()
	const many = 10_000
	w := &blockedWriter{ResponseRecorder: httptest.NewRecorder(), release: make(chan struct{})}
	h, _ := newFake(t, &fake{progress: func(_ context.Context, push push) error {
		for i := range many {
			push(mcp.ProgressNotificationParams{Progress: float64(i + 1)}) // never blocks
		}
		close(w.release)
		return nil
	}})
	r := httptest.NewRequestWithContext(t.Context(), "POST", pathCall, strings.NewReader(anyCall))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	h.ServeHTTP(w, r)
	require.LessOrEqual(t, strings.Count(w.Body.String(), "event: progress"), 20)
	require.Contains(t, w.Body.String(), fmt.Sprintf(`{"progress":%d}`, many))
	require.Contains(t, w.Body.String(), "event: result")
}

// Over a real connection: each event arrives when it happens, and a client
// that goes away takes its tool call with it.
func TestStreamIsLiveAndCancelledWithItsReader(t *testing.T) {
	t.Parallel()
	next, cancelled := make(chan struct{}), make(chan error, 1)
	h, _ := newFake(t, &fake{progress: func(ctx context.Context, push push) error {
		push(mcp.ProgressNotificationParams{Progress: 1})
		<-next
		push(mcp.ProgressNotificationParams{Progress: 2})
		<-ctx.Done()
		cancelled <- ctx.Err()
		return ctx.Err()
	}})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+pathCall, strings.NewReader(anyCall))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	nextData := func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
	require.Equal(t, `{"progress":1}`, nextData())
	close(next)
	require.Equal(t, `{"progress":2}`, nextData())
	cancel()
	require.ErrorIs(t, <-cancelled, context.Canceled)
}

// A peer that stays connected without reading cannot hold a call for ever.
func TestBlockedReadersAreGivenUp(t *testing.T) {
	t.Parallel()
	cancelled := make(chan struct{})
	h, _ := newFake(t, &fake{progress: func(ctx context.Context, push push) error {
		text := strings.Repeat("x", 1<<20)
		for ctx.Err() == nil {
			push(mcp.ProgressNotificationParams{Message: text})
			time.Sleep(time.Millisecond)
		}
		close(cancelled)
		return ctx.Err()
	}}, func(c *httpapi.Config) { c.WriteTimeout = 100 * time.Millisecond })
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", pathCall, len(anyCall), anyCall)
	require.NoError(t, err)
	select {
	case <-cancelled:
	case <-time.After(time.Minute):
		t.Fatal("the call was not cancelled")
	}
}

// A connection that carried a stream carries the next one, whatever time-outs the
// host's server has.
func TestStreamOutlivesTheServersWriteTimeout(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{progress: func(_ context.Context, push push) error {
		for i := range 4 {
			push(mcp.ProgressNotificationParams{Progress: float64(i)})
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	}}, func(c *httpapi.Config) { c.WriteTimeout = time.Minute })
	server := httptest.NewUnstartedServer(h)
	server.Config.WriteTimeout = 200 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+pathCall, strings.NewReader(anyCall))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/event-stream")
		resp, err := server.Client().Do(r)
		require.NoError(t, err)
		body := readAll(t, resp.Body)
		require.Equal(t, 4, strings.Count(body, "event: progress"))
		require.Contains(t, body, "event: result")
	}
}

// A panic is the host's recovery middleware's to handle, not the end of the
// process.
func TestStreamPanicsInTheHandler(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{progress: func(_ context.Context, push push) error {
		push(mcp.ProgressNotificationParams{Progress: 1})
		panic(errors.New("bug"))
	}})
	require.PanicsWithError(t, "bug", func() {
		request(t, h, "POST", pathCall, anyCall, "Accept", "text/event-stream")
	})
}

// Closing the request ends the tool call at the MCP server, and not only here:
// on a wire with sessions it is told in a message of its own, on one without by
// the end of its request. The session goes on.
func TestClosingTheRequestReachesTheMCPServer(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"with sessions": {Stateful: true}, "without": {}} {
		for kind, accept := range map[string]string{"stream": "text/event-stream", "plain": "application/json"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, opts)
				w.replica(t)
				b := w.browser(t, "")
				id := b.authorized()
				ctx, cancel := context.WithCancel(t.Context())
				r, err := http.NewRequestWithContext(ctx, "POST", w.url+pathCall, strings.NewReader(callBody(t, id, "slow", `{"count":60,"intervalMs":1000}`)))
				require.NoError(t, err)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Accept", accept)
				ended := make(chan error, 1)
				go func() {
					resp, err := b.client.Do(r)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
					ended <- err
				}()
				require.Eventually(t, func() bool { return w.mcp.Executed("slow") == 1 }, 30*time.Second, time.Millisecond)
				require.Zero(t, w.mcp.Cancelled())
				cancel()
				require.ErrorIs(t, <-ended, context.Canceled)
				require.Eventually(t, func() bool { return w.mcp.Cancelled() == 1 }, 30*time.Second, time.Millisecond)
				if opts.Stateful {
					notices := w.mcp.RPC("notifications/cancelled")
					require.Len(t, notices, 1)
					require.Contains(t, string(notices[0].Params), string(w.mcp.RPC("tools/call")[0].RPCID), "about this call")
				}
				require.Equal(t, 200, b.call(id, "echo", `{}`).status)
			})
		}
	}
}

// A host whose readers all wait is the same to the tool as one without readers: its progress never waits, and memory stays bounded, however
// long each message is. Not parallel: it measures the memory of all tests.
func TestManySlowReadersStayBounded(t *testing.T) { //nolint:paralleltest // see above
	const readers, size, steps = 8, 64 << 10, 2000 // 1 GB of progress in all
	release := make(chan struct{})
	var pushed, done sync.WaitGroup
	pushed.Add(readers)
	flood := func(_ context.Context, push push) error {
		for i := range steps {
			push(mcp.ProgressNotificationParams{Progress: float64(i + 1), Message: strings.Repeat("x", size)})
		}
		pushed.Done()
		<-release
		return nil
	}
	for range readers {
		h, _ := newFake(t, &fake{progress: flood})
		w := &blockedWriter{ResponseRecorder: httptest.NewRecorder(), release: release}
		r := httptest.NewRequestWithContext(t.Context(), "POST", pathCall, strings.NewReader(anyCall))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/event-stream")
		done.Go(func() { h.ServeHTTP(w, r) })
	}
	pushed.Wait()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapAlloc, uint64(200<<20), "at most 18 messages wait for each reader")
	close(release)
	done.Wait()
}
