package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// largeResult is a tool's result of some bytes.
func largeResult(t testing.TB, bytes int) *oauthclient.CallToolResult {
	t.Helper()
	result := new(oauthclient.CallToolResult)
	require.NoError(t, json.Unmarshal([]byte(`{"content":[{"type":"text","text":"`+strings.Repeat("x", bytes)+`"}],"isError":false}`), result))
	return result
}

// serveFake serves a fake over TCP, and closes ended when a handler has returned.
func serveFake(t testing.TB, f *fake, change ...func(*httpapi.Config)) (url string, ended chan struct{}) {
	t.Helper()
	h, _ := newFake(t, f, change...)
	ended = make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, ended
}

// dialCall sends a tool call on a connection of its own.
func dialCall(t testing.TB, url, accept string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: app.example\r\nContent-Type: application/json\r\nAccept: %s\r\nContent-Length: %d\r\n\r\n%s",
		pathCall, accept, len(anyCall), anyCall)
	require.NoError(t, err)
	return conn
}

// A reader that never reads holds an answer for one WriteTimeout, also where the
// server has no write timeout.
func TestAnswersAreNotHeldByReaders(t *testing.T) {
	t.Parallel()
	for name, accept := range map[string]string{"one answer": "application/json", "a stream": "text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ended := serveFake(t, &fake{result: largeResult(t, 30<<20)}, func(c *httpapi.Config) { c.WriteTimeout = 100 * time.Millisecond })
			dialCall(t, url, accept)
			select {
			case <-ended:
			case <-time.After(time.Minute):
				require.Fail(t, "the answer is still held")
			}
		})
	}
}

// slowWriter is a connection with deadlines, over which every write takes pause.
type slowWriter struct {
	*httptest.ResponseRecorder
	pause    time.Duration
	deadline time.Time
}

func (w *slowWriter) SetWriteDeadline(deadline time.Time) error {
	w.deadline = deadline
	return nil
}

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(w.pause)
	if !w.deadline.IsZero() && time.Now().After(w.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	return w.ResponseRecorder.Write(p)
}

// Twenty readers that never read hold nothing for longer than one.
func TestTwentyReadersThatNeverRead(t *testing.T) {
	t.Parallel()
	const readers = 20
	url, ended := serveFake(t, &fake{result: largeResult(t, 8<<20)}, func(c *httpapi.Config) { c.WriteTimeout = 100 * time.Millisecond })
	for range readers {
		dialCall(t, url, "application/json")
	}
	for range readers {
		select {
		case <-ended:
		case <-time.After(time.Minute):
			require.FailNow(t, "an answer is still held")
		}
	}
}

// A slow reader of a large answer gets all of it: the deadline is for a piece.
func TestSlowReadersGetTheWholeAnswer(t *testing.T) {
	t.Parallel()
	for name, accept := range map[string]string{"one answer": "application/json", "a stream": "text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const timeout, size = time.Second, 4 << 20
				h, _ := newFake(t, &fake{result: largeResult(t, size)}, func(c *httpapi.Config) { c.WriteTimeout = timeout })
				r := httptest.NewRequestWithContext(t.Context(), "POST", pathCall, strings.NewReader(anyCall))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Accept", accept)
				begun, w := time.Now(), &slowWriter{ResponseRecorder: httptest.NewRecorder(), pause: timeout - time.Millisecond}
				h.ServeHTTP(w, r)
				require.Equal(t, 200, w.Code)
				require.Greater(t, w.Body.Len(), size)
				require.Greater(t, time.Since(begun), 10*timeout, "the answer took longer than one deadline")
				require.Zero(t, w.deadline, "the next answer on the connection has its own")
			})
		})
	}
}

// One caller's hanging calls leave room for others.
func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var running atomic.Int32
	full := make(chan struct{})
	f := &fake{progress: func(ctx context.Context, _ func(mcp.ProgressNotificationParams)) error {
		if running.Add(1) == 3 {
			close(full)
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	}}
	h, _ := newFake(t, f, byHeader, func(c *httpapi.Config) { c.MaxRequestsInFlight = 3 })
	call := func(user string) *httptest.ResponseRecorder {
		return request(t, h, "POST", pathCall, anyCall, userHeader, user, "Accept", "text/event-stream")
	}
	answers := make(chan int, 3)
	for range 3 {
		go func() { answers <- call("alice").Code }()
	}
	<-full
	w := request(t, h, "GET", pathList+"?sessionId=s", "", userHeader, "alice")
	require.Equal(t, 429, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, httpapi.CodeRateLimited, errorOf(t, w).Code)
	w = request(t, h, "GET", pathCallback+"?code=c&state=s", "", userHeader, "alice", "Accept", "text/html")
	require.Equal(t, 429, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"), "the page has it, too")
	require.Equal(t, 200, request(t, h, "GET", pathList+"?sessionId=s", "", userHeader, "bob").Code)
	require.Equal(t, 200, request(t, h, "GET", "/api/mcp/openapi.json", "").Code)
	close(release)
	for range 3 {
		require.Equal(t, 200, <-answers)
	}
	require.Equal(t, 200, request(t, h, "GET", pathList+"?sessionId=s", "", userHeader, "alice").Code)
}

func TestSlowBodies(t *testing.T) {
	t.Parallel()
	url, _ := serveFake(t, &fake{}, func(c *httpapi.Config) { c.ReadTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: app.example\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", pathCall)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 408, resp.StatusCode)
	body := readAll(t, resp.Body)
	require.Contains(t, body, httpapi.CodeRequestTimeout)
	record(t, exchange{"POST", pathCall, nil, "{", resp.StatusCode, resp.Header, body})
}

// The timeout is the body's: a call may take longer.
func TestReadTimeoutIsTheBodysAlone(t *testing.T) {
	t.Parallel()
	f := &fake{progress: func(ctx context.Context, _ func(mcp.ProgressNotificationParams)) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Second): // more than ReadTimeout, which a busy machine needs for the body
			return nil
		}
	}}
	url, _ := serveFake(t, f, func(c *httpapi.Config) { c.ReadTimeout = 2 * time.Second })
	resp, err := http.ReadResponse(bufio.NewReader(dialCall(t, url, "text/event-stream")), nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, readAll(t, resp.Body), "event: result")
}

func TestNamesThatCannotBeSent(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	w := request(t, h, "POST", pathCall, callBody(t, "s", strings.Repeat("x", 4097), `{}`))
	require.Equal(t, 400, w.Code)
	require.Equal(t, httpapi.CodeInvalidRequest, errorOf(t, w).Code)
	require.Empty(t, f.called())
	require.Equal(t, 200, request(t, h, "POST", pathCall, callBody(t, "s", strings.Repeat("x", 4096), `{}`)).Code)
}

// A page whose name resolves to loopback (DNS rebinding) sends its own name.
func TestHostOnLoopback(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, func(c *httpapi.Config) {
		c.PublicURL, c.TrustedOrigins = "http://localhost:8080", []string{"http://localhost:5173"}
	})
	secure, _ := newFake(t, &fake{})
	for host, status := range map[string]int{
		"localhost:8080": 200, "LOCALHOST:8080": 200, "localhost:5173": 200,
		"attacker.example:8080": 403, "localhost": 403, "localhost:80": 403, "127.0.0.1:8080": 403, "": 403,
	} {
		send := func(h http.Handler, path string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		w := send(h, pathList+"?sessionId=s")
		require.Equal(t, status, w.Code, host)
		if status == 403 {
			require.Equal(t, httpapi.CodeCrossOrigin, errorOf(t, w).Code)
		}
		require.Equal(t, 200, send(secure, pathList+"?sessionId=s").Code, "with https the certificate decides")
	}
}

// Which names exist inside is not shown.
func TestUnknownAndInternalNamesGetOneAnswer(t *testing.T) {
	t.Parallel()
	answers := make(map[string]bool)
	for _, err := range []error{
		&oauthclient.TemporaryError{Op: "connecting", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x.internal", IsNotFound: true}}},
		fmt.Errorf("oauthclient: connecting: %w", oauthclient.ErrForbiddenAddress),
	} {
		h, _ := newFake(t, &fake{err: err})
		w := request(t, h, "POST", pathConnect, anyConnect)
		require.Equal(t, 400, w.Code)
		answers[w.Body.String()] = true
	}
	require.Len(t, answers, 1)
	h, _ := newFake(t, &fake{err: &oauthclient.TemporaryError{Op: "connecting", Err: &net.DNSError{IsTemporary: true}}})
	require.Equal(t, 502, request(t, h, "POST", pathConnect, anyConnect).Code)
}
