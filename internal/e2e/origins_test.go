package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// origins is a host, and front ends at other origins. Another port of localhost
// is another origin of the same site; 127.0.0.1 is another site.
type origins struct {
	host     string // http://localhost:…
	sameSite string
	other    string // site
	stranger string // an origin that the host does not trust
	mcp      *mcptest.Server

	mu       sync.Mutex
	requests []string // to the API
}

// otherFrontEnd is the page of an application at another origin.
const otherFrontEnd = `<!doctype html><title>elsewhere</title><link rel="icon" href="data:,"><button>Connect</button><pre></pre>
<script type="module">
const say = (text) => document.querySelector("pre").append(text + "\n");
const { MCPOAuth, newBinding } = await import("HOST/api/mcp/mcp-oauth.js").catch(() => (say("no module"), {}));
const work = async (mcp, sessionId) => {
  const tools = await mcp.listTools(sessionId);
  const result = await mcp.callTool(sessionId, "add", { a: 2, b: 40 });
  say(tools.length + " tools, sum " + result.structuredContent.sum);
};
try {
  if (CROSS_SITE) {
    const binding = (sessionStorage.binding ??= newBinding());
    const onAuthorize = (authUrl, sessionId) => { sessionStorage.session = sessionId; location.assign(authUrl); };
    const mcp = new MCPOAuth({ binding, onAuthorize, headers: { Authorization: "Bearer alice" } });
    if (location.pathname === "/callback") {
      await mcp.finish(new URLSearchParams(location.search));
      history.replaceState(null, "", "/");
      await work(mcp, sessionStorage.session);
    }
    document.querySelector("button").onclick = () => mcp.connect("MCP", { callbackUrl: location.origin + "/callback" }).catch((error) => say(error.code));
  } else {
    const mcp = new MCPOAuth();
    document.querySelector("button").onclick = async () => {
      const { sessionId } = await mcp.connect("MCP", { eagerPopup: true });
      await work(mcp, sessionId);
      await mcp.listTools("not a session").catch((error) => say(error.code + " " + error.requestId.length));
    };
  }
} catch (error) {
  say("failed: " + error.code);
}
document.documentElement.dataset.ready = "yes";
</script>`

func newOrigins(t *testing.T) *origins {
	t.Helper()
	t.Parallel()
	e := new(origins)
	as := authtest.New(authtest.Options{})
	t.Cleanup(as.Close)
	e.mcp = mcptest.New(mcptest.Options{Auth: as})
	t.Cleanup(e.mcp.Close)
	host := httptest.NewUnstartedServer(nil)
	e.host = "http://localhost:" + portOfServer(host)
	page := func(cross string) *httptest.Server {
		html := strings.NewReplacer("HOST", e.host, "MCP\"", e.mcp.URL()+"\"", "CROSS_SITE", cross).Replace(otherFrontEnd)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, html)
		}))
		t.Cleanup(server.Close)
		return server
	}
	same, cross := page("false"), page("true")
	e.sameSite, e.other = "http://localhost:"+portOfServer(same), cross.URL
	e.stranger = "http://localhost:" + portOfServer(page("false"))

	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	manager, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	api, err := httpapi.New(manager, httpapi.Config{
		PublicURL: e.host, TrustedOrigins: []string{e.sameSite, e.other}, AllowedCallbackURLs: []string{e.other + "/callback"},
		Identify: func(r *http.Request) (string, error) {
			if r.Header.Get("Authorization") == "Bearer alice" {
				return "alice", nil
			}
			if login, err := r.Cookie("login"); err == nil {
				return login.Value, nil
			}
			return "", errors.New("not signed in")
		},
	})
	require.NoError(t, err)
	host.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			http.SetCookie(w, &http.Cookie{Name: "login", Value: "alice", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<!doctype html><title>Login</title><link rel="icon" href="data:,">`)
			return
		}
		e.mu.Lock()
		e.requests = append(e.requests, r.Method+" "+r.URL.RequestURI())
		e.mu.Unlock()
		api.ServeHTTP(w, r)
	})
	host.Start()
	t.Cleanup(host.Close)
	return e
}

func portOfServer(server *httptest.Server) string {
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	return port
}

// asked returns the requests to the API so far.
func (e *origins) asked() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.requests, "\n")
}

// visit opens a page in a new profile that is signed in to the host.
func (e *origins) visit(t *testing.T, url string) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := newPage(ctx, t)
	p.do(chromedp.Navigate(e.host + "/login"))
	p.do(chromedp.Navigate(url))
	p.until("document.documentElement.dataset.ready")
	return p
}

// A front end at another origin of the same site works with the host's cookies.
func TestTrustedOriginOfTheSite(t *testing.T) {
	e := newOrigins(t)
	p := e.visit(t, e.sameSite+"/")
	p.click("Connect")
	p.see("8 tools, sum 42")
	p.see("session_not_found 26")
	require.Empty(t, p.takeProblems())
	require.NotContains(t, e.asked(), "sessionId=")
	require.Contains(t, e.asked(), "OPTIONS /api/mcp/auth/connect")
}

// A front end at another site works with a token of the host's, and finishes the
// authorization itself.
func TestTrustedOriginOfAnotherSite(t *testing.T) {
	e := newOrigins(t)
	p := e.visit(t, e.other+"/")
	p.click("Connect")
	p.see("8 tools, sum 42")
	require.Empty(t, p.takeProblems())
	require.NotContains(t, e.asked(), "sessionId=")
	require.Contains(t, e.asked(), "POST /api/mcp/auth/callback")
	require.NotContains(t, e.asked(), "GET /api/mcp/auth/callback")
}

// A page that the host does not trust gets not even the module, with a user who
// is signed in.
func TestUntrustedOrigin(t *testing.T) {
	e := newOrigins(t)
	p := e.visit(t, e.stranger+"/")
	p.see("no module")
	p.script(`fetch("` + e.host + `/api/mcp/auth/sessions", { credentials: "include" }).then(
		async (answer) => { document.querySelector("pre").append("read " + await answer.text()) }, () => { document.querySelector("pre").append("read nothing") });`)
	p.see("read nothing")
	require.NotEmpty(t, p.takeProblems(), "the browser says why")
	require.Empty(t, e.mcp.Requests())
}
