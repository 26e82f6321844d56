package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// requireOwnAnswer says that an answer to whatever a stranger sent is one of
// ours: no failure of the server, never cached or sniffed, in JSON that says in
// a few words what was wrong.
func requireOwnAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Less(t, w.Code, 500, w.Body)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	if w.Code >= 400 && w.Header().Get("Content-Type") == "application/json" {
		var response httpapi.Response
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &response), w.Body)
		require.True(t, httpapi.IsConnectError(response) || response.AuthRequired != nil, w.Body)
		require.Less(t, w.Body.Len(), 1000, "it repeats nothing long")
	}
}

// requestWith is a POST whose content type is the fuzzer's choice.
func requestWith(t *testing.T, h http.Handler, path, contentType, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, publicURL+path, strings.NewReader(body))
	r.Header["Content-Type"] = []string{contentType}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// strangeJSON are bodies that a decoder can stumble over.
var strangeJSON = []string{
	"", "{}", "null", "[]", `"x"`, "1", "{", `{"`, "\xef\xbb\xbf{}", "{}{}", "{} x", "{\"\xff\":1}", strings.Repeat("[", 20_000), strings.Repeat(`{"a":`, 20_000), "{\"a\":\"\\ud800\"}", "{\"a\":1e999}",
}

// Only a JSON object with a server URL connects to anything, and what it names
// arrives unchanged.
func FuzzConnectBody(f *testing.F) {
	for _, body := range append([]string{
		anyConnect, `{"serverUrl":"https://a.example","serverUrl":"https://b.example"}`, `{"serverurl":"https://a.example"}`, `{"serverUrl":null}`, `{"serverUrl":1}`, `{"serverUrl":["https://a.example"]}`,
		`{"serverUrl":"https://a.example","callbackUrl":"https://evil.example/"}`, `{"serverUrl":"https://a.example","callbackUrl":"javascript:alert(1)"}`, `{"serverUrl":"https://a.example","serverName":"<script>"}`,
	}, strangeJSON...) {
		f.Add("application/json", body)
	}
	f.Add("text/plain", anyConnect)
	f.Add("application/x-www-form-urlencoded", "serverUrl=https://a.example")
	f.Add("application/json; charset=\"", anyConnect)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		manager := new(fake)
		h, _ := newFake(t, manager, func(c *httpapi.Config) { c.ConnectsPerMinute = -1 })
		w := requestWith(t, h, pathConnect, contentType, body)
		requireOwnAnswer(t, w)
		if len(manager.called()) == 0 {
			require.GreaterOrEqual(t, w.Code, 400)
			return
		}
		var sent httpapi.ConnectRequest
		require.NoError(t, json.Unmarshal([]byte(body), &sent), "what is no JSON does nothing")
		require.Contains(t, strings.ToLower(contentType), "application/json", "other sites' pages can send the rest")
		require.NotEmpty(t, sent.ServerURL)
		require.Equal(t, sent.ServerURL, manager.params.ServerURL)
		require.Equal(t, publicURL+pathCallback, manager.params.CallbackURL, "and no other place for the code")
	})
}

// Arguments arrive to the letter or not at all.
func FuzzCallBody(f *testing.F) {
	for _, body := range append([]string{
		anyCall, `{"sessionId":"s","toolName":"t","toolArgs":{"n":9007199254740993,"f":1.10,"a":[1,{"b":null}]}}`, `{"sessionId":"s","toolName":"t","toolArgs":[]}`,
		`{"sessionId":"s","toolName":"t","toolArgs":null}`, `{"sessionId":"s","toolName":"t","toolArgs":"{}"}`, `{"sessionId":"s","toolName":"t","toolArgs":{"a":1,"a":2}}`,
		`{"sessionId":"s","toolName":"","toolArgs":{}}`, `{"sessionId":{},"toolName":"t"}`, `{"sessionId":"s","toolName":"t","toolArgs":{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}`,
		`{"sessionId":"s","toolName":"t","toolArgs": {"<":"&"} }`, "{\"sessionId\":\"s\",\"toolName\":\"a\\u0000b\"}",
	}, strangeJSON...) {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, stream bool) {
		manager := new(fake)
		h, _ := newFake(t, manager)
		headers := []string{"Content-Type", "application/json"}
		if stream {
			headers = append(headers, "Accept", "text/event-stream")
		}
		w := request(t, h, "POST", pathCall, body, headers...)
		requireOwnAnswer(t, w)
		if len(manager.called()) == 0 {
			require.GreaterOrEqual(t, w.Code, 400)
			return
		}
		var sent httpapi.CallToolRequest
		require.NoError(t, json.Unmarshal([]byte(body), &sent))
		require.NotEmpty(t, sent.SessionID)
		require.NotEmpty(t, sent.ToolName)
		require.Equal(t, []string{"call " + sent.ToolName}, manager.called())
		require.Equal(t, sent.SessionID, manager.session)
		args, ok := manager.args.(json.RawMessage)
		require.True(t, ok)
		if len(sent.ToolArgs) == 0 || string(sent.ToolArgs) == "null" {
			require.Equal(t, "{}", string(args))
		} else {
			require.Equal(t, string(sent.ToolArgs), string(args))
			require.Equal(t, byte('{'), args[0])
		}
	})
}

// A front end takes an answer for one kind at most, whatever an MCP server put
// into it.
func FuzzResponse(f *testing.F) {
	for _, body := range append([]string{
		`{"success":true,"sessionId":"s"}`, `{"requiresAuth":true,"authUrl":"https://as.example"}`, `{"error":"x","code":"y"}`, `{"error":"x","code":"y","rpcCode":1.5}`, `{"tools":[]}`, `{"tools":{}}`,
		`{"content":[],"isError":false,"requiresAuth":true,"authUrl":"https://evil.example"}`, `{"content":[],"isError":false,"tools":[]}`, `{"content":1,"isError":true}`, `{"success":true,"message":"m"}`,
		`{"requiresAuth":true,"authUrl":1}`, `{"success":true,"sessionId":"s","requiresAuth":true,"authUrl":"u"}`,
	}, strangeJSON...) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r httpapi.Response
		err := json.Unmarshal(body, &r)
		kinds := 0
		for _, is := range []bool{r.CallToolSuccess != nil, r.ListToolsSuccess != nil, r.AuthRequired != nil, r.ConnectSuccess != nil, r.Done != nil, r.ErrorResponse != nil} {
			if is {
				kinds++
			}
		}
		if err != nil {
			require.Zero(t, kinds, "what cannot be read is nothing")
			return
		}
		require.LessOrEqual(t, kinds, 1)
		guards := 0
		for _, is := range []bool{
			httpapi.IsConnectSuccess(r), httpapi.IsConnectAuthRequired(r), httpapi.IsConnectError(r), httpapi.IsListToolsSuccess(r), httpapi.IsCallToolSuccess(r),
		} {
			if is {
				guards++
			}
		}
		require.LessOrEqual(t, guards, 1)
		if httpapi.IsConnectAuthRequired(r) {
			var members map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(body, &members))
			require.NotContains(t, members, "content", "a tool's result cannot send the user anywhere")
		}
	})
}

// outside is an authorization server and an MCP server without a network. It
// counts the codes that it is sent.
type outside struct{ codes atomic.Int64 }

func (o *outside) RoundTrip(req *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, `{"issuer":"https://as.example","authorization_endpoint":"https://as.example/authorize","token_endpoint":"https://as.example/token",`+
		`"registration_endpoint":"https://as.example/register","code_challenge_methods_supported":["S256"]}`
	switch {
	case strings.HasPrefix(req.URL.Path, "/.well-known/oauth-protected-resource"):
		body = `{"resource":"https://mcp.example/mcp","authorization_servers":["https://as.example"]}`
	case req.URL.Path == "/register":
		status, body = http.StatusCreated, `{"client_id":"client"}`
	case req.URL.Path == "/token":
		o.codes.Add(1)
		body = `{"access_token":"ACCESS-` + canary + `","token_type":"Bearer","expires_in":3600}`
	case req.URL.Path == "/mcp":
		status, body = http.StatusUnauthorized, "{}"
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// callbackWorld is a host with one authorization that a browser has begun.
type callbackWorld struct {
	h              http.Handler
	out            *outside
	manager        *session.Manager
	state, session string
	cookie         *http.Cookie
}

func newCallbackWorld(t testing.TB) *callbackWorld {
	t.Helper()
	w := &callbackWorld{out: new(outside)}
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport, cfg.Client.InsecureTransport = w.out, true
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	w.h, err = httpapi.New(manager, httpapi.Config{PublicURL: publicURL, ConnectsPerMinute: -1})
	require.NoError(t, err)
	w.manager = manager
	begun := request(t, w.h, "POST", pathConnect, anyConnect)
	var response httpapi.Response
	require.NoError(t, json.Unmarshal(begun.Body.Bytes(), &response), begun.Body)
	require.True(t, httpapi.IsConnectAuthRequired(response), begun.Body)
	u, err := url.Parse(response.AuthRequired.AuthURL)
	require.NoError(t, err)
	w.state, w.session, w.cookie = u.Query().Get("state"), response.AuthRequired.SessionID, begun.Result().Cookies()[0]
	return w
}

// status asks as the browser that began, with its session ID.
func (w *callbackWorld) status(t *testing.T) session.Status {
	t.Helper()
	info, err := w.manager.Status(t.Context(), session.Caller{Binding: w.cookie.Value}, w.session)
	require.NoError(t, err)
	return info.Status
}

// A callback, in whatever form it comes, sends a code on only from the browser
// that began, with the state that it was given; every other one is refused and
// changes nothing. None is answered with what it carried.
func FuzzCallback(f *testing.F) {
	const code = "CODE-" + canary
	for _, params := range []string{
		"code=" + code + "&state={state}", "code=" + code + "&state={state}&iss=https://as.example", "code=" + code + "&state={state}&iss=https://evil.example", "code=" + code + "&state=" + strings.Repeat("A", 26),
		"code=" + code, "state={state}", "code=" + code + "&state={state}&state={state}", "error=access_denied&error_description=<script>alert(1)</script>&state={state}", "error=<script>&state=x", "%zz",
		"code=" + code + "&state={state}&sessionId={session}", "code=" + code + "&state={state}&sessionId=" + strings.Repeat("A", 52), "",
	} {
		for _, accept := range []string{"", "text/html", "*/*"} {
			f.Add("GET", params, "", "", accept, true)
			f.Add("GET", params, "", "", accept, false)
			f.Add("POST", "", "application/x-www-form-urlencoded", params, accept, true)
		}
	}
	f.Add("POST", "code="+code+"&state={state}", "application/x-www-form-urlencoded", "state=x", "", true)
	f.Add("POST", "", "application/json", `{"code":"`+code+`","state":"{state}"}`, "", true)
	f.Add("POST", "", "application/json", `{"code":"`+code+`","state":"{state}"}`, "", false)
	f.Add("POST", "", "application/json", `{"code":["`+code+`"],"state":{"a":1}}`, "text/html", true)
	f.Add("HEAD", "code="+code+"&state={state}", "", "", "", true)
	for _, body := range strangeJSON {
		f.Add("POST", "", "application/json", body, "", true)
	}
	f.Fuzz(func(t *testing.T, method, query, contentType, body, accept string, sameBrowser bool) {
		if !slices.Contains([]string{"GET", "POST", "HEAD", "PUT"}, method) {
			return
		}
		world := newCallbackWorld(t)
		fill := strings.NewReplacer("{state}", world.state, "{session}", world.session).Replace
		query, body = fill(query), fill(body)
		r := httptest.NewRequestWithContext(t.Context(), method, publicURL+pathCallback, strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header["Content-Type"], r.Header["Accept"] = []string{contentType}, []string{accept}
		if sameBrowser {
			r.AddCookie(world.cookie)
		}
		w := httptest.NewRecorder()
		world.h.ServeHTTP(w, r)
		requireOwnAnswer(t, w)
		for _, secret := range []string{world.state, world.session, world.cookie.Value, code, "ACCESS-" + canary} {
			require.NotContains(t, w.Body.String(), secret)
		}
		require.NotContains(t, w.Body.String(), "<script>", "only the page's own script, which has a nonce")
		if world.out.codes.Load() > 0 {
			require.True(t, sameBrowser, "another browser's callback sent a code")
			require.Contains(t, query+body, world.state)
			require.EqualValues(t, 1, world.out.codes.Load())
			return
		}
		if !sameBrowser || !strings.Contains(query+body, world.state) {
			require.Equal(t, session.StatusAuthorizing, world.status(t), "nothing changed")
			_, err := world.manager.FinishAuth(t.Context(), session.Caller{Binding: world.cookie.Value}, "", oauthclient.AuthorizationResponse{
				Code: oauthclient.NewSecret(code), State: oauthclient.NewSecret(world.state),
			})
			require.NoError(t, err, "the user can still finish")
		}
	})
}
