package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

func allowKeys(c *session.Config) {
	c.AllowHeaders, c.AllowKeyHeaders = []string{"X-Tenant"}, []string{"X-Api-Key"}
}

// A front end gives a key, which no answer and no log repeats.
func TestConnectWithHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	open := mcptest.New(mcptest.Options{})
	t.Cleanup(open.Close)
	w.replica(t, byHeader, allowKeys)
	b := w.browser(t, "alice")
	req := httpapi.ConnectRequest{ServerURL: open.URL(), Headers: map[string]string{"x-api-key": canary}}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", req, req, req), canary)
	a := b.connectWith(req)
	require.Equal(t, 200, a.status, a.body)
	id := a.ConnectSuccess.SessionID
	w.replica(t, byHeader, allowKeys)
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
	for _, r := range open.Requests() {
		require.Equal(t, canary, r.Header.Get("X-Api-Key"))
	}
	shown := b.send("GET", pathSessions, "").body + b.send("GET", pathStatus+"?sessionId="+id, "").body

	for name, headers := range map[string]map[string]string{
		"not allowed": {"X-Other": canary}, "line break": {"X-Tenant": canary + "\r\nX-Evil: 1"}, "Authorization": {"Authorization": canary},
	} {
		a = b.connectWith(httpapi.ConnectRequest{ServerURL: open.URL(), Headers: headers})
		require.Equal(t, 400, a.status, name)
		require.Equal(t, "invalid_request", a.ErrorResponse.Code)
		require.Contains(t, a.ErrorResponse.Error, "headers")
		shown += a.body
	}
	open.Reset()
	a = b.send("POST", pathConnect, `{"sessionId":"`+id+`","headers":{}}`)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
	for _, r := range open.Requests() {
		require.Empty(t, r.Header.Values("X-Api-Key"))
	}
	require.NotContains(t, shown+a.body+w.log.String(), canary)
}

// A key that the server refuses has a code of its own, and leaves no session.
func TestRejectedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(refuses.Close)
	w.replica(t, byHeader, allowKeys)
	b := w.browser(t, "alice")
	a := b.connectWith(httpapi.ConnectRequest{ServerURL: refuses.URL, Headers: map[string]string{"X-Api-Key": canary}})
	require.Equal(t, 403, a.status)
	require.Equal(t, `{"error":"The server does not accept the key of this connection. Connect again with another one.","code":"credentials_rejected"}`, a.body)
	require.Equal(t, `{"sessions":[]}`, b.send("GET", pathSessions, "").body)
}
