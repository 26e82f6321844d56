package oauthclient_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// What a host says of its front ends is declared: to older servers at initialize,
// to those of revision 2026-07-28 in each request, where elicitation is declared
// for the callers alone that can ask.
func TestDeclaredCapabilities(t *testing.T) {
	t.Parallel()
	elicit := func(context.Context, *mcp.ElicitParams) (*mcp.ElicitResult, error) { return nil, nil }
	const ui = `"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}`
	for name, tt := range map[string]struct {
		shared        oauthclient.Shared
		asking        oauthclient.Asking
		older, modern string
	}{
		"nothing":                 {oauthclient.Shared{}, oauthclient.Asking{}, `{}`, `{}`},
		"UI resources":            {oauthclient.Shared{ShowsUI: true}, oauthclient.Asking{}, `{` + ui + `}`, `{` + ui + `}`},
		"front ends that can ask": {oauthclient.Shared{AskUsers: oauthclient.ElicitationModes{Form: true, URL: true}}, oauthclient.Asking{}, `{"elicitation":{"form":{},"url":{}}}`, `{}`},
		"a caller that can ask":   {oauthclient.Shared{}, oauthclient.Asking{Form: true}, `{}`, `{"elicitation":{"form":{}}}`},
		"both, and UI resources":  {oauthclient.Shared{AskUsers: oauthclient.ElicitationModes{URL: true}, ShowsUI: true}, oauthclient.Asking{URL: true}, `{"elicitation":{"url":{}},` + ui + `}`, `{"elicitation":{"url":{}},` + ui + `}`},
		"a function":              {oauthclient.Shared{Elicit: elicit}, oauthclient.Asking{}, `{"elicitation":{}}`, `{"elicitation":{}}`},
		"a function, and links":   {oauthclient.Shared{Elicit: elicit, AskUsers: oauthclient.ElicitationModes{URL: true}}, oauthclient.Asking{}, `{"elicitation":{"form":{},"url":{}}}`, `{"elicitation":{}}`},
	} {
		for _, stateful := range []bool{true, false} {
			server := mcptest.New(mcptest.Options{Stateful: stateful})
			t.Cleanup(server.Close)
			shared := tt.shared
			shared.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
			client, err := oauthclient.New(oauthclient.Config{ServerURL: server.URL(), CallbackURL: "https://app.example/callback", Shared: shared})
			require.NoError(t, err)
			_, err = client.CallToolAsking(t.Context(), "echo", nil, tt.asking, nil)
			require.NoError(t, err, name)
			var params struct {
				Capabilities json.RawMessage `json:"capabilities"`
				Meta         struct {
					Capabilities json.RawMessage `json:"io.modelcontextprotocol/clientCapabilities"`
				} `json:"_meta"`
			}
			method, want := "tools/call", tt.modern
			if stateful {
				method, want = "initialize", tt.older
			}
			require.NoError(t, json.Unmarshal(server.RPC(method)[0].Params, &params))
			if stateful {
				params.Meta.Capabilities = params.Capabilities
			}
			require.JSONEq(t, want, string(params.Meta.Capabilities), "%s, stateful: %v", name, stateful)
		}
	}
}

// A list comes page by page as the server has it.
func TestListPages(t *testing.T) {
	t.Parallel()
	server := mcptest.New(mcptest.Options{PageSize: 3})
	t.Cleanup(server.Close)
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(), CallbackURL: "https://app.example/callback",
		Shared: oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})},
	})
	require.NoError(t, err)
	var names []string
	for cursor, pages := "", 0; ; {
		page, err := client.ListPage(t.Context(), oauthclient.ListTools, cursor)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), 3)
		for _, item := range page.Items {
			var tool mcp.Tool
			require.NoError(t, json.Unmarshal(item, &tool))
			names = append(names, tool.Name)
		}
		pages++
		if cursor = page.NextCursor; cursor == "" {
			require.Equal(t, (len(mcptest.Tools())+2)/3, pages)
			break
		}
	}
	require.ElementsMatch(t, mcptest.Tools(), names)
}
