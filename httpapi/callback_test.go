package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

const form = "application/x-www-form-urlencoded"

var response = url.Values{
	"code": {"code " + canary}, "state": {"state-" + canary}, "iss": {"https://as.example"},
	"error": {""}, "error_description": {"a & b"}, "sessionId": {"session-" + canary}, "more": {"ignored"},
}

func TestCallbackTakesEveryForm(t *testing.T) {
	t.Parallel()
	body := `{"code":"code ` + canary + `","state":"state-` + canary + `","iss":"https://as.example","error_description":"a & b","sessionId":"session-` + canary + `","more":1}`
	for name, send := range map[string]func(h http.Handler) *httptest.ResponseRecorder{
		"query": func(h http.Handler) *httptest.ResponseRecorder {
			return request(t, h, "GET", pathCallback+"?"+response.Encode(), "")
		},
		"form": func(h http.Handler) *httptest.ResponseRecorder {
			return request(t, h, "POST", pathCallback, response.Encode(), "Content-Type", form)
		},
		"form from another site": func(h http.Handler) *httptest.ResponseRecorder {
			return request(t, h, "POST", pathCallback, response.Encode(), "Content-Type", form, "Sec-Fetch-Site", "cross-site", "Origin", "https://as.example")
		},
		"JSON": func(h http.Handler) *httptest.ResponseRecorder { return request(t, h, "POST", pathCallback, body) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, log := newFake(t, f)
			w := send(h)
			require.Equal(t, 200, w.Code, w.Body)
			require.Equal(t, `{"success":true,"message":"Authorization completed"}`, w.Body.String())
			require.Equal(t, "code "+canary, f.response.Code.Reveal())
			require.Equal(t, "state-"+canary, f.response.State.Reveal())
			require.Equal(t, "https://as.example", f.response.Iss)
			require.Equal(t, "a & b", f.response.ErrorDescription)
			require.Equal(t, "session-"+canary, f.session)
			require.NotContains(t, log.String(), canary)
		})
	}
}

// A text with a stray percent sign or semicolon hides no denial.
func TestCallback_StrayCharactersHideNoDenial(t *testing.T) {
	t.Parallel()
	const denial = "state=s&error=access_denied&error_description=100%+sure;+go+away%zz"
	for name, send := range map[string]func(h http.Handler) *httptest.ResponseRecorder{
		"query": func(h http.Handler) *httptest.ResponseRecorder {
			return request(t, h, "GET", pathCallback+"?"+denial, "")
		},
		"form": func(h http.Handler) *httptest.ResponseRecorder {
			return request(t, h, "POST", pathCallback, denial, "Content-Type", form)
		},
		"form of a browser": func(h http.Handler) *httptest.ResponseRecorder {
			w := request(t, h, "POST", pathCallback, denial, "Content-Type", form, "Accept", "text/html")
			require.Equal(t, 303, w.Code)
			return request(t, h, "GET", pathCallback+w.Header().Get("Location"), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{err: &oauthclient.AuthorizationError{Code: "access_denied"}}
			h, _ := newFake(t, f)
			w := send(h)
			require.Equal(t, 400, w.Code, w.Body)
			require.Contains(t, w.Body.String(), "access_denied")
			require.Equal(t, "access_denied", f.response.Error)
			require.Equal(t, "100% sure; go away%zz", f.response.ErrorDescription)
			require.Equal(t, "s", f.response.State.Reveal())
		})
	}
}

func TestCallbackRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
	}{
		"JSON from another site": {"POST", pathCallback, `{"code":"c","state":"s"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"text":                   {"POST", pathCallback, "code=c", []string{"Content-Type", "text/plain"}, 415},
		"malformed JSON":         {"POST", pathCallback, "{", nil, 400},
		"a look in advance":      {"HEAD", pathCallback + "?code=c&state=s", "", nil, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			h, _ := newFake(t, f)
			w := request(t, h, tc.method, tc.path, tc.body, tc.headers...)
			require.Equal(t, tc.status, w.Code, w.Body)
			require.Empty(t, f.called())
		})
	}
}

// SameSite cookies do not come with a form that the authorization server's
// page posts. The browser is sent once more.
func TestFormPostIsRepeatedAsGet(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	w := request(t, h, "POST", pathCallback+"?tenant=1&state=old", response.Encode(), "Content-Type", form, "Accept", "text/html,*/*", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, 303, w.Code)
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	require.Empty(t, w.Body.String())
	require.Empty(t, f.called(), "nothing happens without the cookies")
	require.Empty(t, w.Result().Cookies())
	location, err := url.Parse(w.Header().Get("Location"))
	require.NoError(t, err)
	require.Empty(t, location.Host+location.Path, "the browser stays where it is")
	got := location.Query()
	require.Equal(t, "code "+canary, got.Get("code"))
	require.Equal(t, []string{"state-" + canary}, got["state"])
	require.Equal(t, "1", got.Get("tenant"))
	require.NotContains(t, got, "more")
	require.NotContains(t, got, "sessionId")
}

var nonces = regexp.MustCompile(`nonce-([A-Z2-7]{26})'`)

// The opener may be cut off, so the page tells it in two ways; and it has
// nothing that is worth stealing.
func TestCallbackPage(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f, func(c *httpapi.Config) {
		c.PublicURL = "https://APP.example:443/base"
		c.TrustedOrigins = []string{"https://www.example"}
	})
	browser := []string{"Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
	w := request(t, h, "GET", "/base"+pathCallback+"?"+response.Encode(), "", browser...)
	require.Equal(t, 200, w.Code)
	requireProtected(t, w)
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	page := w.Body.String()
	require.NotContains(t, page, canary)
	require.NotContains(t, page, "as.example")
	require.Contains(t, page, "<h1>Connected</h1>")
	require.Contains(t, page, `{ source: "mcpoauth", status: "connected", code: "" }`)
	require.Contains(t, page, `of ["https://app.example","https://www.example"]`)
	require.Contains(t, page, "window.opener.postMessage(message, origin)")
	require.Contains(t, page, `new BroadcastChannel("mcpoauth")`)
	require.NotContains(t, page, `"*"`)

	policy := w.Header().Get("Content-Security-Policy")
	nonce := nonces.FindAllStringSubmatch(policy, -1)
	require.Len(t, nonce, 2)
	require.Equal(t, "default-src 'none'; script-src 'nonce-"+nonce[0][1]+"'; style-src 'nonce-"+nonce[0][1]+"'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'", policy)
	require.Equal(t, 2, strings.Count(page, `nonce="`+nonce[0][1]+`"`))
	require.Equal(t, 1, strings.Count(page, "<script"))
	again := request(t, h, "GET", "/base"+pathCallback+"?"+response.Encode(), "", browser...)
	require.NotEqual(t, policy, again.Header().Get("Content-Security-Policy"))
}

func TestOnlyBrowsersGetThePage(t *testing.T) {
	t.Parallel()
	for accept, html := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/html;q=0": false, "application/json, text/plain, */*": false, "text/htmlx": false,
		"text/html": true, "TEXT/HTML": true, "application/json;q=0.9, text/html;q=0.1": true,
	} {
		h, _ := newFake(t, &fake{})
		w := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", accept)
		require.Equal(t, html, strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"), accept)
	}
}

// The page claims no success where there is none.
func TestCallbackNeverClaimsMoreThanHappened(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		f      *fake
		status int
		page   string
	}{
		"refused":            {&fake{err: &oauthclient.AuthorizationError{Code: "access_denied"}}, 400, "Access was denied."},
		"forged":             {&fake{err: oauthclient.ErrInvalidCallback}, 400, "begun in another browser"},
		"authorize again":    {&fake{err: &oauthclient.AuthorizationRequiredError{AuthURL: canary}}, 401, "Authorization is required."},
		"server is silent":   {&fake{info: session.Info{ID: oauthclient.NewSecret(canary), Status: session.StatusFailed}}, 200, "the server did not answer"},
		"more scopes needed": {&fake{info: session.Info{ID: oauthclient.NewSecret(canary), Status: session.StatusAuthorizationRequired}}, 200, "the server did not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := newFake(t, tc.f, func(c *httpapi.Config) { c.InsecureUnboundCallbacks = true })
			w := request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Equal(t, tc.status, w.Code)
			require.Contains(t, w.Body.String(), tc.page)
			require.Contains(t, w.Body.String(), `status: "failed"`)
			require.Contains(t, w.Body.String(), "o back to the application", "what to do next")
			require.NotContains(t, w.Body.String(), canary)

			h, _ = newFake(t, tc.f, func(c *httpapi.Config) { c.AfterCallback = "/done" })
			w = request(t, h, "GET", pathCallback+"?code=c&state=s", "", "Accept", "text/html")
			require.Equal(t, 303, w.Code)
			require.Equal(t, "/done?mcp=failed", w.Header().Get("Location"))
		})
	}
}

func TestAfterCallback(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]string{
		"/settings":                          "/settings?mcp=connected",
		"/settings?tab=tools&mcp=x#mcp":      "/settings?mcp=connected&tab=tools#mcp",
		"https://www.example/":               "https://www.example/?mcp=connected",
		"https://www.example/app#/mcp/tools": "https://www.example/app?mcp=connected#/mcp/tools",
	} {
		h, _ := newFake(t, &fake{}, func(c *httpapi.Config) { c.AfterCallback = after })
		w := request(t, h, "GET", pathCallback+"?"+response.Encode(), "", "Accept", "text/html")
		require.Equal(t, 303, w.Code)
		require.Equal(t, want, w.Header().Get("Location"))
		require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
		w = request(t, h, "GET", pathCallback+"?"+response.Encode(), "")
		require.Equal(t, 200, w.Code, "a program gets its answer all the same")
	}
}
