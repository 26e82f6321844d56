package interop_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stack is an authorization server, and an MCP server that takes its tokens.
type stack struct {
	name   string
	server *wire // in front of the authorization server
	mcpURL string
	// registrationURL is where administrators register clients (RFC 7591).
	registrationURL string
	// reject makes the MCP server refuse a token that is still valid.
	reject func(token string)
	// restart makes the authorization server forget everything.
	restart func()
	// silent means that the server shows only the user that it does not know a
	// client: the browser never comes back.
	silent bool
	// form is what the user enters at the authorization server.
	form url.Values
	// denial is what the user enters to say no; nil where there is no such button.
	denial url.Values
	// whoami is the tool that names the user, as want.
	whoami, want string
	// admin is the tool that needs scope; empty without step-up.
	admin, scope string
	// expires reports whether access tokens live for 10 seconds.
	expires bool
	// resource is the resource that the MCP server says it is.
	resource string
	// lasting reports whether an access token outlives its revocation, because
	// the MCP server checks the signature alone.
	lasting bool
	// irrevocable reports whether the server has no revocation endpoint.
	irrevocable bool
	// registers reports whether the host registers a client dynamically.
	registers bool
}

// journey takes one user through everything, and reports it as a line.
func (s *stack) journey(t *testing.T, h *host) {
	t.Helper()
	j := begin(t, s.name)
	h.user.form = s.form

	if s.denial != nil {
		s.deny(t, h)
		j.passed("deny")
	}
	session := s.authorize(t, h)
	j.passed("connect, authorize")
	s.call(t, h, session)
	j.passed("call")
	if s.expires {
		s.refreshAtExpiry(t, h, session)
		j.passed("refresh at expiry")
	}
	s.refreshAfterRejection(t, h, session)
	j.passed("refresh after 401")
	if s.admin != "" {
		s.stepUp(t, h, session)
		j.passed("step-up")
	}
	if !s.irrevocable {
		s.authorizeAgain(t, h, session)
		j.passed("authorize again after a revocation elsewhere")
	}
	if s.restart != nil {
		session = s.authorizeAnew(t, h, session)
		j.passed("authorize again after a loss of data")
	}
	tokens := s.server.issued()
	s.disconnect(t, h, session)
	j.passed("disconnect")
	if !s.irrevocable {
		s.requireRevoked(t, tokens)
		j.passed("revocation")
	}

	registrations := len(s.server.registrations())
	again := h.connect(t, s.mcpURL)
	require.True(t, again.RequiresAuth, "%+v", again)
	require.Len(t, s.server.registrations(), registrations, "one registration serves all sessions")
	for _, secret := range s.server.secrets() {
		require.NotContains(t, h.log.String(), secret)
	}
	requireNoWarnings(t, h.log.String())
	j.finished()
}

// provoked are the warnings that a journey brings about.
var provoked = []string{"no Redis configured", "rejects a token that was just issued", "does not renew the authorization"}

// requireNoWarnings checks that a log warns of nothing else.
func requireNoWarnings(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "level=WARN") && !strings.Contains(line, "level=ERROR") {
			continue
		}
		require.True(t, slices.ContainsFunc(provoked, func(text string) bool { return strings.Contains(line, text) }), line)
	}
}

// deny connects, and lets the user say no. The front end is told so.
func (s *stack) deny(t *testing.T, h *host) {
	t.Helper()
	begun := h.connect(t, s.mcpURL)
	require.True(t, begun.RequiresAuth, "%+v", begun)
	refusing := *h.user
	refusing.form = s.denial
	status, page := refusing.visit(t, begun.AuthURL, h.callback())
	require.Equal(t, http.StatusBadRequest, status, page)
	require.Contains(t, page, "access_denied")
	after := h.status(t, begun)
	require.Equal(t, "failed", after.Attempt.Status, "%+v", after)
	require.Equal(t, "access_denied", after.Attempt.Code)
	require.Empty(t, s.server.grants("authorization_code"))
}

// authorize connects, and lets the user approve.
func (s *stack) authorize(t *testing.T, h *host) (sessionID string) {
	t.Helper()
	begun := h.connect(t, s.mcpURL)
	require.True(t, begun.RequiresAuth, "%+v", begun)
	h.user.authorize(t, begun.AuthURL, h.callback())
	exchanges := s.server.grants("authorization_code")
	require.Len(t, exchanges, 1)
	require.NotEmpty(t, exchanges[0].text("refresh_token"))
	require.Equal(t, s.registers, len(s.server.registrations()) == 1)
	s.requireResource(t, exchanges[0])
	return begun.SessionID
}

func (s *stack) requireResource(t *testing.T, tokenRequest exchange) {
	t.Helper()
	require.Equal(t, s.resource, tokenRequest.form.Get("resource"))
}

// call lists the tools and calls one.
func (s *stack) call(t *testing.T, h *host, sessionID string) {
	t.Helper()
	listed := h.listTools(t, sessionID)
	require.Contains(t, listed.Tools, struct{ Name string }{s.whoami}, "%+v", listed)
	s.requireCall(t, h, sessionID)
}

func (s *stack) requireCall(t *testing.T, h *host, sessionID string) {
	t.Helper()
	called := h.call(t, sessionID, s.whoami)
	require.Equal(t, http.StatusOK, called.Status, "%+v", called)
	require.False(t, called.IsError, "%+v", called)
	require.Equal(t, s.want, called.text())
}

// refreshAtExpiry calls until the access token is due. Every call succeeds, and
// the calls of one moment need one refresh.
func (s *stack) refreshAtExpiry(t *testing.T, h *host, sessionID string) {
	t.Helper()
	const calls = 4
	before := s.server.issued()
	refreshes := len(s.server.grants("refresh_token"))
	poll := time.NewTicker(250 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(time.Minute)
	for len(s.server.grants("refresh_token")) == refreshes {
		require.True(t, time.Now().Before(deadline), "the access token does not expire")
		answers, errs := make([]answer, calls), make([]error, calls)
		var wave sync.WaitGroup
		for i := range calls {
			wave.Go(func() { answers[i], errs[i] = h.tryCall(t.Context(), sessionID, s.whoami) })
		}
		wave.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, a := range answers {
			require.Equal(t, s.want, a.text(), "%+v", a)
		}
		<-poll.C
	}
	require.Len(t, s.server.grants("refresh_token"), refreshes+1)
	s.requireRefreshed(t, before)
}

// refreshAfterRejection has the MCP server refuse the token, and calls.
func (s *stack) refreshAfterRejection(t *testing.T, h *host, sessionID string) {
	t.Helper()
	before := s.server.issued()
	refreshes := len(s.server.grants("refresh_token"))
	s.reject(before.text("access_token"))
	s.requireCall(t, h, sessionID)
	needed := len(s.server.grants("refresh_token")) - refreshes
	require.Contains(t, []int{1, 2}, needed, "one, and another if the token was due")
	s.requireRefreshed(t, before)
}

// requireRefreshed checks that a refresh has replaced the access token.
func (s *stack) requireRefreshed(t *testing.T, before exchange) {
	t.Helper()
	refreshed := s.server.grants("refresh_token")
	last := refreshed[len(refreshed)-1]
	require.Equal(t, http.StatusOK, last.status, "%+v", last.answer)
	require.NotEqual(t, before.text("access_token"), last.text("access_token"))
	s.requireResource(t, last)
}

// stepUp calls a tool that needs a scope more, and lets the user approve.
func (s *stack) stepUp(t *testing.T, h *host, sessionID string) {
	t.Helper()
	refused := h.call(t, sessionID, s.admin)
	require.True(t, refused.RequiresAuth, "%+v", refused)
	require.Equal(t, sessionID, refused.SessionID)
	require.Contains(t, strings.Fields(refused.scopes(t)), s.scope)
	h.user.authorize(t, refused.AuthURL, h.callback())
	admin := func() {
		called := h.call(t, sessionID, s.admin)
		require.Equal(t, http.StatusOK, called.Status, "%+v", called)
		require.False(t, called.IsError, "%+v", called)
		s.requireCall(t, h, sessionID) // the scopes from before are still there
	}
	admin()
	s.refreshAfterRejection(t, h, sessionID)
	admin()
}

// authorizeAgain revokes the grant at the authorization server, as users do on
// its page of connected applications. The next call sends the user there.
func (s *stack) authorizeAgain(t *testing.T, h *host, sessionID string) {
	t.Helper()
	tokens := s.server.issued()
	status, body := s.asClient(t, tokens, s.server.announced("revocation_endpoint"), url.Values{"token": {refreshToken(tokens)}})
	require.Equal(t, http.StatusOK, status, body)
	s.reject(tokens.text("access_token"))
	s.requireAuthorization(t, h, sessionID)
}

// authorizeAnew restarts the authorization server, which then knows neither
// tokens nor clients.
func (s *stack) authorizeAnew(t *testing.T, h *host, sessionID string) string {
	t.Helper()
	s.restart()
	if !s.silent {
		s.requireAuthorization(t, h, sessionID)
		return sessionID
	}
	refused := h.call(t, sessionID, s.whoami)
	require.True(t, refused.RequiresAuth, "%+v", refused)
	// The user sees an error, and says so: the front end asks for a new client.
	begun := h.connectFresh(t, s.mcpURL)
	require.True(t, begun.RequiresAuth, "%+v", begun)
	h.user.authorize(t, begun.AuthURL, h.callback())
	s.requireCall(t, h, begun.SessionID)
	return begun.SessionID
}

// requireAuthorization calls, lets the user approve, and calls again.
func (s *stack) requireAuthorization(t *testing.T, h *host, sessionID string) {
	t.Helper()
	refused := h.call(t, sessionID, s.whoami)
	require.True(t, refused.RequiresAuth, "%+v", refused)
	h.user.authorize(t, refused.AuthURL, h.callback())
	s.requireCall(t, h, sessionID)
}

// disconnect ends the session.
func (s *stack) disconnect(t *testing.T, h *host, sessionID string) {
	t.Helper()
	ended := h.disconnect(t, sessionID)
	require.True(t, ended.Success, "%+v", ended)
	require.Equal(t, "session_not_found", h.call(t, sessionID, s.whoami).Code)
}

// requireRevoked tries to use the tokens that a session has left behind.
func (s *stack) requireRevoked(t *testing.T, tokens exchange) {
	t.Helper()
	revoked := func() bool { return len(s.server.revocations(refreshToken(tokens))) > 0 }
	require.Eventually(t, revoked, time.Minute, 10*time.Millisecond, "the refresh token is not revoked")
	status, body := s.asClient(t, tokens, s.server.url+tokens.path, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refreshToken(tokens)}, "resource": {s.resource},
	})
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "invalid_grant")
	if !s.lasting {
		const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		status, body = s.post(t, s.mcpURL, "application/json", "Bearer "+tokens.text("access_token"), list)
		require.Equal(t, http.StatusUnauthorized, status, body)
	}
}

// refreshToken is the refresh token that a token answer leaves the client with.
func refreshToken(tokens exchange) string {
	if rotated := tokens.text("refresh_token"); rotated != "" {
		return rotated
	}
	return tokens.form.Get("refresh_token")
}

// asClient posts a form, authenticated as the client that got the tokens.
func (s *stack) asClient(t *testing.T, tokens exchange, to string, form url.Values) (status int, body string) {
	t.Helper()
	for _, name := range []string{"client_id", "client_secret"} {
		if value := tokens.form.Get(name); value != "" {
			form.Set(name, value)
		}
	}
	return s.post(t, to, "application/x-www-form-urlencoded", tokens.header.Get("Authorization"), form.Encode())
}

func (s *stack) post(t *testing.T, to, contentType, authorization, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json, text/event-stream")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return do(t, http.DefaultClient, req)
}
