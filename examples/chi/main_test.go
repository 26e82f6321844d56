package main

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/httpapi/httpapitest"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
	"github.com/mcpoauth/mcpoauth/session"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	t.Cleanup(auth.Close)
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	t.Cleanup(server.Close)
	host := newHost(t)
	alice, mallory := httpapitest.NewUser(t, host+"/api/mcp", nil), httpapitest.NewUser(t, host+"/api/mcp", nil)

	status, answer := alice.Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: server.URL()})
	require.Equal(t, http.StatusUnauthorized, status)
	require.Equal(t, httpapi.CodeUnauthenticated, answer.ErrorResponse.Code)

	require.Equal(t, http.StatusNoContent, login(t, alice, host, "alice"))
	require.Equal(t, http.StatusNoContent, login(t, mallory, host, "mallory"))
	sessionID := alice.Connect(server.URL())
	require.Equal(t, "42", alice.CallTool(sessionID, "add", map[string]int{"a": 2, "b": 40}).Text())

	status, _ = mallory.Do(http.MethodPost, "/tool/call", httpapi.CallToolRequest{SessionID: sessionID, ToolName: "add"})
	require.Equal(t, http.StatusNotFound, status, "another user's session")
	status, answer = alice.Do(http.MethodGet, "/nothing", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, httpapi.CodeNotFound, answer.ErrorResponse.Code, "the library answers below its prefix")
}

func TestLoginNeedsUser(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	require.Equal(t, http.StatusBadRequest, login(t, httpapitest.NewUser(t, host+"/api/mcp", nil), host, ""))
}

// newHost starts the host and returns its URL.
func newHost(t *testing.T) string {
	t.Helper()
	manager := httpapitest.NewManager(t, session.Config{})
	return httpapitest.Serve(t, func(publicURL string) (http.Handler, error) { return newRouter(manager, publicURL) })
}

func login(t *testing.T, user *httpapitest.User, host, name string) (status int) {
	t.Helper()
	resp, err := user.Client.PostForm(host+"/login", url.Values{"user": {name}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}
