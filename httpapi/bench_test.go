package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// BenchmarkCallTool is a warm tool call, through the handler and through the
// least that a host would write itself, both from the front end's HTTP request
// to the MCP server and back.
func BenchmarkCallTool(b *testing.B) {
	w := newWorld(b, authtest.Options{DiscardRequests: true}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
	manager, err := session.New(session.Config{Store: w.store, Client: oauthclient.Shared{
		Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
	}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, manager.Close()) })
	h := w.replica(b)
	id := w.browser(b, "").authorized()
	bare := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var req struct {
			SessionID, ToolName string
			ToolArgs            json.RawMessage
		}
		if json.NewDecoder(r.Body).Decode(&req) != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		result, err := manager.CallTool(r.Context(), session.Caller{}, req.SessionID, req.ToolName, req.ToolArgs)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(rw).Encode(result)
	})
	body := callBody(b, id, "echo", `{"text":"`+strings.Repeat("some text. ", 100)+`"}`)
	for _, tc := range []struct {
		name    string
		handler http.Handler
	}{{"bare", bare}, {"httpapi", h}} {
		b.Run(tc.name, func(b *testing.B) {
			server := httptest.NewServer(tc.handler)
			defer server.Close()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := server.Client().Post(server.URL+pathCall, "application/json", strings.NewReader(body))
				require.NoError(b, err)
				_, _ = io.Copy(io.Discard, resp.Body)
				require.NoError(b, resp.Body.Close())
				require.Equal(b, 200, resp.StatusCode)
			}
		})
	}
}

// BenchmarkHandler is the handler's own share, without HTTP and MCP.
func BenchmarkHandler(b *testing.B) {
	h, _ := newFake(b, &fake{})
	body := callBody(b, "s", "echo", `{"text":"`+strings.Repeat("some text. ", 100)+`"}`)
	b.ReportAllocs()
	for b.Loop() {
		w := request(b, h, "POST", pathCall, body)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
