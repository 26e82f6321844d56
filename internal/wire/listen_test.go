package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// askingServer is a server that answers a call when its question, which it asks
// on the standalone stream, is answered. It refuses the stream with the statuses
// in refuse first.
func askingServer(t *testing.T, refuse ...int) (client *wire.Client, gets *atomic.Int64) {
	t.Helper()
	gets = new(atomic.Int64)
	open, answered := make(chan struct{}), make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			if n := int(gets.Add(1)); n <= len(refuse) {
				w.WriteHeader(refuse[n-1])
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-open:
				_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"Sure?"}}`+"\n\n")
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
			}
			<-r.Context().Done()
			return
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Result json.RawMessage
		}
		_ = json.NewDecoder(r.Body).Decode(&m)
		if m.Method == "" {
			answered <- string(m.Result)
		}
		if m.Method != "tools/call" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		close(open)
		select {
		case result := <-answered:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	return newClient(srv.URL), gets
}

var asking = &wire.Conn{Version: "2025-11-25", SessionID: "s1"}

func yes(_ context.Context, method string, params json.RawMessage) (any, error) {
	return map[string]string{"method": method, "params": string(params)}, nil
}

func TestQuestionOnTheStandaloneStream(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string][]int{"free": nil, "held by another at first": {http.StatusConflict}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, gets := askingServer(t, refuse...)
			op := client.NewOp()
			op.OnRequest, op.Asks = yes, true
			result, err := client.Call(t.Context(), asking, op, wire.Request{Method: "tools/call", Name: "ask", Params: json.RawMessage(`{"name":"ask"}`)})
			require.NoError(t, err)
			require.JSONEq(t, `{"method":"elicitation/create","params":"{\"message\":\"Sure?\"}"}`, string(result))
			require.EqualValues(t, len(refuse)+1, gets.Load())
		})
	}
}

// A server without a standalone stream, and a caller that answers no questions,
// cost nothing more.
func TestNoStandaloneStream(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		asks bool
		gets int
	}{
		"the server refuses the stream":   {true, 1},
		"the caller answers no questions": {false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var gets atomic.Int64
				client := newClient("https://mcp.example")
				client.HTTP.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodGet {
						gets.Add(1)
						return &http.Response{StatusCode: http.StatusMethodNotAllowed, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
					}
					<-r.Context().Done() // the call takes time in which there could be a second attempt
					return nil, r.Context().Err()
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				op := client.NewOp()
				if tc.asks {
					op.OnRequest, op.Asks = yes, true
				}
				_, err := client.Call(ctx, asking, op, wire.Request{Method: "tools/call", Name: "ask"})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.EqualValues(t, tc.gets, gets.Load())
			})
		})
	}
}

// A server that refuses the revision that it names is asked once more.
func TestDiscoverIsRepeatedForTheRevisionThatTheServerNames(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		require.Contains(t, string(body), "server/discover")
		w.Header().Set("Content-Type", "application/json")
		id, _, _ := strings.Cut(strings.SplitAfter(string(body), `"id":`)[1], ",")
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"]}}}`, id)
			return
		}
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}`, id)
	}))
	t.Cleanup(srv.Close)
	client := newClient(srv.URL)
	conn, err := client.Negotiate(t.Context(), client.NewOp(), false)
	require.NoError(t, err)
	require.Equal(t, "2026-07-28", conn.Version)
	require.EqualValues(t, 2, asked.Load())
}
