package httpapitest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

// User is a user with a browser that has a host's front end in it. Its methods
// fail the test when something goes wrong.
type User struct {
	// Client is the browser: it keeps cookies, and sends the user's headers to the
	// host. Use it to sign in.
	Client *http.Client
	// AuthUser is the user's name at the [oauthtest.AuthServer]. Defaults to
	// [oauthtest.AuthServerConfig].User.
	AuthUser string

	t      testing.TB
	apiURL string
}

// NewUser returns a user of the host whose routes are below apiURL, such as
// "http://127.0.0.1:3000/api/mcp". Each request to that host has the headers.
func NewUser(t testing.TB, apiURL string, headers http.Header) *User {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	host, err := url.Parse(apiURL)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Jar: jar, Transport: withHeaders{transport, host.Host, headers.Clone()}}
	return &User{Client: client, t: t, apiURL: strings.TrimSuffix(apiURL, "/")}
}

// withHeaders sends headers to one host.
type withHeaders struct {
	base    *http.Transport
	host    string
	headers http.Header
}

func (w withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == w.host {
		r = r.Clone(r.Context())
		for name, values := range w.headers {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return w.base.RoundTrip(r)
}

// Do sends a request of the front end, such as POST "/tool/call", and returns the
// answer. body is sent as JSON; nil sends none. The answers of auth/status and
// auth/sessions are not in a Response: see [User.Status] and [User.Sessions].
func (u *User) Do(method, path string, body any) (status int, answer httpapi.Response) {
	u.t.Helper()
	status = u.send(method, path, body, &answer)
	return status, answer
}

// send is Do for an answer of any type.
func (u *User) send(method, path string, body, answer any) (status int) {
	u.t.Helper()
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(u.t, err)
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(u.t.Context(), method, u.apiURL+path, content)
	require.NoError(u.t, err)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := u.Client.Do(r)
	require.NoError(u.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(u.t, err)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		require.NoError(u.t, json.Unmarshal(data, answer), "%s %s answered %s", method, path, data)
	}
	return resp.StatusCode
}

// Connect connects to an MCP server, authorizes if the server asks for it, and
// returns the session ID.
func (u *User) Connect(serverURL string) (sessionID string) {
	u.t.Helper()
	status, answer := u.Do(http.MethodPost, "/auth/connect", httpapi.ConnectRequest{ServerURL: serverURL})
	if httpapi.IsConnectAuthRequired(answer) {
		u.Authorize(answer.AuthRequired.AuthURL)
		return answer.AuthRequired.SessionID
	}
	require.True(u.t, httpapi.IsConnectSuccess(answer), "connect answered %d %s", status, problem(answer))
	return answer.ConnectSuccess.SessionID
}

// Authorize opens the authURL of an answer, says yes, and comes back to the
// host's callback.
func (u *User) Authorize(authURL string) {
	u.t.Helper()
	browser := oauthtest.Browser{User: u.AuthUser, Client: u.Client}
	require.NoError(u.t, browser.Authorize(u.t.Context(), authURL))
}

// Deny opens the authURL of an answer, says no, and comes back to the host's
// callback. It returns the page that the user sees then, whose body can be read
// and need not be closed.
func (u *User) Deny(authURL string) (page *http.Response) {
	u.t.Helper()
	browser := oauthtest.Browser{User: u.AuthUser, Client: u.Client}
	callbackURL, err := browser.Deny(u.t.Context(), authURL)
	require.NoError(u.t, err)
	page, err = browser.Open(u.t.Context(), callbackURL)
	require.NoError(u.t, err)
	return page
}

// CallTool calls a tool, after an authorization if the host asks for one.
// args becomes a JSON object; nil is an empty one.
func (u *User) CallTool(sessionID, tool string, args any) *oauthclient.CallToolResult {
	u.t.Helper()
	if args == nil {
		args = struct{}{}
	}
	data, err := json.Marshal(args)
	require.NoError(u.t, err)
	call := httpapi.CallToolRequest{SessionID: sessionID, ToolName: tool, ToolArgs: data}
	status, answer := u.Do(http.MethodPost, "/tool/call", call)
	if httpapi.IsConnectAuthRequired(answer) {
		u.Authorize(answer.AuthRequired.AuthURL)
		status, answer = u.Do(http.MethodPost, "/tool/call", call)
	}
	require.True(u.t, httpapi.IsCallToolSuccess(answer), "%s answered %d %s", tool, status, problem(answer))
	data, err = json.Marshal(answer.CallToolSuccess)
	require.NoError(u.t, err)
	result := new(oauthclient.CallToolResult)
	require.NoError(u.t, json.Unmarshal(data, result))
	return result
}

// ListTools returns the names of the session's tools.
func (u *User) ListTools(sessionID string) (names []string) {
	u.t.Helper()
	status, answer := u.Do(http.MethodGet, "/tool/list?sessionId="+url.QueryEscape(sessionID), nil)
	require.True(u.t, httpapi.IsListToolsSuccess(answer), "tool/list answered %d %s", status, problem(answer))
	for _, data := range answer.ListToolsSuccess.Tools {
		var tool struct{ Name string }
		require.NoError(u.t, json.Unmarshal(data, &tool))
		names = append(names, tool.Name)
	}
	return names
}

// Status returns the answer of auth/status for a session.
func (u *User) Status(sessionID string) (answer httpapi.SessionStatus) {
	u.t.Helper()
	status := u.send(http.MethodGet, "/auth/status?sessionId="+url.QueryEscape(sessionID), nil, &answer)
	require.Equal(u.t, http.StatusOK, status, "auth/status")
	return answer
}

// Sessions returns the user's sessions, as auth/sessions lists them.
func (u *User) Sessions() []httpapi.SessionSummary {
	u.t.Helper()
	var answer httpapi.SessionList
	status := u.send(http.MethodGet, "/auth/sessions", nil, &answer)
	require.Equal(u.t, http.StatusOK, status, "auth/sessions")
	return answer.Sessions
}

// problem describes an answer that was not expected.
func problem(answer httpapi.Response) string {
	switch {
	case answer.ErrorResponse != nil:
		return answer.ErrorResponse.Code + ": " + answer.ErrorResponse.Error
	case answer.AuthRequired != nil:
		return "requiresAuth: " + answer.AuthRequired.Error
	}
	return "and another kind of body"
}
