package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

var (
	example string          // the binary of examples/web
	browser context.Context // of all tests
)

// TestMain fails, and never skips, where Chromium is missing.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mcpoauth-web-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		example = filepath.Join(dir, "web")
		build := exec.Command("go", "build", "-o", example, "./examples/web")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build examples/web: %v\n%s", err, out)
			return 1
		}
		ctx, stop, err := startBrowser()
		if err != nil {
			fmt.Fprintln(os.Stderr, "start the browser:", err)
			return 1
		}
		defer stop()
		browser = ctx
		return m.Run()
	}())
}

// world is the example, as users run it, and servers that a test controls.
type world struct {
	t    *testing.T
	url  string // of the page
	auth *authtest.Server
	mcp  *mcptest.Server
}

// newWorld starts everything. Its MCP server needs the tokens of its
// authorization server, which asks for consent.
func newWorld(t *testing.T, options ...func(*authtest.Options, *mcptest.Options)) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t}
	authOptions := authtest.Options{Consent: true}
	mcpOptions := mcptest.Options{RequiredScopes: []string{"tools"}}
	for _, change := range options {
		change(&authOptions, &mcpOptions)
	}
	w.auth = authtest.New(authOptions)
	t.Cleanup(w.auth.Close)
	mcpOptions.Auth = w.auth
	w.mcp = mcptest.New(mcpOptions)
	t.Cleanup(w.mcp.Close)

	cmd := exec.Command(example, "-open=false", "-addr=localhost:0")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		require.NoError(t, cmd.Wait())
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	w.url = regexp.MustCompile(`http://\S+`).FindString(line)
	require.NotEmpty(t, w.url)
	return w
}

// isolate puts a page in front of the authorization endpoint which cuts itself
// off from its opener.
func (w *world) isolate() {
	w.t.Helper()
	behind, err := url.Parse(w.auth.URL())
	require.NoError(w.t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Cross-Origin-Opener-Policy", "same-origin")
			return nil
		},
	}
	front := httptest.NewServer(proxy)
	w.t.Cleanup(front.Close)
	w.auth.SetEditMetadata(func(doc map[string]any) { doc["authorization_endpoint"] = front.URL + "/authorize" })
}

// open opens the page in a new profile, and checks in the end that nothing was
// wrong with it that a user would not see.
func (w *world) open() *page {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	w.t.Cleanup(cancel)
	return w.visit(ctx)
}

// openAnother opens the page in another tab beside p.
func (w *world) openAnother(p *page) *page {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	w.t.Cleanup(cancel)
	return w.visit(ctx)
}

func (w *world) visit(ctx context.Context) *page {
	w.t.Helper()
	p := newPage(ctx, w.t)
	p.do(chromedp.EmulateViewport(1280, 900)) // whatever the size of the window: on a narrow screen not all is shown at once
	p.do(chromedp.Navigate(w.url))
	p.until("document.documentElement.dataset.ready")
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.shoot(p, "failed")
			return
		}
		require.Empty(w.t, p.takeProblems(), "in the console")
		w.keepsNoSecrets(p)
	})
	return p
}

// keepsNoSecrets checks what a browser keeps of a page, and shows of it: not
// one secret may be where scripts, extensions or people at the next desk see it.
func (w *world) keepsNoSecrets(p *page) {
	w.t.Helper()
	kept := eval[struct {
		URL, Cookies   string
		Local, Session int
	}](p, "return { URL: location.href, Cookies: document.cookie, Local: localStorage.length, Session: sessionStorage.length }")
	require.Equal(w.t, w.url, kept.URL)
	require.Empty(w.t, kept.Cookies, "cookies that scripts can read")
	require.Zero(w.t, kept.Local+kept.Session, "entries in localStorage and sessionStorage")

	html := eval[string](p, "return document.documentElement.outerHTML")
	for _, token := range w.mcp.Tokens() {
		require.NotContains(w.t, html, token)
	}
	own := chromedp.FromContext(p.ctx)
	cookies, err := cdp.Call(p.ctx, own.Browser, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: own.BrowserContextID})
	require.NoError(w.t, err)
	require.NotEmpty(w.t, cookies.Cookies)
	for _, cookie := range cookies.Cookies {
		require.True(w.t, cookie.HTTPOnly, cookie.Name)
	}
}

// connect enters the test's server and presses Connect.
func (w *world) connect(p *page) {
	w.t.Helper()
	p.fill("Server URL", w.mcp.URL())
	p.click("Connect")
}

// consent presses a button of the authorization page.
func (w *world) consent(p *page, button string) {
	w.t.Helper()
	popup := p.popup(w.auth.URL())
	popup.see("Allow Web example?")
	popup.click(button)
}

// connected opens the page and connects to the test's server.
func (w *world) connected() *page {
	w.t.Helper()
	p := w.open()
	w.connect(p)
	w.consent(p, "Approve")
	p.see("Connected.")
	p.see("8 tools")
	p.alone(1)
	return p
}

// shoot keeps a picture of the whole page.
func (w *world) shoot(p *page, name string) {
	w.t.Helper()
	w.keep(name, get(p, chromedp.FullScreenshot(100)))
}

// keep writes a picture to where CI collects them.
func (w *world) keep(name string, picture []byte) {
	w.t.Helper()
	dir := filepath.Join("..", "..", "results", "e2e")
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, strings.ReplaceAll(w.t.Name(), "/", "-")+"-"+name+".png"), picture, 0o644))
}
