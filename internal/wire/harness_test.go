package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// newClient makes a client with connections of its own: a test server that
// closes ends the idle connections of http.DefaultTransport, for all tests.
func newClient(url string) *wire.Client {
	return &wire.Client{
		URL: url, HTTP: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Info: &mcp.Implementation{Name: "test", Version: "1"}, Capabilities: json.RawMessage(`{}`),
		DiscoverTimeout: 30 * time.Second, MaxBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
	}
}

// rpc is a message of the client.
type rpc struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  json.RawMessage
}

// request is what a fake was sent.
type request struct {
	rpc

	HTTP   string // the HTTP method
	Header http.Header
	Body   string
}

// fake is a server that answers as a test says, and records what it was sent.
type fake struct {
	*wire.Client

	mu   sync.Mutex
	sent []request
}

// newFake starts a server. Requests other than POST are answered with 405
// unless answer writes something.
func newFake(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, m rpc)) *fake {
	t.Helper()
	f := &fake{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		got := request{HTTP: r.Method, Header: r.Header, Body: string(body)}
		_ = json.Unmarshal(body, &got.rpc)
		f.mu.Lock()
		f.sent = append(f.sent, got)
		f.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(w, r, got.rpc)
	}))
	t.Cleanup(srv.Close)
	f.Client = newClient(srv.URL)
	return f
}

// expiring is a context whose deadline comes when a test says.
type expiring struct {
	context.Context
	done chan struct{}
}

func newExpiring(t *testing.T) (ctx context.Context, expire func()) {
	t.Helper()
	e := expiring{t.Context(), make(chan struct{})}
	return e, sync.OnceFunc(func() { close(e.done) })
}

func (e expiring) Done() <-chan struct{} { return e.done }

func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// requests returns what was sent, as HTTP method or JSON-RPC method.
func (f *fake) requests() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.sent {
		switch {
		case r.Method != "":
			list = append(list, r.Method)
		case r.Result != nil || r.Error != nil:
			list = append(list, "response")
		default:
			list = append(list, r.HTTP)
		}
	}
	return list
}

func (f *fake) request(n int) request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[n]
}

// call calls a tool on a connection of a revision, with a session unless it is
// the newest.
func (f *fake) call(t *testing.T, version string) (json.RawMessage, error) {
	t.Helper()
	return f.Call(t.Context(), connOf(version), f.NewOp(), toolCall)
}

var toolCall = wire.Request{Method: "tools/call", Name: "echo", Params: json.RawMessage(`{"name":"echo","arguments":{"n":9007199254740993}}`), Arguments: json.RawMessage(`{"n":9007199254740993}`)}

func connOf(version string) *wire.Conn {
	if version == "2026-07-28" {
		return &wire.Conn{Version: version}
	}
	return &wire.Conn{Version: version, SessionID: "SESSION-C4N4RY"}
}

// result answers with a result.
func result(w http.ResponseWriter, m rpc, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, text)
}

// fail answers with a JSON-RPC error; an error member is the rest of it.
func fail(w http.ResponseWriter, status int, m rpc, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	id := string(m.ID)
	if id == "" {
		id = "null"
	}
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":%s}`, id, text)
}

// stream answers with an event stream. $ID stands for the ID of the request, and $TOKEN
// for its progress token.
func stream(w http.ResponseWriter, m rpc, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, fill(text, m))
	w.(http.Flusher).Flush()
}

func fill(text string, m rpc) string {
	var p struct {
		Meta struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(m.Params, &p)
	return strings.NewReplacer("$ID", string(m.ID), "$TOKEN", string(p.Meta.ProgressToken)).Replace(text)
}

// answerText answers a call as a table of texts says.
func answerText(contentType, text string) func(http.ResponseWriter, *http.Request, rpc) {
	return func(w http.ResponseWriter, _ *http.Request, m rpc) {
		w.Header()["Content-Type"] = nil // no guess by net/http
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		_, _ = io.WriteString(w, fill(text, m))
	}
}

func requireMalformed(t *testing.T, err error, reason string) {
	t.Helper()
	require.ErrorIs(t, err, wire.ErrMalformed)
	require.ErrorContains(t, err, reason)
	require.False(t, wire.NotExecuted(err))
}
