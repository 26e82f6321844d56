package httpapi_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// connectWith sends a connect request.
func (b *browser) connectWith(req httpapi.ConnectRequest) answer {
	b.t.Helper()
	body, err := json.Marshal(req)
	require.NoError(b.t, err)
	return b.send("POST", pathConnect, string(body))
}

// A front end connects a session again on another replica, and keeps its ID.
func TestConnectAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader)
	b := w.browser(t, "alice")
	id := b.authorized()
	w.replica(t, byHeader)
	a := b.connectWith(httpapi.ConnectRequest{SessionID: id})
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, id, a.ConnectSuccess.SessionID)

	w.as.RevokeAll()
	a = b.connectWith(httpapi.ConnectRequest{SessionID: id, ServerURL: w.mcp.URL()})
	callback := b.approve(a)
	require.Equal(t, id, a.AuthRequired.SessionID)
	require.Equal(t, 200, b.send("GET", callback, "").status)
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
	var list httpapi.SessionList
	require.NoError(t, json.Unmarshal([]byte(b.send("GET", pathSessions, "").body), &list))
	require.Len(t, list.Sessions, 1)

	for want, req := range map[string]httpapi.ConnectRequest{
		"session_not_found": {SessionID: "x"},
		"invalid_request":   {SessionID: id, ServerURL: "https://elsewhere.example/mcp"},
	} {
		require.Equal(t, want, b.connectWith(req).ErrorResponse.Code)
	}
	require.Equal(t, "invalid_request", b.connectWith(httpapi.ConnectRequest{SessionID: id, CallbackURL: "https://evil.example/"}).ErrorResponse.Code)
	require.Equal(t, "session_not_found", w.browser(t, "bob").connectWith(httpapi.ConnectRequest{SessionID: id}).ErrorResponse.Code)
}
