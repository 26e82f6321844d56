package httpapi_test

import (
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

// What a page loads before the user signs in needs no login, is a module that
// a browser takes with nosniff, and is asked for again after an upgrade.
func TestScript_NeedsNoLogin(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{}, byHeader, func(c *httpapi.Config) { c.PublicURL = "https://app.example/base" })
	source, err := os.ReadFile("mcp-oauth.js")
	require.NoError(t, err)
	for _, path := range []string{"/api/mcp/mcp-oauth.js", "/base/api/mcp/mcp-oauth.js"} {
		w := request(t, h, "GET", path, "")
		require.Equal(t, 200, w.Code)
		require.Equal(t, string(source), w.Body.String())
		requireKept(t, w, "text/javascript; charset=utf-8")

		w = request(t, h, "GET", path, "", "If-None-Match", w.Header().Get("ETag"))
		require.Equal(t, 304, w.Code)
		require.Empty(t, w.Body.String())
		require.Equal(t, 200, request(t, h, "GET", path, "", "If-None-Match", `"old"`).Code)
		require.Empty(t, request(t, h, "HEAD", path, "").Body.String())
		require.Equal(t, 405, request(t, h, "POST", path, "{}").Code)
	}
}

// requireKept checks the headers of what a browser may keep.
func requireKept(t *testing.T, w *httptest.ResponseRecorder, contentType string) {
	t.Helper()
	require.Equal(t, contentType, w.Header().Get("Content-Type"))
	require.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Regexp(t, `^"[0-9a-f]{24}"$`, w.Header().Get("ETag"))
	require.Empty(t, w.Result().Cookies())
}
