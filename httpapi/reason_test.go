package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// A server that has forgotten the client shows that to the browser only. The user
// says so, and gets in at once.
func TestConnect_FreshGetsOutOfADeadClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{UnknownClientJSON: true}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	b.authorized()
	w.as.DropClients()
	_, err := w.as.Approve(t.Context(), b.connect().AuthRequired.AuthURL)
	require.ErrorContains(t, err, "422", "the user sees an error page")

	body, err := json.Marshal(httpapi.ConnectRequest{ServerURL: w.mcp.URL(), Fresh: true})
	require.NoError(t, err)
	a := b.send("POST", pathConnect, string(body))
	require.Equal(t, http.StatusOK, b.send("GET", b.approve(a), "").status)
	require.Equal(t, http.StatusOK, b.call(a.AuthRequired.SessionID, "echo", "{}").status)
	for range 10 {
		b.approve(b.send("POST", pathConnect, string(body)))
	}
	require.Equal(t, 2, w.as.Counts().Registrations, "one new client in 10 minutes")
}

// People are told why they must authorize.
func TestAuthRequired_SaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{ToolScopes: map[string][]string{"admin": {"admin"}}})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	require.Equal(t, "first_time", a.AuthRequired.Reason)
	require.Equal(t, "first_time", b.status(a.AuthRequired.SessionID).Reason)
	require.Equal(t, http.StatusOK, b.send("GET", b.approve(a), "").status)
	id := a.AuthRequired.SessionID
	require.Equal(t, "more_scopes", b.call(id, "admin", "{}").AuthRequired.Reason)
	w.as.RevokeAll()
	require.Equal(t, "revoked", b.list(id).AuthRequired.Reason)
	require.Equal(t, "revoked", b.status(id).Reason)
}

// A server that rejects the tokens of its own authorization server is neither
// asked for again and again nor called unreachable.
func TestTokenRejected_IsAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="the audience is wrong"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})
	again := b.list(id)
	require.Equal(t, "token_rejected", again.AuthRequired.Reason)
	page := b.send("GET", b.approve(again), "", "Accept", "text/html")
	require.Contains(t, page.body, "token_rejected")
	require.NotContains(t, page.body, "did not answer")
	a := b.list(id)
	require.Equal(t, http.StatusBadGateway, a.status)
	require.Equal(t, httpapi.CodeTokenRejected, a.ErrorResponse.Code)
	require.NotContains(t, a.body, "audience")
	require.Contains(t, w.log.String(), "the audience is wrong")
	require.Contains(t, w.log.String(), "resource="+w.mcp.URL())
	w.mcp.SetOutage(nil)
	require.Equal(t, http.StatusOK, b.send("GET", pathList+"?sessionId="+url.QueryEscape(id), "").status)
}
