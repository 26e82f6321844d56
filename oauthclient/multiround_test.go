package oauthclient_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A tool that asks the user something in between takes two requests
// (SEP-2322); the result is that of the second, also as raw JSON.
func TestMultiRoundTripKeepsTheLastResult(t *testing.T) {
	t.Parallel()
	server := mcptest.New(mcptest.Options{JSONResponse: true, Raw: func(method string, params json.RawMessage) *mcptest.RawReply {
		switch {
		case method != "tools/call":
			return nil
		case !bytes.Contains(params, []byte("inputResponses")):
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"input_required","requestState":"s1","content":[],
				"inputRequests":{"q":{"method":"elicitation/create","params":{"mode":"form","message":"Sure?","requestedSchema":{"type":"object","properties":{}}}}}}`)}
		}
		return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","content":[],"isError":false,"big":9007199254740993}`)}
	}})
	t.Cleanup(server.Close)
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(), CallbackURL: "https://app.example/callback",
		Shared: oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Elicit: func(context.Context, *mcp.ElicitParams) (*mcp.ElicitResult, error) {
				return &mcp.ElicitResult{Action: "accept", Content: map[string]any{}}, nil
			},
		}})
	require.NoError(t, err)

	result, err := client.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err)
	raw, err := json.Marshal(result)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"big":9007199254740993`)
	require.Equal(t, 2, server.Count("tools/call"))
}
