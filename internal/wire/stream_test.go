package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

const answerEvent = `data: {"jsonrpc":"2.0","id":$ID,"result":{"n":9007199254740993}}` + "\n\n"

// What real servers send in an event stream is read.
func TestStreams(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":                  answerEvent,
		"event name":             "event: message\n" + answerEvent,
		"no space":               strings.Replace(answerEvent, "data: ", "data:", 1),
		"CRLF":                   strings.ReplaceAll("event: message\n"+answerEvent, "\n", "\r\n"),
		"CR":                     strings.ReplaceAll("event: message\n"+answerEvent, "\n", "\r"),
		"byte order mark":        "\xef\xbb\xbf" + answerEvent,
		"comments":               ": hello\n\n:\n" + answerEvent,
		"priming event":          "id: 1\ndata:\n\n" + answerEvent,
		"other events":           "event: ping\ndata: {}\n\nevent: endpoint\ndata: /x\n\n" + answerEvent,
		"response of other type": "event: other\ndata: {\"id\":1,\"result\":1}\n\n" + answerEvent,
		"heartbeats":             "data: ping\n\ndata: {}\n\ndata: []\n\ndata: null\n\ndata: \"x\"\n\n" + answerEvent,
		"garbage":                "data: {\"jsonrpc\":\n\nnonsense\n\x00\xff: x\n\n" + answerEvent,
		"batch":                  `data: [{"method":"notifications/message"},{"jsonrpc":"2.0","id":$ID,"result":{"n":9007199254740993}}]` + "\n\n",
		"notification and batch": `data: {"method":"notifications/message"}` + "\n\n" + `data: [{"jsonrpc":"2.0","id":"$ID","result":{"n":9007199254740993}}]` + "\n\n",
		"several lines":          "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":$ID,\n: in between\nid: 3\ndata\ndata:\"result\":{\"n\":9007199254740993}}\n\n",
		"several lines, CRLF":    "data: {\"jsonrpc\":\"2.0\",\r\ndata: \"id\":$ID,\r\ndata:\"result\":{\"n\":9007199254740993}}\r\n\r\n",
		"unfinished event":       strings.TrimRight(answerEvent, "\n"),
		"unfinished line":        strings.TrimSuffix(answerEvent, "\n"),
		"ID as a string":         strings.Replace(answerEvent, "$ID", `"$ID"`, 1),
		"ID as a float":          strings.Replace(answerEvent, "$ID", `$ID.0`, 1),
		"ID null":                strings.Replace(answerEvent, "$ID", `null`, 1),
		"only a foreign ID":      strings.Replace(answerEvent, "$ID", `"x"`, 1),
		"foreign ID before":      "data: {\"id\":-1,\"result\":{}}\n\n" + answerEvent,
		"two answers":            answerEvent + "data: {\"id\":$ID,\"result\":{}}\n\n",
		"long lines":             ": " + strings.Repeat("x", 100_000) + "\n\ndata: " + strings.Repeat(" ", 100_000) + answerEvent[6:],
		"long event":             strings.Repeat("data:\n", 20_000) + answerEvent,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerText("text/event-stream; charset=utf-8", text))
			for _, version := range []string{"2026-07-28", "2025-06-18"} {
				got, err := f.call(t, version)
				require.NoError(t, err)
				require.Equal(t, `{"n":9007199254740993}`, string(got))
			}
			require.Len(t, f.requests(), 2)
		})
	}
}

// The answer is taken when it comes, and the rest of the stream is not waited
// for.
func TestStreamStaysOpen(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		stream(w, m, "event: message\n"+answerEvent)
		<-r.Context().Done()
	})
	start := time.Now()
	_, err := f.call(t, "2025-06-18")
	require.NoError(t, err)
	require.Less(t, time.Since(start), 20*time.Second)
	require.Equal(t, []string{"tools/call"}, f.requests())
}

// A stream that ends in an orderly way gives its HTTP/1 connection back, and
// ends as orderly over HTTP/2.
func TestStreamEndsInOrder(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		var mu sync.Mutex
		remotes, served, cut := make(map[string]bool), 0, 0
		f := &fake{}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var m rpc
			_ = json.NewDecoder(r.Body).Decode(&m)
			stream(w, m, answerEvent)
			time.Sleep(5 * time.Millisecond) // the client has the answer, and waits for the end
			mu.Lock()
			defer mu.Unlock()
			remotes[r.RemoteAddr] = true
			served++
			if r.Context().Err() != nil || r.ProtoMajor != version {
				cut++
			}
		}))
		srv.EnableHTTP2 = version == 2
		srv.StartTLS()
		t.Cleanup(srv.Close)
		f.Client = newClient(srv.URL)
		f.HTTP = srv.Client()
		inOrder := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(remotes) < served && cut < served
		}
		for range 100 { // a busy machine may take longer than is waited for, now and then
			_, err := f.call(t, "2025-06-18")
			require.NoError(t, err)
			if inOrder() {
				break
			}
		}
		srv.Close()
		require.True(t, inOrder(), "%d streams, %d connections, %d cut", served, len(remotes), cut)
	}
}

// A stream without an answer breaks, whether the server acted is unknown.
func TestStreamBreaks(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "only comments": ": x\n\n", "notifications": "data: {\"method\":\"x\"}\n\n", "cut": answerEvent[:30],
		"two foreign": "data: {\"id\":-1,\"result\":{}}\n\ndata: {\"id\":-2,\"result\":{}}\n\n", "NUL in ID": "id: a\x00\ndata:\n\n",
	} {
		f := newFake(t, answerText("text/event-stream", text))
		_, err := f.call(t, "2025-06-18")
		require.ErrorIs(t, err, wire.ErrBroken, name)
		require.False(t, wire.NotExecuted(err))
		require.Len(t, f.requests(), 1, name)
	}
}

// A stream with event IDs is resumed after the last complete event, on
// revisions that know it.
func TestResume(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		switch r.Header.Get("Last-Event-ID") {
		case "":
			stream(w, m, "retry: 10\nid: one\ndata:\n\nid: lost\ndata: {\"method\":\"x\"")
			panic(http.ErrAbortHandler)
		case "one":
			stream(w, m, "id: two\ndata: {\"method\":\"x\"}\n\n")
		default:
			stream(w, rpc{}, "data: {\"id\":\"x\",\"result\":{\"n\":1}}\n\n")
		}
	})
	got, err := f.call(t, "2025-11-25")
	require.NoError(t, err)
	require.Equal(t, `{"n":1}`, string(got))
	require.Equal(t, []string{"tools/call", "GET", "GET"}, f.requests())
	get := f.request(2)
	require.Equal(t, "two", get.Header.Get("Last-Event-ID"))
	require.Equal(t, "text/event-stream", get.Header.Get("Accept"))
	require.Equal(t, "SESSION-C4N4RY", get.Header.Get("Mcp-Session-Id"))
	require.Equal(t, "2025-11-25", get.Header.Get("Mcp-Protocol-Version"))

	_, err = f.call(t, "2026-07-28")
	require.ErrorIs(t, err, wire.ErrBroken)
	require.Len(t, f.requests(), 4)
}

// Resuming ends: after some attempts without an event, and at a refusal.
func TestResumeIsBounded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status   int
		requests int
	}{"no progress": {200, 6}, "unavailable": {503, 6}, "refused": {405, 2}, "gone": {404, 2}, "no stream": {204, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
				if r.Method == http.MethodPost || tc.status == 200 {
					stream(w, m, "retry: 0\nid: one\ndata:\n\n")
					return
				}
				w.WriteHeader(tc.status)
			})
			_, err := f.call(t, "2025-11-25")
			require.ErrorIs(t, err, wire.ErrBroken)
			require.False(t, wire.NotExecuted(err), "the status is about the stream")
			require.Len(t, f.requests(), tc.requests)
		})
	}
}

// A client that cannot ask for the rest says why.
func TestResumeFails(t *testing.T) {
	t.Parallel()
	refusal := errors.New("authorization required")
	c := newClient("https://mcp.example")
	c.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return nil, refusal
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(strings.NewReader("retry: 0\nid: 1\n\n"))}, nil
	})}
	_, err := c.Call(t.Context(), connOf("2025-11-25"), c.NewOp(), toolCall)
	require.ErrorIs(t, err, wire.ErrBroken)
	require.ErrorIs(t, err, refusal)
	require.False(t, wire.NotExecuted(err), "the POST was sent")
}

// A caller that gives up gets its error at once. The server gets a message on the
// revisions that have one for this.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		for version, requests := range map[string]int{"2025-03-26": 2, "2025-11-25": 2, "2026-07-28": 1} {
			ctx, cancel := context.WithCancel(t.Context())
			closed := make(chan struct{}, 1)
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
				if m.Method != "tools/call" {
					w.WriteHeader(http.StatusAccepted)
					return
				}
				if !silent {
					stream(w, m, ": open\n\n")
				}
				cancel()
				<-r.Context().Done()
				closed <- struct{}{}
			})
			op := f.NewOp()
			_, err := f.Call(ctx, connOf(version), op, toolCall)
			require.Equal(t, context.Canceled, err)
			require.True(t, op.Sent)
			<-closed // the HTTP request has ended
			require.Len(t, f.requests(), requests, version)
			if requests == 2 {
				r := f.request(1)
				require.Equal(t, "notifications/cancelled", r.Method)
				require.JSONEq(t, `{"requestId":`+string(f.request(0).ID)+`,"reason":"the client has stopped waiting"}`, string(r.Params))
				require.Equal(t, "SESSION-C4N4RY", r.Header.Get("Mcp-Session-Id"))
			}
		}
	}
}

// Giving up before anything was sent, and during initialize, tells the server
// nothing.
func TestCancelWithoutRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake(t, func(_ http.ResponseWriter, r *http.Request, _ rpc) {
		cancel()
		<-r.Context().Done()
	})
	_, err := f.Negotiate(ctx, f.NewOp(), true)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"initialize"}, f.requests())

	op := f.NewOp()
	_, err = f.Call(ctx, connOf("2025-11-25"), op, toolCall)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, wire.NotExecuted(err))
	require.False(t, op.Sent)
	require.Len(t, f.requests(), 1)
}
