package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// internalHost stands for what an upstream's error must not tell the world.
const internalHost = "10.1.2.3"

type errorRow struct {
	err        error
	status     int
	code       string
	retryAfter string
	text       string
}

// errorTable has every typed error of packages session and oauthclient.
func errorTable() map[string]errorRow {
	hidden := errors.New("dial tcp " + internalHost + ":6379: " + canary)
	temporary := func(status int, retry time.Duration, timeout bool) error {
		return &oauthclient.TemporaryError{Op: "calling " + internalHost, StatusCode: status, RetryAfter: retry, Timeout: timeout, Err: hidden}
	}
	rpc := func(code int64) error {
		return &jsonrpc.Error{Code: code, Message: "said\nthe server", Data: []byte(`{"url":"https://mcp.example/consent"}`)}
	}
	return map[string]errorRow{
		"unknown session":              {session.ErrNotFound, 404, httpapi.CodeSessionNotFound, "", "session"},
		"unknown session, wrapped":     {fmt.Errorf("x: %w", session.ErrNotFound), 404, httpapi.CodeSessionNotFound, "", ""},
		"disconnected meanwhile":       {oauthclient.ErrNotConnected, 404, httpapi.CodeSessionNotFound, "", ""},
		"bad input":                    {&session.InputError{Field: "ServerURL", Reason: "has no host"}, 400, httpapi.CodeInvalidRequest, "", "serverUrl has no host."},
		"too many sessions":            {&session.LimitError{Limit: "MaxSessionsPerOwner", Value: 7}, 429, httpapi.CodeLimitReached, "60", "too many sessions"},
		"too many attempts":            {&session.LimitError{Limit: "MaxAttemptsPerSession", Value: 7}, 429, httpapi.CodeLimitReached, "60", "authorizations of this session"},
		"store away":                   {&session.StoreError{Op: "reading", Err: hidden}, 503, httpapi.CodeStoreUnavailable, "5", ""},
		"credential store away":        {&oauthclient.StorageError{Err: hidden}, 503, httpapi.CodeStoreUnavailable, "5", ""},
		"shutting down":                {session.ErrClosed, 503, httpapi.CodeShuttingDown, "1", ""},
		"cancelled by somebody else":   {context.Canceled, 503, httpapi.CodeShuttingDown, "1", ""},
		"host's own deadline":          {context.DeadlineExceeded, 504, httpapi.CodeUpstreamTimeout, "", ""},
		"bad callback":                 {oauthclient.ErrInvalidCallback, 400, httpapi.CodeInvalidCallback, "", "browser"},
		"forbidden address":            {fmt.Errorf("dialing %s: %w", internalHost, oauthclient.ErrForbiddenAddress), 400, httpapi.CodeForbiddenServerURL, "", ""},
		"refused: named":               {&oauthclient.AuthorizationError{Code: "invalid_scope", Description: canary}, 502, httpapi.CodeAuthorizationFailed, "", "(invalid_scope)"},
		"refused: odd name":            {&oauthclient.AuthorizationError{Code: "<b>" + canary}, 502, httpapi.CodeAuthorizationFailed, "", "refused."},
		"refused: access, out of turn": {&oauthclient.AuthorizationError{Code: "access_denied"}, 502, httpapi.CodeAuthorizationFailed, "", ""},
		"scope loop":                   {&oauthclient.InsufficientScopeError{Scopes: []string{canary}}, 403, httpapi.CodeInsufficientScope, "", "permission"},
		"no registration":              {&oauthclient.RegistrationRequiredError{Issuer: "https://" + internalHost}, 502, httpapi.CodeRegistrationRequired, "", "registered by hand"},
		"mismatch":                     {&oauthclient.DiscoveryError{Reason: "issuer mismatch", Got: "a", Want: "b", Source: "https://" + internalHost}, 502, httpapi.CodeDiscoveryFailed, "", ""},
		"bad metadata":                 {&oauthclient.DiscoveryError{Source: "https://" + internalHost}, 502, httpapi.CodeDiscoveryFailed, "", ""},
		"upstream timeout":             {temporary(0, 0, true), 504, httpapi.CodeUpstreamTimeout, "", ""},
		"upstream busy":                {temporary(429, 90*time.Second, false), 503, httpapi.CodeUpstreamUnavailable, "90", ""},
		"upstream busy, no time":       {temporary(503, 0, false), 503, httpapi.CodeUpstreamUnavailable, "5", ""},
		"upstream busy, fraction":      {temporary(503, 1500*time.Millisecond, false), 503, httpapi.CodeUpstreamUnavailable, "2", ""},
		"upstream down":                {temporary(0, 0, false), 502, httpapi.CodeUpstreamUnavailable, "", ""},
		"upstream 500":                 {temporary(500, 0, false), 502, httpapi.CodeUpstreamUnavailable, "", ""},
		"server says 403":              {&oauthclient.ServerError{StatusCode: 403}, 403, httpapi.CodeServerRefused, "", ""},
		"server says 404":              {&oauthclient.ServerError{StatusCode: 404}, 502, httpapi.CodeUpstreamError, "", ""},
		"too large":                    {&oauthclient.ResponseLimitError{Limit: "MaxResponseBytes"}, 502, httpapi.CodeUpstreamTooLarge, "", "larger than"},
		"too many":                     {&oauthclient.ResponseLimitError{Limit: "MaxTools"}, 502, httpapi.CodeUpstreamTooLarge, "", "lists more"},
		"too deep":                     {&oauthclient.ResponseLimitError{Limit: "nesting"}, 502, httpapi.CodeUpstreamTooLarge, "", "nested"},
		"old transport":                {oauthclient.ErrOldTransport, 502, httpapi.CodeUnsupportedTransport, "", "2024-11-05"},
		"server talks nonsense":        {&oauthclient.ServerError{Reason: "it does not follow the protocol"}, 502, httpapi.CodeUpstreamError, "", ""},
		"token rejected":               {&oauthclient.TokenRejectedError{Resource: "https://" + internalHost, Description: canary}, 502, httpapi.CodeTokenRejected, "", "administrator"},
		"authorization server: 403":    {&oauthclient.ServerError{Op: "fetching https://" + internalHost, StatusCode: 403}, 502, httpapi.CodeUpstreamError, "", "authorization server's answer"},
		"authorization server: page":   {&oauthclient.ServerError{Op: "fetching https://" + internalHost, Reason: canary}, 502, httpapi.CodeUpstreamError, "", "authorization server's answer"},
		"JSON-RPC invalid request":     {rpc(-32600), 400, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC no such method":      {rpc(-32601), 400, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC invalid params":      {rpc(-32602), 400, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC internal":            {rpc(-32603), 502, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC parse error":         {rpc(-32700), 502, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC own code":            {rpc(42), 502, httpapi.CodeMCPError, "", "said the server"},
		"JSON-RPC, silent":             {&jsonrpc.Error{Code: 1}, 502, httpapi.CodeMCPError, "", "The server answered with an error."},
		"JSON-RPC, long":               {&jsonrpc.Error{Code: 1, Message: strings.Repeat("é", 5000)}, 502, httpapi.CodeMCPError, "", "…"},
		"joined with a store error":    {errors.Join(&oauthclient.AuthorizationRequiredError{AuthURL: canary}, &session.StoreError{Err: hidden}), 503, httpapi.CodeStoreUnavailable, "5", ""},
		"joined with not found":        {errors.Join(&oauthclient.AuthorizationRequiredError{AuthURL: canary}, session.ErrNotFound), 404, httpapi.CodeSessionNotFound, "", ""},
		"a bug":                        {hidden, 500, httpapi.CodeInternal, "", "Something went wrong"},
	}
}

func TestErrorTable(t *testing.T) {
	t.Parallel()
	for name, row := range errorTable() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for route, send := range map[string]func(http.Handler) *httptest.ResponseRecorder{
				"connect": func(h http.Handler) *httptest.ResponseRecorder { return request(t, h, "POST", pathConnect, anyConnect) },
				"disconnect": func(h http.Handler) *httptest.ResponseRecorder {
					return request(t, h, "POST", pathDisconnect, anySession)
				},
				"status": func(h http.Handler) *httptest.ResponseRecorder {
					return request(t, h, "GET", pathStatus+"?sessionId=s", "")
				},
				"list": func(h http.Handler) *httptest.ResponseRecorder {
					return request(t, h, "GET", pathList+"?sessionId=s", "")
				},
				"call": func(h http.Handler) *httptest.ResponseRecorder { return request(t, h, "POST", pathCall, anyCall) },
				"stream": func(h http.Handler) *httptest.ResponseRecorder {
					return request(t, h, "POST", pathCall, anyCall, "Accept", "text/event-stream")
				},
			} {
				h, log := newFake(t, &fake{err: row.err})
				w := send(h)
				require.Equal(t, row.status, w.Code, route)
				got := errorOf(t, w)
				require.Equal(t, row.code, got.Code, route)
				require.Contains(t, got.Error, row.text, route)
				if strings.HasPrefix(name, "JSON-RPC") && row.text == "said the server" {
					require.JSONEq(t, `{"url":"https://mcp.example/consent"}`, string(got.RPCData), route)
				}
				require.LessOrEqual(t, len(got.Error), 520)
				require.Equal(t, row.retryAfter, w.Header().Get("Retry-After"), route)
				require.NotContains(t, w.Body.String(), canary, route)
				require.NotContains(t, w.Body.String(), internalHost, route)
				require.Contains(t, log.String(), w.Header().Get("X-Request-Id"), route)
				require.Less(t, log.Len(), 5000, "a server cannot fill the log")
				var rpc *jsonrpc.Error
				if errors.As(row.err, &rpc) {
					require.Equal(t, rpc.Code, *got.RPCCode)
				} else {
					require.Nil(t, got.RPCCode)
				}
			}
		})
	}
}

// A refusal that a callback reports is the user's or the server's answer to
// this very request; a browser gets the same on a page.
func TestCallbackErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]errorRow{
		"the user said no":  {&oauthclient.AuthorizationError{Code: "access_denied", Description: canary}, 400, httpapi.CodeAccessDenied, "", "Access was denied."},
		"the server did":    {&oauthclient.AuthorizationError{Code: "server_error"}, 400, httpapi.CodeAuthorizationFailed, "", "(server_error)"},
		"forged":            {oauthclient.ErrInvalidCallback, 400, httpapi.CodeInvalidCallback, "", "another browser"},
		"token endpoint":    {&oauthclient.TemporaryError{Op: "x"}, 502, httpapi.CodeUpstreamUnavailable, "", "cannot be reached"},
		"store away":        {&session.StoreError{Err: errors.New(canary)}, 503, httpapi.CodeStoreUnavailable, "5", "Try again"},
		"somebody else's":   {session.ErrNotFound, 404, httpapi.CodeSessionNotFound, "", ""},
		"forbidden address": {oauthclient.ErrForbiddenAddress, 400, httpapi.CodeForbiddenServerURL, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newFake(t, &fake{err: tc.err})
			w := request(t, h, "GET", pathCallback+"?code=c&state=s", "")
			require.Equal(t, tc.status, w.Code)
			got := errorOf(t, w)
			require.Equal(t, tc.code, got.Code)
			require.Contains(t, got.Error, tc.text)
			require.Equal(t, tc.retryAfter, w.Header().Get("Retry-After"))

			page := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Equal(t, tc.status, page.Code)
			require.NotContains(t, page.Body.String(), canary)
			if tc.code == httpapi.CodeStoreUnavailable {
				return // see TestCallbackPageWaitsForTheStore
			}
			require.Contains(t, page.Body.String(), "<h1>Not connected</h1>")
			require.Contains(t, page.Body.String(), `code: "`+tc.code+`"`)
		})
	}
}

func TestEveryCallMayRequireAuthorization(t *testing.T) {
	t.Parallel()
	required := &oauthclient.AuthorizationRequiredError{AuthURL: "https://as.example/authorize?a=1&state=x"}
	for name, tc := range map[string]struct{ method, path, body, want string }{
		"connect": {"POST", pathConnect, anyConnect, `{"requiresAuth":true,"authUrl":"https://as.example/authorize?a=1&state=x","sessionId":"S-` + canary + `"}`},
		"list":    {"GET", pathList + "?sessionId=s", "", `{"requiresAuth":true,"authUrl":"https://as.example/authorize?a=1&state=x","sessionId":"s","error":"Authorization is required."}`},
		"call":    {"POST", pathCall, anyCall, `{"requiresAuth":true,"authUrl":"https://as.example/authorize?a=1&state=x","sessionId":"s","error":"Authorization is required."}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, log := newFake(t, &fake{err: fmt.Errorf("wrapped: %w", required)})
			w := request(t, h, tc.method, tc.path, tc.body)
			require.Equal(t, 401, w.Code)
			require.Equal(t, tc.want, w.Body.String())
			require.Len(t, w.Result().Cookies(), 1, "the browser that is to authorize needs its binding")
			require.NotContains(t, log.String(), "as.example")
			require.NotContains(t, log.String(), canary)
		})
	}
}

func TestAClientThatLeftIsToldNothing(t *testing.T) {
	t.Parallel()
	h, log := newFake(t, &fake{err: context.Canceled})
	for _, accept := range []string{"", "text/event-stream", "text/html"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, "POST", pathCall, strings.NewReader(anyCall))
		if accept == "text/html" {
			r = httptest.NewRequestWithContext(ctx, "GET", pathCallback+"?state=s", nil)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 499, w.Code)
		require.Empty(t, w.Body.String())
	}
	require.Equal(t, 3, strings.Count(log.String(), "status=499"))
	require.NotContains(t, log.String(), "level=WARN")
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"expected":    {&oauthclient.AuthorizationRequiredError{AuthURL: "https://as.example"}, "level=DEBUG"},
		"the caller":  {oauthclient.ErrInvalidCallback, "level=INFO"},
		"an upstream": {&oauthclient.ServerError{}, "level=WARN"},
		"a bug":       {errors.New("bug"), "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, log := newFake(t, &fake{err: tc.err})
			request(t, h, "GET", pathList+"?sessionId="+canary, "")
			require.Contains(t, log.String(), tc.want)
			require.NotContains(t, log.String(), canary)
		})
	}
}
