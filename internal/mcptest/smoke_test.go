package mcptest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

const redirectURL = "http://127.0.0.1:1/callback"

// newHandler is the SDK's own OAuth client with a user who says yes.
func newHandler(t *testing.T) *auth.AuthorizationCodeHandler {
	t.Helper()
	h, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				RedirectURIs: []string{redirectURL},
				GrantTypes:   []string{"authorization_code", "refresh_token"},
			},
		},
		RedirectURL: redirectURL,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			callback, err := authtest.Browser{}.Approve(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			u, err := url.Parse(callback)
			if err != nil {
				return nil, err
			}
			q := u.Query()
			if q.Has("error") {
				return nil, fmt.Errorf("authorization refused: %s", q.Get("error"))
			}
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	})
	require.NoError(t, err)
	return h
}

// connect opens a session; h is nil for a client without OAuth.
func connect(t *testing.T, srv *mcptest.Server, h auth.OAuthHandler) *mcp.ClientSession {
	t.Helper()
	session, err := dial(t, srv, h, nil)
	require.NoError(t, err)
	return session
}

func dial(t *testing.T, srv *mcptest.Server, h auth.OAuthHandler, opts *mcp.ClientOptions) (*mcp.ClientSession, error) {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, opts)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: srv.URL(), OAuthHandler: h, DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Transport: &http.Transport{}},
	}, nil)
	if err == nil {
		t.Cleanup(func() { _ = session.Close() })
	}
	return session, err
}

func call(t *testing.T, session *mcp.ClientSession, tool string, args any) (*mcp.CallToolResult, error) {
	t.Helper()
	return session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
}

func newAuth(t *testing.T, opts authtest.Options) *authtest.Server {
	t.Helper()
	as := authtest.New(opts)
	t.Cleanup(as.Close)
	return as
}

func newServer(t *testing.T, opts mcptest.Options) *mcptest.Server {
	t.Helper()
	srv := mcptest.New(opts)
	t.Cleanup(srv.Close)
	return srv
}

func TestConnectsWithTheSDKClient(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{
		"stateless":                           {},
		"stateless, older wire":               {ProtocolVersions: []string{"2025-11-25", "2025-06-18"}},
		"stateful":                            {Stateful: true},
		"JSON answers":                        {JSONResponse: true},
		"stateful, JSON":                      {Stateful: true, JSONResponse: true},
		"at the root":                         {Path: "/"},
		"deeper":                              {Path: "/tenants/1/mcp"},
		"own authorization server, documents": {SharedOrigin: true},
		"own authorization server, 2025-03-26": {
			SharedOrigin: true, Metadata: mcptest.Metadata{Absent: true}, SkipAudienceCheck: true,
		},
		"root document":   {Metadata: mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtRoot}}, Challenge: mcptest.Challenge{Omit: true}},
		"custom document": {Metadata: mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtCustom}, CustomPath: "/about"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := newAuth(t, authtest.Options{NoMetadata: opts.Metadata.Absent})
			opts.Auth = as
			srv := newServer(t, opts)
			session := connect(t, srv, newHandler(t))
			tools, err := session.ListTools(t.Context(), nil)
			require.NoError(t, err)
			var names []string
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			require.Equal(t, mcptest.Tools(), names)
			result, err := call(t, session, "whoami", nil)
			require.NoError(t, err)
			require.Equal(t, "alice", result.StructuredContent.(map[string]any)["user"])
			require.Len(t, srv.Tokens(), 1)
			require.Equal(t, 1, srv.Executed("whoami"))
			require.Equal(t, 1, as.Counts().Exchanges)
			require.Equal(t, opts.Stateful, srv.RPC("tools/call")[0].Header.Get("Mcp-Session-Id") != "")
		})
	}
}
