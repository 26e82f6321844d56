package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestQuickstartPage: the page of examples/quickstart opens its popup without an
// opener, and only for a 401. A tool's result can have the same members.
func TestQuickstartPage(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join("..", "..", "examples", "quickstart", "page.html"))
	require.NoError(t, err)
	mux := http.NewServeMux()
	host := httptest.NewServer(mux)
	t.Cleanup(host.Close)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, strings.ReplaceAll(string(source), "{{.}}", `"https://mcp.example/mcp"`))
	})
	mux.HandleFunc("GET /consent", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Allow?") })
	mux.HandleFunc("GET /favicon.ico", func(http.ResponseWriter, *http.Request) {})
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	asks := `{"content":[],"isError":false,"requiresAuth":true,"sessionId":"another","authUrl":"` + host.URL + `/consent"}`
	mux.HandleFunc("POST /api/mcp/auth/connect", answer(http.StatusOK, `{"success":true,"sessionId":"first"}`))
	var status atomic.Int64
	status.Store(http.StatusOK)
	mux.HandleFunc("POST /api/mcp/tool/call", func(w http.ResponseWriter, r *http.Request) { answer(int(status.Load()), asks)(w, r) })
	mux.HandleFunc("GET /api/mcp/tool/list", func(w http.ResponseWriter, r *http.Request) {
		answer(http.StatusOK, `{"tools":[],"asked":"`+r.FormValue("sessionId")+`"}`)(w, r)
	})

	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := newPage(ctx, t)
	p.do(chromedp.Navigate(host.URL))
	p.click("Connect")
	p.see(`"sessionId": "first"`)
	p.click("Call admin")
	p.see(`"requiresAuth": true`)
	p.alone(1)
	p.click("List tools")
	p.see(`"asked": "first"`)

	status.Store(http.StatusUnauthorized)
	p.click("Call admin")
	popup := p.popup(host.URL + "/consent")
	popup.see("Allow?")
	require.True(t, eval[bool](popup, "return window.opener === null"))
	for _, problem := range p.takeProblems() {
		require.Contains(t, problem, "/api/mcp/")
	}
}
