package wire_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Every revision, with JSON and event streams, against the SDK's server.
func TestSDKServer(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"} {
		for _, stateless := range []bool{false, true} {
			for _, jsonResponse := range []bool{false, true} {
				if version == "2026-07-28" && !stateless {
					continue
				}
				name := version + map[bool]string{true: " stateless", false: " stateful"}[stateless] + map[bool]string{true: " JSON", false: " stream"}[jsonResponse]
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					server := mcp.NewServer(&mcp.Implementation{Name: "sdk", Version: "3"}, &mcp.ServerOptions{Instructions: "be kind", SupportedProtocolVersions: []string{version}})
					mcp.AddTool(server, &mcp.Tool{Name: "add"}, func(_ context.Context, _ *mcp.CallToolRequest, in struct{ A, B int }) (*mcp.CallToolResult, map[string]int, error) {
						return nil, map[string]int{"sum": in.A + in.B}, nil
					})
					srv := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: stateless, JSONResponse: jsonResponse}))
					t.Cleanup(srv.Close)
					c := newClient(srv.URL)
					op := c.NewOp()
					conn, err := c.Negotiate(t.Context(), op, false)
					require.NoError(t, err)
					require.Equal(t, version, conn.Version)
					require.Equal(t, stateless, conn.SessionID == "")
					require.Equal(t, "be kind", conn.Instructions)
					require.Contains(t, string(conn.ServerInfo), `"sdk"`)
					result, err := c.Call(t.Context(), conn, op, wire.Request{Method: "tools/call", Name: "add", Params: json.RawMessage(`{"name":"add","arguments":{"A":2,"B":3}}`)})
					require.NoError(t, err)
					require.Contains(t, string(result), `"structuredContent":{"sum":5}`)
					require.NoError(t, c.End(t.Context(), conn))
					require.NoError(t, c.End(t.Context(), conn))
				})
			}
		}
	}
}
