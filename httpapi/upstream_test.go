package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// What a server does wrong on a session that works.
func TestCallsWhenTheServerMisbehaves(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		tool, args string
		fault      func(*world)
		status     int
		code       string
		retryAfter string
	}{
		"unknown tool":           {"nope", `{}`, nil, 400, httpapi.CodeMCPError, ""},
		"wrong arguments":        {"add", `{"a":"x"}`, nil, 400, httpapi.CodeMCPError, ""},
		"JSON-RPC error":         {"protocol_error", `{}`, nil, 400, httpapi.CodeMCPError, ""},
		"forbidden":              {"echo", `{}`, func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 403, 0) }, 403, httpapi.CodeServerRefused, ""},
		"bad request":            {"echo", `{}`, func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 400, 0) }, 502, httpapi.CodeUpstreamError, ""},
		"internal error":         {"echo", `{}`, func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 500, 0) }, 502, httpapi.CodeUpstreamUnavailable, ""},
		"overloaded":             {"echo", `{}`, func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 503, 7*time.Second) }, 503, httpapi.CodeUpstreamUnavailable, "7"},
		"rate limited":           {"echo", `{}`, func(w *world) { w.mcp.FailNextRPC("tools/call", 1, 429, 8*time.Second) }, 503, httpapi.CodeUpstreamUnavailable, "8"},
		"answer lost":            {"echo", `{}`, func(w *world) { w.mcp.DropNextRPC("tools/call", 1) }, 502, httpapi.CodeUpstreamUnavailable, ""},
		"never answers":          {"slow", `{"count":1000,"intervalMs":1000}`, nil, 504, httpapi.CodeUpstreamTimeout, ""},
		"gone":                   {"echo", `{}`, func(w *world) { w.mcp.Close() }, 502, httpapi.CodeUpstreamUnavailable, ""},
		"HTML":                   {"echo", `{}`, outage("text/html", "<h1>"+canary), 502, "", ""},
		"JSON that is no reply":  {"echo", `{}`, outage("application/json", `{"hello":"`+canary+`"}`), 502, "", ""},
		"truncated JSON":         {"echo", `{}`, outage("application/json", `{"jsonrpc":"2.0",`), 502, "", ""},
		"empty":                  {"echo", `{}`, outage("application/json", ""), 502, "", ""},
		"empty stream":           {"echo", `{}`, outage("text/event-stream", ""), 0, "", ""},
		"result of a wrong type": {"echo", `{}`, rawOutage(`{"content":"` + canary + `"}`), 502, "", ""},
		"result that is a list":  {"echo", `{}`, rawOutage(`["` + canary + `"]`), 502, "", ""},
		"redirected elsewhere": {"echo", `{}`, func(w *world) {
			w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://"+internalHost+"/", http.StatusTemporaryRedirect)
			})
		}, 502, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.replica(t, func(c *session.Config) {
				if tc.status == 504 {
					c.Client.CallTimeout = 2 * time.Second
				}
			})
			b := w.browser(t, "")
			id := b.authorized()
			if tc.fault != nil {
				tc.fault(w)
			}
			a := b.call(id, tc.tool, tc.args)
			if tc.status != 0 {
				require.Equal(t, tc.status, a.status, a.body)
			}
			requireUpstreamsFault(t, w, a)
			require.Contains(t, a.ErrorResponse.Code, tc.code)
			require.Equal(t, tc.retryAfter, a.header.Get("Retry-After"))
			if tc.code == httpapi.CodeMCPError {
				require.EqualValues(t, -32602, *a.ErrorResponse.RPCCode)
			}
		})
	}
}

// requireUpstreamsFault requires an answer that does not blame the host or the client, shows
// nothing of what the upstream sent, and is logged.
func requireUpstreamsFault(t *testing.T, w *world, a answer) {
	t.Helper()
	require.True(t, httpapi.IsConnectError(a.Response), a.body)
	require.NotEqual(t, 500, a.status, "%s\n%s", a.body, w.log)
	require.GreaterOrEqual(t, a.status, 400)
	require.NotContains(t, a.body, canary)
	require.NotContains(t, a.body, internalHost)
	require.Regexp(t, `request=`+a.header.Get("X-Request-Id")+` .*error=.{20}`, w.log.String(), "the log has the detail")
	require.NotContains(t, w.log.String(), "level=ERROR")
}

func outage(contentType, body string) func(*world) {
	return func(w *world) {
		w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			rw.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(rw, body)
		})
	}
}

func rawOutage(result string) func(*world) {
	return func(w *world) {
		w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, id, _ := strings.Cut(string(body), `"id":`)
			id, _, _ = strings.Cut(id, ",")
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, `{"jsonrpc":"2.0","id":`+strings.Trim(id, "} \n")+`,"result":`+result+`}`)
		})
	}
}

// What may go wrong on the way to an authorization URL.
func TestConnectsWhenServersMisbehave(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		as     authtest.Options
		mcp    mcptest.Options
		fault  func(*world)
		status int
		code   string
	}{
		"metadata for another resource": {mcp: mcptest.Options{Metadata: mcptest.Metadata{Resource: "https://other.example/mcp"}}, status: 502, code: httpapi.CodeDiscoveryFailed},
		"metadata is no JSON":           {mcp: mcptest.Options{Metadata: mcptest.Metadata{Raw: canary}}, status: 502, code: httpapi.CodeDiscoveryFailed},
		"metadata points inwards":       {mcp: mcptest.Options{Metadata: mcptest.Metadata{AuthorizationServers: []string{"https://" + internalHost}}}, status: 400, code: httpapi.CodeForbiddenServerURL},
		"challenge points inwards":      {mcp: mcptest.Options{Challenge: mcptest.Challenge{ResourceMetadata: "https://" + internalHost + "/x"}}, code: ""},
		"another issuer":                {as: authtest.Options{EditMetadata: func(doc map[string]any) { doc["issuer"] = "https://other.example" }}, status: 502, code: httpapi.CodeDiscoveryFailed},
		"no PKCE":                       {as: authtest.Options{OmitPKCEMethods: true}, status: 502, code: httpapi.CodeDiscoveryFailed},
		"script as endpoint":            {as: authtest.Options{EditMetadata: func(doc map[string]any) { doc["authorization_endpoint"] = "javascript:alert(1)" }}, status: 502, code: httpapi.CodeDiscoveryFailed},
		"no registration":               {as: authtest.Options{NoRegistration: true}, status: 502, code: httpapi.CodeRegistrationRequired},
		"registration refused": {fault: func(w *world) {
			w.as.FailNextWith(authtest.EndpointRegister, 9, authtest.OAuthError(400, "invalid_client_metadata", canary))
		}, status: 502, code: httpapi.CodeAuthorizationFailed},
		"registration down":     {fault: func(w *world) { w.as.FailNext(authtest.EndpointRegister, 9, 500) }, status: 502, code: httpapi.CodeUpstreamUnavailable},
		"registration overrun":  {fault: func(w *world) { w.as.FailNext(authtest.EndpointRegister, 9, 429) }, status: 503, code: httpapi.CodeUpstreamUnavailable},
		"registration garbled":  {fault: func(w *world) { w.as.FailNextWith(authtest.EndpointRegister, 9, authtest.MalformedJSON()) }, status: 502},
		"metadata server hangs": {fault: func(w *world) { w.as.SetDelay(authtest.EndpointMetadata, time.Minute) }, status: 504, code: httpapi.CodeUpstreamTimeout},
		"server hangs":          {fault: func(w *world) { w.mcp.SetDelay(time.Minute) }, status: 504, code: httpapi.CodeUpstreamTimeout},
		"server is overloaded":  {fault: func(w *world) { w.mcp.FailNext(9, 503, 9*time.Second) }, status: 503, code: httpapi.CodeUpstreamUnavailable},
		"server refuses":        {fault: func(w *world) { w.mcp.FailNext(9, 403, 0) }, status: 403, code: httpapi.CodeServerRefused},
		"no MCP there":          {fault: func(w *world) { w.mcp.FailNext(9, 404, 0) }, status: 502, code: httpapi.CodeUpstreamError},
		"a web page there":      {fault: outage("text/html", canary), status: 502},
		"a result of anything":  {fault: rawOutage(`"` + canary + `"`), status: 502},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.as, tc.mcp)
			w.replica(t, func(c *session.Config) {
				if tc.status == 504 {
					c.Client.RequestTimeout, c.Client.ConnectTimeout = 2*time.Second, 2*time.Second
				}
			})
			if tc.fault != nil {
				tc.fault(w)
			}
			a := w.browser(t, "").connect()
			if tc.status != 0 {
				require.Equal(t, tc.status, a.status, "%s\n%s", a.body, w.log)
			}
			requireUpstreamsFault(t, w, a)
			if tc.code != "" {
				require.Equal(t, tc.code, a.ErrorResponse.Code)
			}
		})
	}
}

// Nothing inside the network can be reached through here.
func TestServerURLsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	inside := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(inside.Close)
	for serverURL, code := range map[string]string{
		"ftp://a.example":       httpapi.CodeInvalidRequest,
		"/mcp":                  httpapi.CodeInvalidRequest,
		"https://":              httpapi.CodeInvalidRequest,
		"https://u:p@a.example": httpapi.CodeInvalidRequest,
		"https://a.example/#x":  httpapi.CodeInvalidRequest,
		"https://a.example/" + strings.Repeat("x", 3000): httpapi.CodeInvalidRequest,
		"https://10.0.0.1/mcp":                           httpapi.CodeForbiddenServerURL,
		"https://169.254.169.254/latest":                 httpapi.CodeForbiddenServerURL,
		"https://[fd00::1]/mcp":                          httpapi.CodeForbiddenServerURL,
		"https://[::ffff:10.0.0.1]/mcp":                  httpapi.CodeForbiddenServerURL,
		"https://0.0.0.0/mcp":                            httpapi.CodeForbiddenServerURL,
		"http://10.0.0.1/mcp":                            httpapi.CodeForbiddenServerURL,
	} {
		a := b.connectTo(serverURL)
		require.Equal(t, 400, a.status, serverURL)
		require.Equal(t, code, a.ErrorResponse.Code, serverURL)
		require.NotContains(t, a.body, "10.0.0.1")
		require.NotContains(t, a.body, "u:p")
	}
	strict := newWorld(t, authtest.Options{}, mcptest.Options{})
	strict.replica(t, func(c *session.Config) { c.Client.Transport = nil })
	a := strict.browser(t, "").connectTo(inside.URL)
	require.Equal(t, httpapi.CodeForbiddenServerURL, a.ErrorResponse.Code)
}

// What may go wrong between the callback and the tokens.
func TestCallbacksWhenTheAuthorizationServerMisbehaves(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault  http.HandlerFunc
		status int
		code   string
	}{
		"refused":    {authtest.OAuthError(400, "invalid_grant", canary), 400, httpapi.CodeAuthorizationFailed},
		"dead":       {authtest.OAuthError(401, "invalid_client", canary), 400, httpapi.CodeAuthorizationFailed},
		"down":       {authtest.StatusOutage(500), 502, httpapi.CodeUpstreamUnavailable},
		"overloaded": {authtest.StatusOutage(503), 503, httpapi.CodeUpstreamUnavailable},
		"garbled":    {authtest.MalformedJSON(), 502, httpapi.CodeUpstreamError},
		"cut":        {authtest.Abort(), 502, httpapi.CodeUpstreamUnavailable},
		"a page":     {authtest.Body(200, "text/html", canary), 502, httpapi.CodeUpstreamError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.replica(t)
			b := w.browser(t, "")
			a := b.connect()
			w.as.FailNextWith(authtest.EndpointToken, 5, tc.fault)
			callback := b.send("GET", b.approve(a), "")
			require.Equal(t, tc.status, callback.status, callback.body)
			requireUpstreamsFault(t, w, callback)
			require.Equal(t, tc.code, callback.ErrorResponse.Code)
			require.Equal(t, "failed", b.status(a.AuthRequired.SessionID).Status)
		})
	}
}

// Over a whole life, no secret is in a log line or in any answer but where
// it belongs.
func TestNoSecretsAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader)
	b := w.browser(t, "alice")
	a := b.connect()
	id := a.AuthRequired.SessionID
	authURL := a.AuthRequired.AuthURL
	callback := b.approve(a)
	page := b.send("GET", callback, "", "Accept", "text/html")
	again := b.send("GET", callback, "", "Accept", "text/html")
	var bodies []string
	for _, tool := range []string{"echo", "nope", "protocol_error", "fail"} {
		bodies = append(bodies, b.call(id, tool, `{}`).body)
	}
	w.mcp.FailNext(1, 500, 0)
	bodies = append(bodies, b.call(id, "echo", `{}`).body, page.body, again.body)
	w.as.ExpireAccessTokens()
	bodies = append(bodies, b.call(id, "echo", `{}`).body, b.list(id).body)
	b.send("POST", pathDisconnect, `{"sessionId":"`+id+`"}`)

	var secrets []string
	for _, r := range w.as.Requests("") {
		for _, name := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret", "state"} {
			secrets = append(secrets, r.Get(name))
		}
	}
	secrets = append(append(secrets, w.mcp.Tokens()...), id, authURL)
	found := 0
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		found++
		require.NotContains(t, w.log.String(), secret)
		for _, body := range bodies {
			require.NotContains(t, body, secret)
		}
	}
	require.Greater(t, found, 8)
}
