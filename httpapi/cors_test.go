package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

const spa = "https://www.app.example"

func trusting(c *httpapi.Config) { c.TrustedOrigins = []string{spa, "https://other.example"} }

// corsHeaders are the headers of CORS in an answer.
func corsHeaders(header http.Header) map[string]string {
	found := make(map[string]string)
	for name := range header {
		if strings.HasPrefix(name, "Access-Control-") {
			found[name] = header.Get(name)
		}
	}
	return found
}

// asks sends a request as a browser does that asks before it sends one.
func asks(t *testing.T, h http.Handler, method, path string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, publicURL+path, strings.NewReader(anyConnect))
	r.Header = header
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A page of a trusted origin may ask, with credentials, and reads answers and the
// ID under which the log has them, of errors and static files, too.
func TestTrustedOriginReadsAnswers(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		h, _ := newFake(t, &fake{clientID: "x", keySet: []byte(`{"keys":[]}`)}, identified, trusting)
		for _, serve := range []http.Handler{h, e.serve(h)} {
			w := request(t, serve, e.method, e.path, e.body, "Origin", spa, "Sec-Fetch-Site", "cross-site")
			require.Equal(t, map[string]string{
				"Access-Control-Allow-Origin": spa, "Access-Control-Allow-Credentials": "true",
				"Access-Control-Expose-Headers": "X-Request-Id, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset",
			}, corsHeaders(w.Header()), name)
			require.Equal(t, "Origin", w.Header().Get("Vary"))
		}
	}
	h, _ := newFake(t, &fake{err: session.ErrNotFound}, identified, trusting)
	w := request(t, h, "GET", pathStatus+"?sessionId=x", "", "Origin", "https://other.example")
	require.Equal(t, 404, w.Code)
	require.Equal(t, "https://other.example", w.Header().Get("Access-Control-Allow-Origin"))
	w = request(t, h, "GET", "/api/mcp/nowhere", "", "Origin", spa)
	require.Equal(t, 404, w.Code)
	require.Equal(t, spa, w.Header().Get("Access-Control-Allow-Origin"))
}

// A preflight is answered without a login, and nothing is done.
func TestPreflight(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		f := &fake{}
		h, _ := newFake(t, f, trusting, byHeader)
		for _, serve := range []http.Handler{h, e.serve(h)} {
			w := asks(t, serve, "OPTIONS", e.path, http.Header{"Origin": {spa}, "Access-Control-Request-Method": {e.method}, "Access-Control-Request-Headers": {"content-type, x-csrf-token"}})
			require.Equal(t, 204, w.Code, name)
			require.Empty(t, w.Body.String())
			cors := corsHeaders(w.Header())
			require.Equal(t, spa, cors["Access-Control-Allow-Origin"])
			require.Equal(t, "true", cors["Access-Control-Allow-Credentials"])
			require.Contains(t, strings.Split(cors["Access-Control-Allow-Methods"], ", "), e.method)
			require.Equal(t, "Accept, Authorization, Content-Type, Mcpoauth-Binding, Mcpoauth-Session, content-type, x-csrf-token", cors["Access-Control-Allow-Headers"])
			require.Equal(t, "600", cors["Access-Control-Max-Age"])
			require.Equal(t, "Origin", w.Header().Get("Vary"))
			require.Empty(t, f.called())
		}
	}
}

// No page of another origin learns anything, whatever it calls itself.
func TestUntrustedOriginReadsNothing(t *testing.T) {
	t.Parallel()
	for name, origins := range map[string][]string{
		"another site":       {"https://evil.example"},
		"opaque":             {"null"},
		"a trusted prefix":   {spa + ".evil.example"},
		"a trusted suffix":   {"https://evilwww.app.example"},
		"another scheme":     {"http://www.app.example"},
		"another port":       {spa + ":8443"},
		"with user info":     {"https://www.app.example@evil.example"},
		"with a path":        {spa + "/"},
		"with a line break":  {spa + "\r\nX: y"},
		"two in one":         {spa + " https://evil.example"},
		"two":                {"https://evil.example", spa},
		"any":                {"*"},
		"not the same bytes": {"https://WWW.app.example"},
	} {
		f := &fake{}
		h, _ := newFake(t, f, identified, trusting)
		for _, method := range []string{"OPTIONS", "GET", "POST"} {
			w := asks(t, h, method, pathConnect, http.Header{"Origin": origins, "Access-Control-Request-Method": {"POST"}})
			require.NotEqual(t, 200, w.Code, "%s %s", name, method)
			require.NotEqual(t, 204, w.Code, "%s %s", name, method)
			require.Empty(t, corsHeaders(w.Header()), "%s %s", name, method)
			require.Equal(t, "Origin", w.Header().Get("Vary"))
		}
		require.Empty(t, f.called(), name)
	}
	// Without trusted origins there is no CORS at all.
	h, _ := newFake(t, &fake{}, identified)
	w := request(t, h, "GET", pathSessions, "", "Origin", publicURL)
	require.Equal(t, 200, w.Code)
	require.Empty(t, corsHeaders(w.Header()))
	require.Empty(t, w.Header().Values("Vary"))
	// What a preflight asks for is repeated only if it is a list of names.
	h, _ = newFake(t, &fake{}, identified, trusting)
	for _, asked := range []string{"x\x00y", "a\"b", strings.Repeat("x", 2000), "*", "é"} {
		w = asks(t, h, "OPTIONS", pathConnect, http.Header{"Origin": {spa}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {asked}})
		require.NotContains(t, w.Header().Get("Access-Control-Allow-Headers"), asked)
	}
}

// A session ID in a header works like one in the query, which access logs have.
func TestSessionInAHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader)
	b := w.browser(t, "alice")
	id := b.authorized()
	for _, path := range []string{pathStatus, pathList, "/api/mcp/prompt/list", "/api/mcp/resource/list", "/api/mcp/resource/templates", "/api/mcp/server"} {
		a := b.send("GET", path, "", "Mcpoauth-Session", id)
		b := b.send("GET", path+"?sessionId="+id, "")
		require.Equal(t, b.status, a.status, path)
		require.Equal(t, b.body, a.body, path)
	}
	require.Equal(t, 200, b.send("GET", pathStatus+"?sessionId="+id, "", "Mcpoauth-Session", id).status)
	a := b.send("GET", pathStatus+"?sessionId="+id, "", "Mcpoauth-Session", session.GenerateSessionID())
	require.Equal(t, 400, a.status)
	require.NotContains(t, a.body, id)
	require.Equal(t, 404, w.browser(t, "bob").send("GET", pathStatus, "", "Mcpoauth-Session", id).status)
	require.Equal(t, 400, b.send("GET", pathStatus, "").status)
}

// What the host's middleware says to caches stays.
func TestCORS_KeepsTheVaryOfTheHost(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, trusting)
	for _, origin := range []string{spa, "https://evil.example"} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", publicURL+pathStatus+"?sessionId=s", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Accept-Encoding")
		h.ServeHTTP(w, r)
		require.Equal(t, []string{"Accept-Encoding", "Origin"}, w.Header().Values("Vary"))
	}
}
