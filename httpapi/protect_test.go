package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// endpoints are all routes, with a request that each accepts.
func endpoints() map[string]struct {
	method, path, body string
	serve              func(*httpapi.Handler) http.HandlerFunc
} {
	type row = struct {
		method, path, body string
		serve              func(*httpapi.Handler) http.HandlerFunc
	}
	return map[string]row{
		"connect":    {"POST", pathConnect, anyConnect, func(h *httpapi.Handler) http.HandlerFunc { return h.Connect }},
		"callback":   {"GET", pathCallback + "?code=c&state=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.Callback }},
		"disconnect": {"POST", pathDisconnect, anySession, func(h *httpapi.Handler) http.HandlerFunc { return h.Disconnect }},
		"status":     {"GET", pathStatus + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.Status }},
		"sessions":   {"GET", pathSessions, "", func(h *httpapi.Handler) http.HandlerFunc { return h.Sessions }},
		"list":       {"GET", pathList + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.ListTools }},
		"call":       {"POST", pathCall, anyCall, func(h *httpapi.Handler) http.HandlerFunc { return h.CallTool }},
		"input":      {"POST", pathInput, anyInput, func(h *httpapi.Handler) http.HandlerFunc { return h.AnswerInput }},
		"prompts":    {"GET", pathPrompts + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.ListPrompts }},
		"prompt":     {"POST", pathPrompt, anyPrompt, func(h *httpapi.Handler) http.HandlerFunc { return h.GetPrompt }},
		"resources":  {"GET", pathResources + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.ListResources }},
		"templates":  {"GET", pathTemplates + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.ListResourceTemplates }},
		"resource":   {"POST", pathResource, anyRead, func(h *httpapi.Handler) http.HandlerFunc { return h.ReadResource }},
		"completion": {"POST", pathCompletion, anyComplete, func(h *httpapi.Handler) http.HandlerFunc { return h.Complete }},
		"server":     {"GET", pathServer + "?sessionId=s", "", func(h *httpapi.Handler) http.HandlerFunc { return h.Server }},
		"metadata":   {"GET", pathMetadata, "", func(h *httpapi.Handler) http.HandlerFunc { return h.ClientMetadata }},
		"keys":       {"GET", pathKeySet, "", func(h *httpapi.Handler) http.HandlerFunc { return h.KeySet }},
	}
}

func identified(c *httpapi.Config) {
	c.Identify = func(*http.Request) (string, error) { return "alice", nil }
}

func requireProtected(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	requireProtectedAs(t, w, "no-store")
}

// requireProtectedAs is requireProtected of an answer that caches may keep.
func requireProtectedAs(t *testing.T, w *httptest.ResponseRecorder, caching string) {
	t.Helper()
	require.Equal(t, caching, w.Header().Get("Cache-Control"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Len(t, w.Header().Get("X-Request-Id"), 26)
}

// Each endpoint answers the same under the prefix and mounted alone anywhere.
func TestEndpointsMountedOneByOne(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{clientID: "https://app.example/api/mcp/client-metadata.json", keySet: []byte(`{"keys":[]}`)}
			h, _ := newFake(t, f, identified)
			w := request(t, h, e.method, e.path, e.body)
			require.Equal(t, 200, w.Code, w.Body)
			caching := "no-store"
			if name == "metadata" || name == "keys" {
				caching = "public, max-age=3600"
			}
			requireProtectedAs(t, w, caching)

			_, query, _ := strings.Cut(e.path, "?")
			alone := request(t, e.serve(h), e.method, "/somewhere/else?"+query, e.body)
			require.Equal(t, 200, alone.Code, alone.Body)
			require.Equal(t, w.Body.String(), alone.Body.String())
			requireProtectedAs(t, alone, caching)
		})
	}
}

// The host's router owns the rest of the site.
func TestMountedInAServeMux(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{})
	mux := http.NewServeMux()
	mux.Handle("/api/mcp/", h)
	mux.HandleFunc("POST /connect/{tenant}", h.Connect)
	require.Equal(t, 200, request(t, mux, "POST", pathConnect, anyConnect).Code)
	require.Equal(t, 200, request(t, mux, "POST", "/connect/7", anyConnect).Code)
	require.Equal(t, httpapi.CodeNotFound, errorOf(t, request(t, mux, "GET", "/api/mcp/x", "")).Code)
}

func TestMethodsNotAllowed(t *testing.T) {
	t.Parallel()
	allow := map[string]string{"connect": "POST", "disconnect": "POST", "call": "POST", "callback": "GET, POST",
		"input": "POST", "prompt": "POST", "resource": "POST", "completion": "POST"}
	for name, e := range endpoints() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := allow[name]
			if want == "" {
				want = "GET, HEAD"
			}
			f := &fake{clientID: "x", keySet: []byte(`{"keys":[]}`)}
			h, _ := newFake(t, f, identified)
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if strings.Contains(want, method) {
					continue
				}
				for _, serve := range []http.Handler{h, e.serve(h)} {
					w := request(t, serve, method, e.path, e.body)
					require.Equal(t, 405, w.Code, method)
					require.Equal(t, want, w.Header().Get("Allow"))
					require.Equal(t, httpapi.CodeMethodNotAllowed, errorOf(t, w).Code)
					requireProtected(t, w)
				}
			}
			require.Empty(t, f.called())
		})
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{})
	for _, path := range []string{"/", "/api/mcp", "/api/mcp/", "/api/mcp/auth", "/api/mcp//auth/connect", "/api/mcp/auth/connect/", "/api/mcp/x/../auth/connect", "/auth/connect"} {
		w := request(t, h, "POST", path, anyConnect)
		require.Equal(t, 404, w.Code, path)
		require.Equal(t, httpapi.CodeNotFound, errorOf(t, w).Code)
		requireProtected(t, w)
	}
	// Routes that the configuration does not have.
	for _, path := range []string{pathSessions, pathMetadata, pathKeySet} {
		w := request(t, h, "GET", path, "")
		require.Equal(t, 404, w.Code, path)
		require.Equal(t, httpapi.CodeNotFound, errorOf(t, w).Code)
	}
}

// Behind a proxy that takes a path off, or does not.
func TestPublicURLWithPath(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, func(c *httpapi.Config) { c.PublicURL = publicURL + "/api" })
	for _, path := range []string{"/api/mcp/auth/connect", "/api/api/mcp/auth/connect"} {
		require.Equal(t, 200, request(t, h, "POST", path, anyConnect, "X-Forwarded-Host", "evil.example").Code)
		require.Equal(t, "https://app.example/api/api/mcp/auth/callback", f.params.CallbackURL)
	}
	require.Equal(t, 404, request(t, h, "POST", "/mcp/auth/connect", anyConnect).Code)
}

func TestCrossOriginRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		headers []string
		allowed bool
	}{
		"no browser":                    {nil, true},
		"same origin":                   {[]string{"Sec-Fetch-Site", "same-origin", "Origin", publicURL}, true},
		"address bar":                   {[]string{"Sec-Fetch-Site", "none"}, true},
		"another site":                  {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		"a sibling subdomain":           {[]string{"Sec-Fetch-Site", "same-site", "Origin", "https://blog.app.example"}, false},
		"an old browser":                {[]string{"Origin", "https://evil.example"}, false},
		"an opaque origin":              {[]string{"Origin", "null"}, false},
		"forged host":                   {[]string{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"}, false},
		"trusted origin":                {[]string{"Sec-Fetch-Site", "same-site", "Origin", "https://www.app.example"}, true},
		"public origin, API elsewhere":  {[]string{"Sec-Fetch-Site", "cross-site", "Origin", publicURL}, true},
		"trusted origin with a subpart": {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://www.app.example.evil.example"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for endpoint, e := range endpoints() {
				if e.method != "POST" {
					continue
				}
				f := &fake{}
				h, log := newFake(t, f, func(c *httpapi.Config) { c.TrustedOrigins = []string{"https://www.app.example"} })
				for _, serve := range []http.Handler{h, e.serve(h)} {
					w := request(t, serve, "POST", e.path, e.body, tc.headers...)
					if tc.allowed {
						require.Equal(t, 200, w.Code, endpoint)
						continue
					}
					require.Equal(t, 403, w.Code, endpoint)
					require.Equal(t, httpapi.CodeCrossOrigin, errorOf(t, w).Code)
					requireProtected(t, w)
					require.Empty(t, f.called())
					require.Contains(t, log.String(), "cross-origin")
				}
			}
		})
	}
}

// A page of another site can make a browser send these types without asking.
func TestSimpleRequestsAreRefused(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json/x", "application/jsonp", "text/json", ";"} {
		for _, path := range []string{pathConnect, pathDisconnect, pathCall} {
			w := request(t, h, "POST", path, anyCall, "Content-Type", contentType)
			require.Equal(t, 415, w.Code, contentType)
			require.Equal(t, httpapi.CodeUnsupportedMediaType, errorOf(t, w).Code)
		}
	}
	w := request(t, h, "POST", pathCall, anyCall, "Content-Encoding", "gzip")
	require.Equal(t, 415, w.Code)
	require.Empty(t, f.called())
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON"} {
		require.Equal(t, 200, request(t, h, "POST", pathCall, anyCall, "Content-Type", contentType).Code, contentType)
	}
}

func TestOversizedBodies(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, func(c *httpapi.Config) { c.MaxBodyBytes = 100 })
	body := fmt.Sprintf(`{"sessionId":"s","toolName":"echo","toolArgs":{"a":%q}}`, strings.Repeat("x", 100))
	for name, change := range map[string]func(*http.Request){
		"announced":     func(*http.Request) {},
		"not announced": func(r *http.Request) { r.ContentLength = -1 },
		"a lie":         func(r *http.Request) { r.ContentLength = 10 },
	} {
		for _, path := range []string{pathCall, pathCallback} {
			r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if path == pathCallback {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			change(r)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			record(t, exchange{r.Method, r.URL.RequestURI(), r.Header, "", w.Code, w.Header(), w.Body.String()})
			require.Equal(t, 413, w.Code, name)
			require.Equal(t, httpapi.CodeBodyTooLarge, errorOf(t, w).Code)
		}
	}
	require.Empty(t, f.called())
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ path, body, want string }{
		"nothing":                {pathCall, " ", "The request body is empty; a JSON object is expected."},
		"not JSON":               {pathCall, `{"sessionId":`, "The request body is not valid JSON (at byte 13)."},
		"an array":               {pathCall, `[]`, "The request body must be a JSON object."},
		"null":                   {pathCall, `null`, "The request body must be a JSON object."},
		"trailing garbage":       {pathCall, anyCall + `{}`, "The request body is not valid JSON (at byte 36)."},
		"bad UTF-8":              {pathCall, "{\"sessionId\":\"\xff\"}", "The request body is not valid UTF-8."},
		"number for a string":    {pathCall, `{"sessionId":12.5}`, "sessionId must be a string, not number."},
		"object for a string":    {pathCall, `{"sessionId":"s","toolName":{"a":1}}`, "toolName must be a string, not object."},
		"bool for a string":      {pathConnect, `{"serverUrl":true}`, "serverUrl must be a string, not bool."},
		"no session":             {pathCall, `{"toolName":"x"}`, "sessionId is required."},
		"empty session":          {pathCall, `{"sessionId":"","toolName":"x"}`, "sessionId is required."},
		"null session":           {pathCall, `{"sessionId":null,"toolName":"x"}`, "sessionId is required."},
		"no tool":                {pathCall, `{"sessionId":"s"}`, "toolName is required."},
		"arguments: array":       {pathCall, `{"sessionId":"s","toolName":"x","toolArgs": [1]}`, "toolArgs must be an object."},
		"arguments: string":      {pathCall, `{"sessionId":"s","toolName":"x","toolArgs":"{}"}`, "toolArgs must be an object."},
		"arguments: number":      {pathCall, `{"sessionId":"s","toolName":"x","toolArgs":0}`, "toolArgs must be an object."},
		"no server":              {pathConnect, `{}`, "serverUrl is required."},
		"no session to end":      {pathDisconnect, `{}`, "sessionId is required."},
		"callback not allowed":   {pathConnect, `{"serverUrl":"https://a.example","callbackUrl":"https://evil.example/cb"}`, "callbackUrl is not one that this application allows."},
		"callback, almost":       {pathConnect, `{"serverUrl":"https://a.example","callbackUrl":"https://app.example/api/mcp/auth/callback/"}`, "callbackUrl is not one that this application allows."},
		"callback, other case":   {pathConnect, `{"serverUrl":"https://a.example","callbackUrl":"https://APP.example/api/mcp/auth/callback"}`, "callbackUrl is not one that this application allows."},
		"no session in query":    {pathList, "", "sessionId is required."},
		"empty session in query": {pathStatus + "?sessionId=", "", "sessionId is required."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, _ := newFake(t, f)
			method := "POST"
			if tc.body == "" {
				method = "GET"
			}
			w := request(t, h, method, tc.path, tc.body)
			require.Equal(t, 400, w.Code)
			got := errorOf(t, w)
			require.Equal(t, httpapi.CodeInvalidRequest, got.Code)
			require.Equal(t, tc.want, got.Error)
			require.Empty(t, f.called())
		})
	}
}

// Who is asking goes into every lookup, and no one else gets in.
func TestOwnerGoesEverywhere(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		if name == "metadata" || name == "keys" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, _ := newFake(t, f, identified)
			require.Equal(t, 200, request(t, h, e.method, e.path, e.body).Code)
			require.Equal(t, "alice", f.caller.Owner)
		})
	}
}

// A missing login is a failure, not a way around the check.
func TestMissingLoginIsRefused(t *testing.T) {
	t.Parallel()
	for identify, fn := range map[string]func(*http.Request) (string, error){
		"error": func(*http.Request) (string, error) { return "alice", fmt.Errorf("no login: %s", internalHost) },
		"empty": func(*http.Request) (string, error) { return "", nil },
	} {
		for name, e := range endpoints() {
			if name == "metadata" || name == "keys" {
				continue
			}
			t.Run(identify+" "+name, func(t *testing.T) {
				t.Parallel()
				f := &fake{}
				h, _ := newFake(t, f, func(c *httpapi.Config) { c.Identify = fn })
				w := request(t, h, e.method, e.path, e.body)
				require.Equal(t, 401, w.Code)
				require.Equal(t, httpapi.CodeUnauthenticated, errorOf(t, w).Code)
				require.NotContains(t, w.Body.String(), internalHost)
				require.Empty(t, f.called())
			})
		}
	}
}

// Without Identify the answer to another's session can only be the manager's,
// and every reason looks the same.
func TestNotFoundIsOneAnswer(t *testing.T) {
	t.Parallel()
	var bodies []string
	for _, err := range []error{session.ErrNotFound, fmt.Errorf("another owner: %w", session.ErrNotFound), oauthclient.ErrNotConnected} {
		h, _ := newFake(t, &fake{err: err})
		bodies = append(bodies, request(t, h, "POST", pathCall, anyCall).Body.String())
	}
	require.Equal(t, bodies[0], bodies[1])
	require.Equal(t, bodies[0], bodies[2])
}
