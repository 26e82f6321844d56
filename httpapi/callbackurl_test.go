package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// Behind a proxy, a request says all kinds of things about where the host
// is. The redirect URI is the configured one, and the callback answers
// there, whether or not the proxy takes the path of PublicURL off.
func TestRedirectURI_IsTheConfiguredOneBehindAProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	h := w.replica(t, func(c *httpapi.Config) { c.PublicURL = "https://app.example.com/base" })
	const callback = "https://app.example.com/base/api/mcp/auth/callback"
	connect := func(callbackURL string) *httptest.ResponseRecorder {
		body, err := json.Marshal(httpapi.ConnectRequest{ServerURL: w.mcp.URL(), CallbackURL: callbackURL})
		require.NoError(t, err)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://10.0.0.7:8080/api/mcp/auth/connect", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Forwarded-Host", "evil.example")
		r.Header.Set("X-Forwarded-Proto", "http")
		r.Header.Set("X-Forwarded-Prefix", "/evil")
		r.Header.Set("Forwarded", "host=evil.example;proto=http")
		rw := httptest.NewRecorder()
		h.ServeHTTP(rw, r)
		return rw
	}
	for _, callbackURL := range []string{"", callback} {
		rw := connect(callbackURL)
		require.Equal(t, http.StatusUnauthorized, rw.Code, rw.Body)
		var a httpapi.Response
		require.NoError(t, json.Unmarshal(rw.Body.Bytes(), &a))
		authURL, err := url.Parse(a.AuthRequired.AuthURL)
		require.NoError(t, err)
		require.Equal(t, callback, authURL.Query().Get("redirect_uri"))
	}
	for name, callbackURL := range map[string]string{
		"the proxy's host":   "https://evil.example/base/api/mcp/auth/callback",
		"the inner address":  "http://10.0.0.7:8080/api/mcp/auth/callback",
		"another path":       callback + "/",
		"a query":            callback + "?x=1",
		"an open prefix":     callback + ".evil.example",
		"another spelling":   "https://APP.example.com/base/api/mcp/auth/callback",
		"user info in front": "https://app.example.com@evil.example/base/api/mcp/auth/callback",
	} {
		rw := connect(callbackURL)
		require.Equal(t, http.StatusBadRequest, rw.Code, name)
		require.Contains(t, rw.Body.String(), "callbackUrl", name)
	}
	for _, path := range []string{"/base/api/mcp/auth/callback", "/api/mcp/auth/callback"} {
		rw := httptest.NewRecorder()
		h.ServeHTTP(rw, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?code=c&state=s", nil))
		require.Contains(t, rw.Body.String(), httpapi.CodeInvalidCallback, path)
	}
}
