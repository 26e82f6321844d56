// Package bench_test measures the library beside its floors, in one run: the
// SDK's own session, and a bare handler that does nothing but decode, call and
// encode. The figures are in docs/performance.md.
package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// wires are the two ways in which MCP servers speak.
var wires = []struct {
	name    string
	options mcptest.Options
}{
	{"wire=2026-07-28", mcptest.Options{JSONResponse: true, DiscardRequests: true}},
	{"wire=2025-11-25", mcptest.Options{JSONResponse: true, DiscardRequests: true, Stateful: true}},
}

const callbackURL = "https://app.example/api/mcp/auth/callback"

type world struct {
	as  *authtest.Server
	mcp *mcptest.Server
}

func newWorld(b *testing.B, options mcptest.Options) *world {
	b.Helper()
	w := &world{as: authtest.New(authtest.Options{DiscardRequests: true})}
	b.Cleanup(w.as.Close)
	options.Auth = w.as
	w.mcp = mcptest.New(options)
	b.Cleanup(w.mcp.Close)
	return w
}

// bare returns a session of the SDK alone, with a token that never ends.
func (w *world) bare(b *testing.B, client *mcp.Client, transport http.RoundTripper) *mcp.ClientSession {
	b.Helper()
	bearer := bearerTransport{"Bearer " + w.as.Issue("bench", w.mcp.URL()), transport}
	s, err := client.Connect(context.Background(), &mcp.StreamableClientTransport{
		Endpoint: w.mcp.URL(), HTTPClient: &http.Client{Transport: bearer}, DisableStandaloneSSE: true,
	}, nil)
	require.NoError(b, err)
	return s
}

// relay returns the floor of a tool call.
func (w *world) relay(b *testing.B, version string, transport http.RoundTripper) *relay {
	b.Helper()
	r := &relay{transport: transport, url: w.mcp.URL(), token: w.as.Issue("bench", w.mcp.URL()), version: version}
	require.NoError(b, r.connect())
	return r
}

type bearerTransport struct {
	header string
	base   http.RoundTripper
}

func (t bearerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", t.header)
	return t.base.RoundTrip(req)
}

func newSDKClient() *mcp.Client {
	return mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
}

// bareHandler is what a developer would write without this library and without
// users, authorization or limits.
func bareHandler(s *mcp.ClientSession) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/mcp/tool/call", func(rw http.ResponseWriter, r *http.Request) {
		var req struct {
			SessionID string         `json:"sessionId"`
			ToolName  string         `json:"toolName"`
			ToolArgs  map[string]any `json:"toolArgs"`
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := s.CallTool(r.Context(), &mcp.CallToolParams{Name: req.ToolName, Arguments: req.ToolArgs})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(result)
	})
	mux.HandleFunc("GET /api/mcp/tool/list", func(rw http.ResponseWriter, r *http.Request) {
		result, err := s.ListTools(r.Context(), nil)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(result)
	})
	return mux
}

// manager returns a replica on a memory store.
func (w *world) manager(b *testing.B) *session.Manager {
	b.Helper()
	cfg := session.Config{Store: memstore.New(memstore.Config{}), SealKeys: [][]byte{bytes.Repeat([]byte{7}, 32)}, CacheSize: 20_000}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	m, err := session.New(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { _ = m.Close() })
	return m
}

// adopt makes a session without a browser, from a token issued directly.
func (w *world) adopt(b *testing.B, m *session.Manager) string {
	b.Helper()
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: w.mcp.URL(), CallbackURL: callbackURL,
		Credentials: oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
			AccessToken: oauthclient.NewSecret(w.as.Issue("bench", w.mcp.URL())), TokenType: "Bearer", Issuer: w.as.Issuer(),
			Resource: w.mcp.URL(), TokenEndpoint: w.as.URL() + "/token",
		}),
	})
	require.NoError(b, err)
	id := session.GenerateSessionID()
	require.NoError(b, m.SetClient(b.Context(), session.Caller{}, id, client))
	return id
}

// serve sends one request to a handler and fails unless it succeeds.
func serve(b *testing.B, h http.Handler, method, target string, body []byte) {
	req := httptest.NewRequestWithContext(b.Context(), method, target, bytes.NewReader(body))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		b.Fatalf("HTTP status %d: %s", rec.Code, rec.Body)
	}
}

func BenchmarkToolCall(b *testing.B) {
	args := map[string]any{"text": "hello", "n": 42}
	for _, wire := range wires {
		w := newWorld(b, wire.options)
		transport := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
		bare := w.bare(b, newSDKClient(), transport)
		b.Run(wire.name+"/floor=sdk", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bare.CallTool(b.Context(), &mcp.CallToolParams{Name: "echo", Arguments: args}); err != nil {
					b.Fatal(err)
				}
			}
		})
		body := mustJSON(b, map[string]any{"sessionId": "x", "toolName": "echo", "toolArgs": args})
		relay := w.relay(b, strings.TrimPrefix(wire.name, "wire="), transport)
		b.Run(wire.name+"/floor=relay", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, relay, http.MethodPost, "/api/mcp/tool/call", body)
			}
		})
		handler := bareHandler(bare)
		b.Run(wire.name+"/floor=handler", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, handler, http.MethodPost, "/api/mcp/tool/call", body)
			}
		})
		m := w.manager(b)
		api, err := httpapi.New(m, httpapi.Config{PublicURL: "https://app.example", RequestsPerMinute: -1})
		require.NoError(b, err)
		body = mustJSON(b, map[string]any{"sessionId": w.adopt(b, m), "toolName": "echo", "toolArgs": args})
		b.Run(wire.name+"/mcpoauth", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, api, http.MethodPost, "/api/mcp/tool/call", body)
			}
		})
		_ = bare.Close()
	}
}

func BenchmarkToolList(b *testing.B) {
	for _, wire := range wires {
		w := newWorld(b, wire.options)
		transport := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
		bare := w.bare(b, newSDKClient(), transport)
		b.Run(wire.name+"/floor=sdk", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bare.ListTools(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		handler := bareHandler(bare)
		b.Run(wire.name+"/floor=handler", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, handler, http.MethodGet, "/api/mcp/tool/list", nil)
			}
		})
		m := w.manager(b)
		api, err := httpapi.New(m, httpapi.Config{PublicURL: "https://app.example", RequestsPerMinute: -1})
		require.NoError(b, err)
		target := "/api/mcp/tool/list?sessionId=" + w.adopt(b, m)
		b.Run(wire.name+"/mcpoauth", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(b, api, http.MethodGet, target, nil)
			}
		})
		_ = bare.Close()
	}
}

// BenchmarkSessionLookup is what the Manager adds to a call: finding the
// session in the store, checking its owner, and describing it.
func BenchmarkSessionLookup(b *testing.B) {
	w := newWorld(b, wires[0].options)
	m := w.manager(b)
	id := w.adopt(b, m)
	_, err := m.ListTools(b.Context(), session.Caller{}, id)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Status(b.Context(), session.Caller{}, id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnectAndCallback is a user's whole way to a connected session:
// discovery, a shared registration, the authorization page, the exchange, and
// the first answer of the MCP server.
func BenchmarkConnectAndCallback(b *testing.B) {
	for _, wire := range wires {
		b.Run(wire.name, func(b *testing.B) {
			w := newWorld(b, wire.options)
			m := w.manager(b)
			b.ReportAllocs()
			for b.Loop() {
				w.journey(b, m)
			}
		})
	}
}

func mustJSON(b *testing.B, v any) []byte {
	b.Helper()
	data, err := json.Marshal(v)
	require.NoError(b, err)
	return data
}

func (w *world) journey(b *testing.B, m *session.Manager) {
	caller := session.Caller{Binding: "browser"}
	_, err := m.Connect(b.Context(), caller, session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callbackURL})
	required, ok := err.(*oauthclient.AuthorizationRequiredError) //nolint:errorlint // the Manager returns it unwrapped
	if !ok {
		b.Fatal(err)
	}
	callback, err := w.as.Approve(b.Context(), required.AuthURL)
	if err != nil {
		b.Fatal(err)
	}
	info, err := m.FinishAuth(b.Context(), caller, "", responseOf(b, callback))
	if err != nil || info.Status != session.StatusConnected {
		b.Fatal(fmt.Sprint(err, info.Status))
	}
}
