package httpapi_test

import (
	"cmp"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A callback's URL has a code in it, and its page is the host's, however the
// callback ends: it is not cached, referred, sniffed or framed.
func TestCallbackHeadersOnEveryPath(t *testing.T) {
	t.Parallel()
	query := "?code=c&state=s"
	html := []string{"Accept", "text/html"}
	for name, tc := range map[string]struct {
		f            *fake // one for whom all goes well, if nil
		change       func(*httpapi.Config)
		method, path string
		body         string
		headers      []string
		status       int
	}{
		"page":                     {path: query, headers: html, status: 200},
		"JSON":                     {path: query, status: 200},
		"page, refused":            {f: &fake{err: oauthclient.ErrInvalidCallback}, path: query, headers: html, status: 400},
		"JSON, refused":            {f: &fake{err: oauthclient.ErrInvalidCallback}, path: query, status: 400},
		"page, denied":             {f: &fake{err: &oauthclient.AuthorizationError{Code: "access_denied"}}, path: query, headers: html, status: 400},
		"page, a bug":              {f: &fake{err: errors.New("bug")}, path: query, headers: html, status: 500},
		"page, store away":         {f: &fake{err: &session.StoreError{Err: errors.New("x")}}, path: query, headers: html, status: 503},
		"page, authorize again":    {f: &fake{err: &oauthclient.AuthorizationRequiredError{AuthURL: "https://as.example/?state=" + canary}}, path: query, headers: html, status: 401},
		"page, not connected":      {f: &fake{info: session.Info{ID: oauthclient.NewSecret(canary), Status: session.StatusFailed}}, path: query, headers: html, status: 200},
		"page, nobody signed in":   {change: byUser, path: query, headers: html, status: 401},
		"JSON, nobody signed in":   {change: byUser, path: query, status: 401},
		"redirect":                 {change: func(c *httpapi.Config) { c.AfterCallback = "/done" }, path: query, headers: html, status: 303},
		"redirect, refused":        {f: &fake{err: oauthclient.ErrInvalidCallback}, change: func(c *httpapi.Config) { c.AfterCallback = "/done" }, path: query, headers: html, status: 303},
		"form, repeated as GET":    {method: "POST", body: "code=c&state=s", headers: append([]string{"Content-Type", form}, html...), status: 303},
		"another method":           {method: "PUT", path: query, headers: html, status: 405},
		"a look in advance":        {method: "HEAD", path: query, headers: html, status: 405},
		"JSON from another origin": {method: "POST", body: `{}`, headers: []string{"Sec-Fetch-Site", "cross-site"}, status: 403},
		"query too long":           {path: query + strings.Repeat("x", 17<<10), headers: html, status: 400},
		"body too large":           {change: func(c *httpapi.Config) { c.MaxBodyBytes = 4 }, method: "POST", body: "code=c&state=s", headers: append([]string{"Content-Type", form}, html...), status: 413},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newFake(t, cmp.Or(tc.f, &fake{}), func(c *httpapi.Config) {
				if tc.change != nil {
					tc.change(c)
				}
			})
			if tc.method == "" {
				tc.method = "GET"
			}
			w := request(t, h, tc.method, pathCallback+tc.path, tc.body, tc.headers...)
			require.Equal(t, tc.status, w.Code, w.Body)
			requireProtected(t, w)
			require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
			policy := w.Header().Get("Content-Security-Policy")
			require.Contains(t, policy, "default-src 'none'")
			require.Contains(t, policy, "frame-ancestors 'none'")
			require.NotContains(t, policy, "unsafe")
			require.NotContains(t, w.Body.String(), canary)
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				nonce := nonces.FindStringSubmatch(policy)[1]
				require.Equal(t, strings.Count(w.Body.String(), "<script"), strings.Count(w.Body.String(), `<script nonce="`+nonce+`"`))
				require.NotRegexp(t, `\son[a-z]+=`, w.Body.String(), "no inline handlers")
			}
		})
	}
}

// While the store is away the attempt has not ended. The page keeps its address,
// sends its opener no message, and loads itself again. It does so too where a
// finished attempt would redirect.
func TestCallbackPageWaitsForTheStore(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]string{"page": "", "redirect": "/done"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{err: &session.StoreError{Err: errors.New("x")}}
			h, _ := newFake(t, f, func(c *httpapi.Config) { c.AfterCallback = after })
			w := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "2", w.Header().Get("Refresh"))
			require.Contains(t, w.Body.String(), "This page tries again by itself.")
			require.NotContains(t, w.Body.String(), "<script")

			f.err = oauthclient.ErrInvalidCallback
			w = request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Empty(t, w.Header().Get("Refresh"), "an end is an end")
		})
	}
}

// Whatever a stranger may have a say in is text.
func TestNoScriptFromStrangersOnThePage(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</script><script>alert(1)//`, `'-alert(1)-'`, `{{.Nonce}}`,
		"\u2028alert(1)", `<!--<script>`, `javascript:alert(1)`, `\"; alert(1); //`,
	} {
		for name, err := range map[string]error{
			"error code":   &oauthclient.AuthorizationError{Code: payload, Description: payload},
			"MCP server":   &jsonrpc.Error{Code: 1, Message: payload},
			"input":        &session.InputError{Field: "ServerURL", Reason: payload},
			"nothing":      oauthclient.ErrInvalidCallback,
			"after all":    nil,
			"something":    errors.New(payload),
			"registration": &oauthclient.RegistrationRequiredError{Issuer: payload},
		} {
			h, _ := newFake(t, &fake{err: err, info: session.Info{ID: oauthclient.NewSecret("x"), Status: session.StatusConnected, ServerName: payload, ServerURL: payload, Reason: payload}})
			query := url.Values{}
			for _, parameter := range []string{"code", "state", "iss", "error", "error_description", "error_uri", "sessionId", "more"} {
				query.Set(parameter, payload)
			}
			w := request(t, h, "GET", pathCallback+"?"+query.Encode(), "", "Accept", "text/html")
			page := w.Body.String()
			require.Equal(t, 1, strings.Count(page, "<script"), "%s: %s", name, payload)
			require.Equal(t, 1, strings.Count(page, "</script"), "%s: %s", name, payload)
			require.NotContains(t, page, "<img", name)
			if name != "MCP server" && name != "input" { // whose texts are shown, as text
				require.NotContains(t, page, "alert(1)", "%s: %s", name, payload)
			}
		}
	}
}

// A panic in the host's own function ends that request alone, as anywhere in
// net/http, and shows nothing of it in an answer or in our log.
func TestPanicInIdentify(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, logged := newFake(t, f, func(c *httpapi.Config) {
		c.Identify = func(r *http.Request) (string, error) {
			if r.Header.Get("User") == "" {
				panic(canary)
			}
			return "alice", nil
		}
	})
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	for range 3 {
		_, err := http.Get(server.URL + pathStatus + "?sessionId=s")
		require.Error(t, err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+pathStatus+"?sessionId=s", nil)
	require.NoError(t, err)
	r.Header.Set("User", "alice")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, []string{"status"}, f.called())
	require.NotContains(t, logged.String(), canary)
}
