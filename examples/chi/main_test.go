package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func TestJourney(t *testing.T) {
	t.Parallel()
	auth := authtest.New(authtest.Options{})
	t.Cleanup(auth.Close)
	server := mcptest.New(mcptest.Options{Auth: auth})
	t.Cleanup(server.Close)
	host := newHost(t)
	alice, mallory := newBrowser(t, host), newBrowser(t, host)

	connect := `{"serverUrl":"` + server.URL() + `"}`
	status, body := alice.post(t, "/api/mcp/auth/connect", "application/json", connect)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Contains(t, body, httpapi.CodeUnauthenticated)

	status, _ = alice.post(t, "/login", "application/x-www-form-urlencoded", "user=alice")
	require.Equal(t, http.StatusNoContent, status)
	status, _ = mallory.post(t, "/login", "application/x-www-form-urlencoded", "user=mallory")
	require.Equal(t, http.StatusNoContent, status)

	status, body = alice.post(t, "/api/mcp/auth/connect", "application/json", connect)
	require.Equal(t, http.StatusUnauthorized, status)
	answer := decode(t, body)
	require.True(t, httpapi.IsConnectAuthRequired(answer), body)
	id := answer.AuthRequired.SessionID
	callback, err := auth.Approve(t.Context(), answer.AuthRequired.AuthURL)
	require.NoError(t, err)
	back, err := url.Parse(callback)
	require.NoError(t, err)
	status, body = alice.get(t, back.RequestURI())
	require.Equal(t, http.StatusOK, status, body)

	call := `{"sessionId":"` + id + `","toolName":"add","toolArgs":{"a":2,"b":40}}`
	status, body = alice.post(t, "/api/mcp/tool/call", "application/json", call)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `"sum":42`)
	status, body = mallory.post(t, "/api/mcp/tool/call", "application/json", call)
	require.Equal(t, http.StatusNotFound, status, "another user's session: %s", body)

	status, body = alice.get(t, "/api/mcp/nothing")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, httpapi.CodeNotFound, "the library answers below its prefix")
}

func TestLoginNeedsUser(t *testing.T) {
	t.Parallel()
	status, _ := newBrowser(t, newHost(t)).post(t, "/login", "application/x-www-form-urlencoded", "")
	require.Equal(t, http.StatusBadRequest, status)
}

// newHost starts the host and returns its URL.
func newHost(t *testing.T) string {
	t.Helper()
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = manager.Close() })
	host := httptest.NewUnstartedServer(nil)
	host.Config.Handler, err = newRouter(manager, "http://"+host.Listener.Addr().String())
	require.NoError(t, err)
	host.Start()
	t.Cleanup(host.Close)
	return host.URL
}

type browser struct {
	host   string
	client *http.Client
}

func newBrowser(t *testing.T, host string) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return browser{host, &http.Client{Jar: jar}}
}

func (b browser) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := b.client.Get(b.host + path)
	require.NoError(t, err)
	return read(t, resp)
}

func (b browser) post(t *testing.T, path, contentType, body string) (status int, answer string) {
	t.Helper()
	resp, err := b.client.Post(b.host+path, contentType, strings.NewReader(body))
	require.NoError(t, err)
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) (status int, body string) {
	t.Helper()
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}

func decode(t *testing.T, body string) (answer httpapi.Response) {
	t.Helper()
	require.NoError(t, answer.UnmarshalJSON([]byte(body)))
	return answer
}
