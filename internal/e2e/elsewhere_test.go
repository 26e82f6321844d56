package e2e_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// elsewherePage is of another origin than the API. Its callback page, if it has
// one, is of its own origin.
const elsewherePage = `<!doctype html><title>Elsewhere</title><link rel="icon" href="data:,"><button>Connect</button><p></p>
<script type="module">
import { MCPOAuth, newBinding } from "$API/mcp-oauth.js";
const own = $OWN;
const mcp = new MCPOAuth({ binding: own ? newBinding() : undefined });
window.binding = mcp.options.binding;
document.querySelector("button").onclick = () => mcp.connect("$MCP", { eagerPopup: true, ...(own && { callbackUrl: location.origin + "/callback" }) })
  .then(() => "connected", (error) => error.code).then((said) => { document.querySelector("p").textContent = "It says " + said; });
</script>`

// elsewhereCallback finishes with the binding that the test gives it. A real page
// keeps the binding in a store of its origin.
const elsewhereCallback = `<!doctype html><title>Callback</title><link rel="icon" href="data:,">
<script type="module">
import { MCPOAuth } from "$API/mcp-oauth.js";
window.finish = (binding) => new MCPOAuth({ binding }).finish(new URLSearchParams(location.search)).catch(() => {});
</script>`

// elsewhere serves the API and, on another origin, the pages.
func elsewhere(t *testing.T, own bool) (w *world, app string) {
	t.Helper()
	t.Parallel()
	w = &world{t: t, auth: authtest.New(authtest.Options{Consent: true})}
	t.Cleanup(w.auth.Close)
	w.mcp = mcptest.New(mcptest.Options{Auth: w.auth})
	t.Cleanup(w.mcp.Close)
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	host := httptest.NewUnstartedServer(nil)
	pages := http.NewServeMux()
	front := httptest.NewServer(pages)
	t.Cleanup(front.Close)
	w.url, app = "http://"+host.Listener.Addr().String(), front.URL
	api, err := httpapi.New(manager, httpapi.Config{PublicURL: w.url, TrustedOrigins: []string{app}, AllowedCallbackURLs: []string{app + "/callback"}})
	require.NoError(t, err)
	host.Config.Handler = api
	host.Start()
	t.Cleanup(host.Close)
	fill := strings.NewReplacer("$API", w.url+"/api/mcp", "$MCP", w.mcp.URL(), "$OWN", map[bool]string{true: "true", false: "false"}[own])
	for path, page := range map[string]string{"/{$}": elsewherePage, "/callback": elsewhereCallback} {
		pages.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, fill.Replace(page))
		})
	}
	return w, app
}

// TestFailureIsNoticedElsewhere: no message of the callback page arrives on
// another origin, and the page learns of a failure all the same.
func TestFailureIsNoticedElsewhere(t *testing.T) {
	for name, row := range map[string]struct{ button, says string }{
		"denied":          {"Deny", "access_denied"},
		"cookie missing":  {"Approve", "invalid_callback"},
		"all is as it is": {"Approve", "connected"},
	} {
		t.Run(name, func(t *testing.T) {
			w, app := elsewhere(t, false)
			p := w.openAt(app)
			p.click("Connect")
			popup := p.popup(w.auth.URL())
			popup.see("Approve")
			require.True(t, eval[bool](popup, "return window.opener === null"))
			if name == "cookie missing" {
				own := chromedp.FromContext(p.ctx)
				_, err := cdp.Call(p.ctx, own.Browser, storage.ClearCookies, storage.ClearCookiesParams{BrowserContextID: own.BrowserContextID})
				require.NoError(t, err)
			}
			popup.click(row.button)
			p.see("It says " + row.says)
			popup.ignoreProblems() // the 400 of its page
		})
	}
}

// TestBindingOfAPageElsewhere: a page that gets no cookie brings a binding, and
// its own callback page finishes with that alone.
func TestBindingOfAPageElsewhere(t *testing.T) {
	w, app := elsewhere(t, true)
	p := w.openAt(app)
	for says, binding := range map[string]string{"invalid_callback": strings.Repeat("A", 26), "connected": eval[string](p, "return binding")} {
		p.click("Connect")
		popup := p.popup(w.auth.URL())
		popup.click("Approve")
		popup.until("window.finish")
		popup.ignoreProblems() // the 400
		popup.script("setTimeout(finish, 0, " + quote(binding) + ")")
		p.see("It says " + says)
		p.alone(1) // its page is of this origin
	}
	require.Equal(t, 1, w.auth.Counts().Exchanges)
}

// openAt opens a page of another origin.
func (w *world) openAt(url string) *page {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	w.t.Cleanup(cancel)
	p := newPage(ctx, w.t)
	p.do(chromedp.Navigate(url))
	p.until("'binding' in window")
	w.t.Cleanup(func() { require.Empty(w.t, p.takeProblems(), "in the console") })
	return p
}
