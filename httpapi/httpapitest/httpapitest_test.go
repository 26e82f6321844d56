package httpapitest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/httpapi/httpapitest"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
	"github.com/mcpoauth/mcpoauth/session"
)

func servers(t testing.TB) (*oauthtest.AuthServer, *oauthtest.MCPServer) {
	t.Helper()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)
	return auth, server
}

func TestHost(t *testing.T) {
	t.Parallel()
	_, server := servers(t)
	host := httpapitest.NewHost(t, httpapitest.HostConfig{})
	alice, bob := host.User("alice"), host.User("bob")
	alice.AuthUser = "alice@example.com"
	sessionID := alice.Connect(server.URL())
	require.Equal(t, "alice@example.com", alice.CallTool(sessionID, "whoami", nil).Text())
	require.Equal(t, "42", alice.CallTool(sessionID, "add", map[string]int{"a": 2, "b": 40}).Text())
	require.Equal(t, "done as admin", alice.CallTool(sessionID, "admin", nil).Text(), "after one more authorization")
	require.True(t, alice.CallTool(sessionID, "fail", nil).IsError)
	require.Contains(t, alice.ListTools(sessionID), "whoami")

	status, answer := bob.Do(http.MethodPost, "/tool/call", httpapi.CallToolRequest{SessionID: sessionID, ToolName: "whoami"})
	require.Equal(t, http.StatusNotFound, status, "the session is another user's")
	require.Equal(t, httpapi.CodeSessionNotFound, answer.ErrorResponse.Code)
	infos, err := host.Manager.Sessions(t.Context(), session.Caller{Owner: "alice"})
	require.NoError(t, err)
	require.Len(t, infos, 1)

	resp, err := http.Get(host.APIURL + "/auth/sessions")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "a request that names no user")
}

// After a restart the sessions are there, and an authorization that began before it
// ends after it.
func TestRestart(t *testing.T) {
	t.Parallel()
	auth, server := servers(t)
	host := httpapitest.NewHost(t, httpapitest.HostConfig{})
	alice := host.User("alice")
	sessionID := alice.Connect(server.URL())
	status, begun := alice.Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	require.Equal(t, http.StatusUnauthorized, status)
	second := begun.AuthRequired.SessionID
	require.Equal(t, string(session.StatusAuthorizing), alice.Status(second).Status)
	before, url := host.Manager, host.URL

	host.Restart()
	require.NotSame(t, before, host.Manager)
	require.Equal(t, url, host.URL)
	_, err := before.Sessions(t.Context(), session.Caller{Owner: "alice"})
	require.ErrorIs(t, err, session.ErrClosed)
	require.Equal(t, "42", alice.CallTool(sessionID, "add", map[string]int{"a": 2, "b": 40}).Text())
	alice.Authorize(begun.AuthRequired.AuthURL)
	require.Equal(t, string(session.StatusConnected), alice.Status(second).Status)
	var listed []string
	for _, s := range alice.Sessions() {
		listed = append(listed, s.SessionID)
	}
	require.ElementsMatch(t, []string{sessionID, second}, listed)
	require.Empty(t, host.User("bob").Sessions())
	require.Len(t, auth.Requests(oauthtest.EndpointRegister), 1)
}

func TestHostConfig(t *testing.T) {
	t.Parallel()
	_, server := servers(t)
	var mu sync.Mutex
	var paths []string
	host := httpapitest.NewHost(t, httpapitest.HostConfig{
		Session: session.Config{AllowServer: func(_ context.Context, caller session.Caller, _ string) error {
			if caller.Owner != "alice" {
				return errors.New("not for you")
			}
			return nil
		}},
		HTTP: httpapi.Config{Prefix: "/mcp", ConnectsPerMinute: 1},
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				paths = append(paths, r.URL.Path)
				mu.Unlock()
				next.ServeHTTP(w, r)
			})
		},
	})
	require.Equal(t, host.URL+"/mcp", host.APIURL)
	host.User("alice").Connect(server.URL())
	status, _ := host.User("bob").Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	require.Equal(t, http.StatusForbidden, status)
	status, _ = host.User("bob").Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	require.Equal(t, http.StatusTooManyRequests, status)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"/mcp/auth/connect", "/mcp/auth/callback", "/mcp/auth/connect", "/mcp/auth/connect"}, paths)
}

// A user's login goes to the host, and not to the servers that the browser visits.
func TestHeadersStayAtTheHost(t *testing.T) {
	t.Parallel()
	auth, server := servers(t)
	host := httpapitest.NewHost(t, httpapitest.HostConfig{})
	host.User("alice").Connect(server.URL())
	authorize := auth.Requests(oauthtest.EndpointAuthorize)
	require.Len(t, authorize, 1)
	require.Empty(t, authorize[0].Header.Get(httpapitest.UserHeader))
}

func TestDeny(t *testing.T) {
	t.Parallel()
	_, server := servers(t)
	for afterCallback, want := range map[string]string{"": "/api/mcp/auth/callback", "/done": "/done"} {
		host := httpapitest.NewHost(t, httpapitest.HostConfig{HTTP: httpapi.Config{AfterCallback: afterCallback}})
		alice := host.User("alice")
		status, answer := alice.Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
		require.Equal(t, http.StatusUnauthorized, status)
		page := alice.Deny(answer.AuthRequired.AuthURL)
		require.Equal(t, want, page.Request.URL.Path)
		if afterCallback != "" {
			require.Equal(t, "mcp=failed", page.Request.URL.RawQuery)
			continue
		}
		require.Equal(t, http.StatusBadRequest, page.StatusCode)
		body, err := io.ReadAll(page.Body)
		require.NoError(t, err)
		require.Contains(t, string(body), "<html")
	}
}
