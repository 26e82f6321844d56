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
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
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

// A server that needs more scopes as soon as it sees the token rejects no token, and
// has answered.
func TestCallbackPage_SaysThatTheServerNeedsMoreScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{RequiredScopes: []string{"extra"}, Challenge: mcptest.Challenge{Scope: "base"}})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	page := b.send("GET", b.approve(a), "", "Accept", "text/html")
	require.Contains(t, page.body, httpapi.CodeInsufficientScope)
	require.Contains(t, page.body, "needs more access than was given")
	now := b.status(a.AuthRequired.SessionID)
	require.Equal(t, "failed", now.Status)
	require.Equal(t, "more_scopes", now.Reason)
}

// How the page names what does not suffice.
func TestCallbackPage_SaysWhatDoesNotSuffice(t *testing.T) {
	t.Parallel()
	for reason, code := range map[oauthclient.Reason]string{
		oauthclient.ReasonTokenRejected: httpapi.CodeTokenRejected, oauthclient.ReasonMoreScopes: httpapi.CodeInsufficientScope,
		oauthclient.ReasonRevoked: httpapi.CodeAuthorizationFailed, "": httpapi.CodeUpstreamUnavailable,
	} {
		h, _ := newFake(t, &fake{info: session.Info{ID: oauthclient.NewSecret("x"), Status: session.StatusFailed, AuthorizationReason: reason}})
		page := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html").Body.String()
		require.Contains(t, page, `code: "`+code+`"`, reason)
	}
}
