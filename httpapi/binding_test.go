package httpapi_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// The cookie that ties an authorization to its browser.
func TestBindingCookie(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		public, cookie string
		secure         bool
	}{
		"https": {publicURL, "__Host-mcpoauth", true},
		"http":  {"http://localhost:8080", "mcpoauth", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, _ := newFake(t, f, func(c *httpapi.Config) { c.PublicURL = tc.public })
			w := request(t, h, "POST", pathConnect, anyConnect)
			cookies := w.Result().Cookies()
			require.Len(t, cookies, 1)
			cookie := cookies[0]
			require.Regexp(t, "^"+tc.cookie+"-[A-Z2-7]{8}$", cookie.Name)
			require.Equal(t, tc.secure, cookie.Secure)
			require.True(t, cookie.HttpOnly)
			require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
			require.Equal(t, "/", cookie.Path)
			require.Empty(t, cookie.Domain)
			require.Zero(t, cookie.MaxAge)
			require.Len(t, cookie.Value, 26)
			require.Equal(t, cookie.Value, f.caller.Binding)

			sent := "other=1; " + cookie.Name + "=" + cookie.Value
			w = request(t, h, "POST", pathConnect, anyConnect, "Cookie", sent)
			require.Empty(t, w.Result().Cookies(), "a browser keeps the one it has")
			require.Equal(t, cookie.Value, f.caller.Binding)
			w = request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Cookie", sent)
			require.Empty(t, w.Result().Cookies())
			require.Equal(t, cookie.Value, f.caller.Binding)
		})
	}
}

func TestPlantedBindingsAreReplaced(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("A", 26)
	for _, value := range []string{"", "x", strings.Repeat("a", 26), strings.Repeat("A", 25), strings.Repeat("A", 27), strings.Repeat("1", 26)} {
		f := &fake{}
		h, _ := newFake(t, f)
		w := request(t, h, "POST", pathConnect, anyConnect, "Cookie", "__Host-mcpoauth="+value+"; mcpoauth="+good)
		require.Len(t, w.Result().Cookies(), 1)
		require.NotEqual(t, value, f.caller.Binding)
		require.NotEqual(t, good, f.caller.Binding, "the name without a prefix does not count on https")
		w = request(t, h, "POST", pathConnect, anyConnect, "Cookie", "__Host-mcpoauth="+value+"; __Host-mcpoauth="+good)
		require.Empty(t, w.Result().Cookies())
		require.Equal(t, good, f.caller.Binding)
	}
}

// Only what may send the browser to authorize sets a cookie: a program that
// calls tools has no use for one.
func TestCookiesAreSetWhereNeeded(t *testing.T) {
	t.Parallel()
	for name, e := range endpoints() {
		if name == "connect" || name == "sessions" || name == "metadata" || name == "keys" {
			continue
		}
		h, _ := newFake(t, &fake{})
		require.Empty(t, request(t, h, e.method, e.path, e.body).Result().Cookies(), name)
	}
}

func TestInsecureUnboundCallbacks(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, &oauthclient.AuthorizationRequiredError{AuthURL: "x"}} {
		f := &fake{err: err}
		h, _ := newFake(t, f, func(c *httpapi.Config) { c.InsecureUnboundCallbacks = true })
		for name, e := range endpoints() {
			w := request(t, h, e.method, e.path, e.body, "Cookie", "__Host-mcpoauth="+strings.Repeat("A", 26))
			require.Empty(t, w.Result().Cookies(), name)
			require.Empty(t, f.caller.Binding, name)
		}
	}
}

// Two requests without a cookie at the same time get a cookie each, and neither
// replaces the other. That is no refusal in the audit; a stranger's callback is one.
func TestTwoFirstConnectsInOneBrowserBothFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var mu sync.Mutex
	refused := 0
	w.replica(t, func(c *session.Config) {
		c.Audit = func(_ context.Context, e session.AuditEvent) {
			mu.Lock()
			defer mu.Unlock()
			if e.Action == session.AuditRefuse {
				refused++
			}
		}
	})
	host, err := url.Parse(w.url)
	require.NoError(t, err)
	twice := func(b *browser) (callbacks []string) {
		jar := b.client.Jar
		var cookies []*http.Cookie
		for range 2 {
			b.client.Jar = nil // the other answer has not arrived yet
			a := b.connect()
			callbacks = append(callbacks, b.approve(a))
			cookies = append(cookies, (&http.Response{Header: a.header}).Cookies()...)
		}
		jar.SetCookies(host, cookies)
		b.client.Jar = jar
		require.Len(t, jar.Cookies(host), 2)
		return callbacks
	}
	b, stranger := w.browser(t, ""), w.browser(t, "")
	callbacks := twice(b)
	twice(stranger)
	require.Equal(t, 400, stranger.send("GET", callbacks[0], "").status)
	require.Equal(t, 1, refused)
	for _, callback := range callbacks {
		a := b.send("GET", callback, "")
		require.Equal(t, 200, a.status, a.body)
	}
	require.Equal(t, 1, refused)
	require.Empty(t, b.connect().header.Values("Set-Cookie"), "two are enough")
}

// A page on another site, where no cookie arrives, brings a binding of its own.
func TestBindingInAHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	page, stranger := w.browser(t, ""), w.browser(t, "")
	binding := strings.Repeat("B", 26)
	a := page.send("POST", pathConnect, `{"serverUrl":"`+w.mcp.URL()+`"}`, "Mcpoauth-Binding", binding)
	require.Empty(t, a.header.Values("Set-Cookie"))
	callback := page.approve(a)
	for name, headers := range map[string][]string{
		"no header":            nil,
		"another page's":       {"Mcpoauth-Binding", strings.Repeat("C", 26)},
		"the value as cookie":  {"Cookie", "mcpoauth=" + binding},
		"the value, shortened": {"Mcpoauth-Binding", binding[:25]},
	} {
		require.Equal(t, 400, stranger.send("GET", callback, "", headers...).status, name)
	}
	require.Zero(t, w.as.Counts().Exchanges)
	require.Equal(t, 200, page.send("GET", callback, "", "Mcpoauth-Binding", binding).status)
}

// The page that waits learns of a callback that was refused, wherever the page is.
func TestRefusedCallbackShowsInStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	page, stranger := w.browser(t, ""), w.browser(t, "")
	a := page.connect()
	target := pathStatus + "?sessionId=" + a.AuthRequired.SessionID + "&attemptId=" + a.AuthRequired.AttemptID
	require.Contains(t, page.send("GET", target, "").body, `"attempt":{"status":"pending"}`)
	callback := page.approve(a)
	require.Equal(t, 400, stranger.send("GET", callback, "").status)
	require.Contains(t, page.send("GET", target, "").body, `"attempt":{"status":"pending","code":"invalid_callback","error":"`)
	require.Equal(t, 200, page.send("GET", callback, "").status, "the right browser can still finish")
	require.Contains(t, page.send("GET", target, "").body, `"attempt":{"status":"succeeded"}`)
}
