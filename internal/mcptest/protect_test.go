package mcptest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// post sends one JSON-RPC request of protocol version 2025-06-18.
func post(t *testing.T, srv *mcptest.Server, token, method string, params any) *http.Response {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL(), bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Mcp-Protocol-Version", "2025-06-18")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func callTool(t *testing.T, srv *mcptest.Server, token, tool string) *http.Response {
	t.Helper()
	return post(t, srv, token, "tools/call", map[string]any{"name": tool})
}

// challengeOf returns the parameters of the answer's one challenge.
func challengeOf(t *testing.T, resp *http.Response) map[string]string {
	t.Helper()
	challenges, err := oauthex.ParseWWWAuthenticate(resp.Header.Values("WWW-Authenticate"))
	require.NoError(t, err)
	require.Len(t, challenges, 1)
	require.Equal(t, "bearer", challenges[0].Scheme)
	return challenges[0].Params
}

func bodyOf(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	clockOffset := make(chan time.Duration, 1)
	clockOffset <- 0
	as := newAuth(t, authtest.Options{Now: func() time.Time {
		d := <-clockOffset
		clockOffset <- d
		return time.Now().Add(d)
	}})
	srv := newServer(t, mcptest.Options{Auth: as})
	metadata := srv.Origin() + "/.well-known/oauth-protected-resource/mcp"

	require.Equal(t, map[string]string{"resource_metadata": metadata}, challengeOf(t, callTool(t, srv, "", "echo")))
	good := as.Issue("alice", srv.URL())
	require.Equal(t, http.StatusOK, callTool(t, srv, good, "echo").StatusCode)

	revoked := as.Issue("alice", srv.URL())
	as.Revoke(revoked)
	for name, token := range map[string]string{
		"made up":                      "guess",
		"revoked":                      revoked,
		"for another resource":         as.Issue("alice", "https://other.example/mcp"),
		"for a resource with a prefix": as.Issue("alice", srv.URL()+"/more"),
		"for none":                     as.Issue("alice", ""),
	} {
		resp := callTool(t, srv, token, "echo")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, name)
		require.Equal(t, "invalid_token", challengeOf(t, resp)["error"], name)
	}
	<-clockOffset
	clockOffset <- 2 * time.Hour
	require.Equal(t, http.StatusUnauthorized, callTool(t, srv, good, "echo").StatusCode, "expired by the server's clock")
	require.Equal(t, 1, srv.Executed("echo"))
	require.Equal(t, 8, srv.Count("tools/call"))
}

func TestChallengeForms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		challenge mcptest.Challenge
		scopes    []string
		want      string
	}{
		"omitted":           {challenge: mcptest.Challenge{Omit: true}, want: ""},
		"no metadata":       {challenge: mcptest.Challenge{OmitResourceMetadata: true}, want: "Bearer"},
		"wrong metadata":    {challenge: mcptest.Challenge{ResourceMetadata: "https://x.example/"}, want: `Bearer resource_metadata="https://x.example/"`},
		"scope and error":   {challenge: mcptest.Challenge{OmitResourceMetadata: true, Scope: "a b", Error: "invalid_token"}, want: `Bearer error="invalid_token", scope="a b"`},
		"scope of options":  {challenge: mcptest.Challenge{OmitResourceMetadata: true}, scopes: []string{"read"}, want: `Bearer scope="read"`},
		"something strange": {challenge: mcptest.Challenge{Raw: `Basic realm="x", Bearer`}, want: `Basic realm="x", Bearer`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, mcptest.Options{
				Auth: newAuth(t, authtest.Options{}), Challenge: tc.challenge, RequiredScopes: tc.scopes,
			})
			resp := callTool(t, srv, "", "echo")
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			require.Equal(t, tc.want, resp.Header.Get("WWW-Authenticate"))
		})
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as, RequiredScopes: []string{"read"}})
	plain, reader := as.Issue("a", srv.URL()), as.Issue("a", srv.URL(), "read")
	for _, tc := range []struct{ token, tool, scope string }{
		{plain, "echo", "read"},
		{reader, "admin", "read admin"},
	} {
		resp := callTool(t, srv, tc.token, tc.tool)
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		params := challengeOf(t, resp)
		require.Equal(t, "insufficient_scope", params["error"])
		require.Equal(t, tc.scope, params["scope"])
		require.NotEmpty(t, params["resource_metadata"])
	}
	require.Equal(t, http.StatusOK, callTool(t, srv, reader, "echo").StatusCode)
	require.Equal(t, http.StatusOK, callTool(t, srv, as.Issue("a", srv.URL(), "read", "admin"), "admin").StatusCode)

	loop := newServer(t, mcptest.Options{Auth: as, AlwaysInsufficientScope: true})
	token := as.Issue("a", loop.URL(), "admin")
	require.Equal(t, http.StatusOK, post(t, loop, token, "tools/list", nil).StatusCode)
	for range 3 {
		require.Equal(t, http.StatusForbidden, callTool(t, loop, token, "echo").StatusCode)
	}
}

func TestStepUpWithTheSDKClient(t *testing.T) {
	t.Parallel()
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as})
	session := connect(t, srv, newHandler(t))
	_, err := call(t, session, "admin", nil)
	require.NoError(t, err)
	require.Equal(t, 2, as.Counts().Authorizations)
	require.Equal(t, "admin", as.Requests(authtest.EndpointAuthorize)[1].Get("scope"))
}

func TestLazyAuth(t *testing.T) {
	t.Parallel()
	for name, stateful := range map[string]bool{"stateless": false, "stateful": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := newAuth(t, authtest.Options{})
			srv := newServer(t, mcptest.Options{Auth: as, LazyAuth: true, Stateful: stateful})
			session := connect(t, srv, newHandler(t))
			_, err := session.ListTools(t.Context(), nil)
			require.NoError(t, err)
			require.Zero(t, as.Counts().Authorizations)
			result, err := call(t, session, "whoami", nil)
			require.NoError(t, err)
			require.Equal(t, "alice", result.StructuredContent.(map[string]any)["user"])
			require.Equal(t, 1, as.Counts().Authorizations)
			require.Equal(t, http.StatusUnauthorized, post(t, srv, "guess", "tools/list", nil).StatusCode)
		})
	}
}

func TestRejectNext(t *testing.T) {
	t.Parallel()
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as})
	token := as.Issue("a", srv.URL())
	srv.RejectNext(2)
	for range 2 {
		resp := callTool(t, srv, token, "echo")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, "invalid_token", challengeOf(t, resp)["error"])
	}
	require.Equal(t, http.StatusOK, callTool(t, srv, token, "echo").StatusCode)
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	const path, root = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"
	get := func(t *testing.T, srv *mcptest.Server, path string) (int, string) {
		t.Helper()
		resp, err := http.Get(srv.Origin() + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, bodyOf(t, resp)
	}
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as, Metadata: mcptest.Metadata{ScopesSupported: []string{"read"}}})

	status, body := get(t, srv, path)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"resource":"`+srv.URL()+`","authorization_servers":["`+as.Issuer()+`"],
		"scopes_supported":["read"],"bearer_methods_supported":["header"],"resource_name":"mcptest"}`, body)
	status, _ = get(t, srv, root)
	require.Equal(t, http.StatusNotFound, status)

	srv.SetMetadata(mcptest.Metadata{
		Locations: []mcptest.MetadataLocation{mcptest.MetadataAtRoot, mcptest.MetadataAtPath},
	})
	_, body = get(t, srv, root)
	require.Contains(t, body, `"resource":"`+srv.Origin()+`"`)
	require.Equal(t, srv.Origin()+root, challengeOf(t, callTool(t, srv, "", "echo"))["resource_metadata"])
	require.Equal(t, http.StatusOK, callTool(t, srv, as.Issue("a", srv.Origin()), "echo").StatusCode)

	srv.SetMetadata(mcptest.Metadata{Resource: "https://other.example/", AuthorizationServers: []string{"https://as.example"}})
	_, body = get(t, srv, path)
	require.Contains(t, body, `"resource":"https://other.example/"`)
	require.Contains(t, body, `"authorization_servers":["https://as.example"]`)

	srv.SetMetadata(mcptest.Metadata{Raw: `{"resource":`, Status: http.StatusAccepted})
	status, body = get(t, srv, path)
	require.Equal(t, http.StatusAccepted, status)
	require.Equal(t, `{"resource":`, body)

	srv.SetMetadata(mcptest.Metadata{})
	srv.SetMetadataOutage(authtest.StatusOutage(http.StatusServiceUnavailable))
	status, _ = get(t, srv, path)
	require.Equal(t, http.StatusServiceUnavailable, status)
	srv.SetMetadataOutage(nil)

	srv.SetMetadata(mcptest.Metadata{Absent: true})
	status, _ = get(t, srv, path)
	require.Equal(t, http.StatusNotFound, status)
	require.NotContains(t, challengeOf(t, callTool(t, srv, "", "echo")), "resource_metadata")
}

func TestVerifyHook(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{
		SkipAudienceCheck: true,
		Verify: func(token string) (authtest.Info, error) {
			if token != "opensesame" {
				return authtest.Info{}, authtest.ErrUnknownToken
			}
			return authtest.Info{User: "ali"}, nil
		},
	})
	require.Equal(t, http.StatusUnauthorized, callTool(t, srv, "x", "whoami").StatusCode)
	require.Contains(t, bodyOf(t, callTool(t, srv, "opensesame", "whoami")), "ali")
	require.Equal(t, []string{"x", "opensesame"}, srv.Tokens())
}
