package oauthtest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

func newAuth(t *testing.T, cfg oauthtest.AuthServerConfig) *oauthtest.AuthServer {
	t.Helper()
	s := oauthtest.NewAuthServer(cfg)
	t.Cleanup(s.Close)
	return s
}

func newServer(t *testing.T, cfg oauthtest.MCPServerConfig) *oauthtest.MCPServer {
	t.Helper()
	s := oauthtest.NewMCPServer(cfg)
	t.Cleanup(s.Close)
	return s
}

func metadata(t *testing.T, auth *oauthtest.AuthServer) (status int, header http.Header, body string, err error) {
	t.Helper()
	resp, err := http.Get(auth.Issuer() + "/.well-known/oauth-authorization-server")
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(data), err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fault  oauthtest.Fault
		status int
		body   string
		retry  string
		cut    bool
	}{
		"status":             {oauthtest.Fault{Status: 503, RetryAfter: 1500 * time.Millisecond, Times: 1}, 503, "Service Unavailable\n", "2", false},
		"OAuth error":        {oauthtest.Fault{OAuthError: "invalid_grant", Times: 1}, 400, `{"error":"invalid_grant"}`, "", false},
		"OAuth error, other": {oauthtest.Fault{OAuthError: "slow_down", Status: 429, RetryAfter: time.Second, Times: 1}, 429, `{"error":"slow_down"}`, "1", false},
		"broken JSON":        {oauthtest.Fault{Body: `{"issuer":`, Times: 1}, 200, `{"issuer":`, "", false},
		"cut":                {oauthtest.Fault{Cut: true, Times: 1}, 0, "", "", true},
		"answer cut":         {oauthtest.Fault{CutAnswer: true, Times: 1}, 0, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := newAuth(t, oauthtest.AuthServerConfig{Faults: oauthtest.Faults{oauthtest.EndpointMetadata: row.fault}})
			status, header, body, err := metadata(t, auth)
			if row.cut {
				require.Error(t, err)
			} else {
				require.NoError(t, err)
				require.Equal(t, row.status, status)
				require.Equal(t, row.body, body)
				require.Equal(t, row.retry, header.Get("Retry-After"))
			}
			status, _, body, err = metadata(t, auth)
			require.NoError(t, err, "Times is used up")
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, body, auth.Issuer())
		})
	}
}

func TestSetFaultsReplacesAll(t *testing.T) {
	t.Parallel()
	auth := newAuth(t, oauthtest.AuthServerConfig{Faults: oauthtest.Faults{oauthtest.EndpointMetadata: {CutAnswer: true}}})
	for range 3 {
		_, _, _, err := metadata(t, auth)
		require.Error(t, err, "without Times, until the faults are set again")
	}
	auth.SetFaults(oauthtest.Faults{oauthtest.EndpointMetadata: {}})
	status, _, _, err := metadata(t, auth)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

// A whole server is away, but for an endpoint with a key of its own, and comes back.
func TestEveryEndpoint(t *testing.T) {
	t.Parallel()
	auth, server := newAuth(t, oauthtest.AuthServerConfig{}), newServer(t, oauthtest.MCPServerConfig{})
	get := func(url string) int {
		resp, err := http.Get(url)
		if err != nil {
			return 0
		}
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	faults := oauthtest.Faults{oauthtest.EveryEndpoint: {Status: 503}, oauthtest.EndpointToken: {Cut: true}}
	auth.SetFaults(faults)
	for _, endpoint := range []string{"authorize", "register", "revoke", ".well-known/oauth-authorization-server"} {
		require.Equal(t, 503, get(auth.Issuer()+"/"+endpoint), endpoint)
	}
	require.Zero(t, get(auth.Issuer()+"/token"))
	require.Len(t, faults, 2, "the caller's map is unchanged")
	auth.SetFaults(nil)
	require.Equal(t, 200, get(auth.Issuer()+"/.well-known/oauth-authorization-server"))

	server.SetFaults(oauthtest.Faults{oauthtest.EveryEndpoint: {Status: 502}})
	require.Equal(t, 502, get(server.URL()))
	server.SetFaults(nil)
	require.NotEqual(t, 502, get(server.URL()))
}

// A key with a spelling mistake would make a test pass that tests nothing.
func TestFaultsOfAnotherServerPanic(t *testing.T) {
	t.Parallel()
	auth, server := newAuth(t, oauthtest.AuthServerConfig{}), newServer(t, oauthtest.MCPServerConfig{})
	require.PanicsWithValue(t, `oauthtest: Faults: this server has no "tools/call"`, func() { auth.SetFaults(oauthtest.Faults{"tools/call": {}}) })
	require.Panics(t, func() { server.SetFaults(oauthtest.Faults{oauthtest.EndpointToken: {}}) })
}

func TestMCPServerFaults(t *testing.T) {
	t.Parallel()
	server := newServer(t, oauthtest.MCPServerConfig{Configure: func(s *mcp.Server) {
		mcp.AddTool(s, &mcp.Tool{Name: "own"}, func(_ context.Context, _ *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "mine"}}}, nil, nil
		})
	}})
	client := newClient(server.URL(), nil)
	require.NoError(t, client.Connect(t.Context()))
	server.SetFaults(oauthtest.Faults{"tools/call": {Status: http.StatusBadGateway, Times: 1}})
	_, err := client.ListTools(t.Context())
	require.NoError(t, err, "another method works")
	_, err = client.CallTool(t.Context(), "echo", nil)
	require.ErrorAs(t, err, new(*oauthclient.TemporaryError))
	require.Zero(t, server.Executed("echo"))
	_, err = client.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err)
	require.Equal(t, 1, server.Executed("echo"))
	result, err := client.CallTool(t.Context(), "own", nil)
	require.NoError(t, err)
	require.Equal(t, "mine", result.Text())

	calls := server.Requests("tools/call")
	require.Len(t, calls, 3)
	require.Equal(t, []int{http.StatusBadGateway, http.StatusOK}, []int{calls[0].Status, calls[1].Status})
	require.Equal(t, oauthtest.EndpointMCP, calls[0].Endpoint)
	require.Greater(t, len(server.Requests("")), 3)
}

func TestRejectedTokens(t *testing.T) {
	t.Parallel()
	auth := newAuth(t, oauthtest.AuthServerConfig{})
	server := newServer(t, oauthtest.MCPServerConfig{Auth: auth})
	client := newClient(server.URL(), nil)
	require.NoError(t, authorize(t.Context(), client))
	server.RejectTokens(1)
	_, err := client.CallTool(t.Context(), "whoami", nil)
	require.NoError(t, err)
	require.Len(t, auth.TokenRequests("refresh_token"), 1)

	auth.RevokeAll()
	_, err = client.CallTool(t.Context(), "whoami", nil)
	require.ErrorAs(t, err, new(*oauthclient.AuthorizationRequiredError))
}

func TestDeviations(t *testing.T) {
	t.Parallel()
	auth := newAuth(t, oauthtest.AuthServerConfig{
		NoRegistration: true, OmitPKCEMethods: true, OmitIss: true, ScopesSupported: []string{"read"},
		Clients:      []oauthtest.Client{{ID: "my-app", Secret: "hush", RedirectURIs: []string{"http://127.0.0.1:3000/callback"}}},
		EditMetadata: func(document map[string]any) { document["x-own"] = true },
	})
	_, _, body, err := metadata(t, auth)
	require.NoError(t, err)
	require.Contains(t, body, `"x-own":true`)
	require.Contains(t, body, `"scopes_supported":["read"]`)
	require.NotContains(t, body, "registration_endpoint")
	require.NotContains(t, body, "code_challenge_methods_supported")
	require.NotContains(t, body, "authorization_response_iss_parameter_supported")
	require.Len(t, auth.Requests(oauthtest.EndpointMetadata), 1)
	require.Empty(t, auth.Requests(oauthtest.EndpointToken))

	query := url.Values{
		"response_type": {"code"}, "client_id": {"my-app"}, "redirect_uri": {"http://127.0.0.1:3000/callback"}, "state": {"s"},
		"code_challenge": {strings.Repeat("x", 43)}, "code_challenge_method": {"S256"},
	}
	callbackURL, err := oauthtest.Browser{}.Approve(t.Context(), auth.Issuer()+"/authorize?"+query.Encode())
	require.NoError(t, err)
	require.Contains(t, callbackURL, "code=")
	require.NotContains(t, callbackURL, "iss=")
	require.Equal(t, "my-app", auth.Requests(oauthtest.EndpointAuthorize)[0].Form.Get("client_id"))
}

// The error of a callback that cannot be reached has no code in it.
func TestAuthorizeShowsNoCode(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/callback?code=canary", http.StatusFound)
	}))
	t.Cleanup(page.Close)
	err := oauthtest.Browser{}.Authorize(t.Context(), page.URL)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "canary")
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, "/callback?code=canary", http.StatusFound)
	}))
	t.Cleanup(refusing.Close)
	require.EqualError(t, oauthtest.Browser{}.Authorize(t.Context(), refusing.URL), "oauthtest: the callback answered 400 Bad Request")
}

// Requests and Faults have the names of the servers underneath.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	require.Equal(t,
		[]string{authtest.EndpointAuthorize, authtest.EndpointToken, authtest.EndpointRegister, authtest.EndpointRevoke, authtest.EndpointMetadata, mcptest.EndpointMCP, mcptest.EndpointMetadata},
		[]string{oauthtest.EndpointAuthorize, oauthtest.EndpointToken, oauthtest.EndpointRegister, oauthtest.EndpointRevoke, oauthtest.EndpointMetadata, oauthtest.EndpointMCP, oauthtest.EndpointMetadata})
}
