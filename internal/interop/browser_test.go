package interop_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// maxPages bounds the forms that a user fills in for one authorization.
const maxPages = 6

// user is a person with a browser, who fills in forms.
type user struct {
	client *http.Client
	form   url.Values // what the user enters, by the name of the field
}

func newUser(t *testing.T) *user {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &user{client: &http.Client{Jar: secureJar{jar}, Timeout: 30 * time.Second}}
}

// secureJar sends Secure cookies to loopback addresses without TLS too, as
// browsers do.
type secureJar struct{ *cookiejar.Jar }

// Cookies implements [http.CookieJar].
func (j secureJar) Cookies(u *url.URL) []*http.Cookie {
	secure := *u
	secure.Scheme = "https"
	return j.Jar.Cookies(&secure)
}

// authorize goes through the forms of the authorization server, which must
// send the browser back with a code that the host takes.
func (u *user) authorize(t *testing.T, authURL, callback string) {
	t.Helper()
	status, page := u.visit(t, authURL, callback)
	require.Equal(t, http.StatusOK, status, page)
}

// visit opens an authorization URL and goes through the forms of the
// authorization server until the browser is back at the host. It returns the
// page that the host shows.
func (u *user) visit(t *testing.T, authURL, callback string) (status int, page string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, authURL, nil)
	require.NoError(t, err)
	for range maxPages {
		req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		resp, err := u.client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		require.NoError(t, err)
		at := resp.Request.URL
		if strings.HasPrefix(at.String(), callback+"?") {
			return resp.StatusCode, string(body)
		}
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", at, body)
		req = u.submit(t, at, string(body))
	}
	require.FailNow(t, "the authorization server asks and asks")
	return 0, ""
}

// submit fills in the first form of a page. A button is pressed if the user's
// form has its name and value; otherwise the first one is.
func (u *user) submit(t *testing.T, at *url.URL, page string) *http.Request {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	form := find(doc, "form")
	require.NotEmpty(t, form, "no form at %s: %s", at, page)
	values := make(url.Values)
	var button *html.Node
	for _, field := range append(find(form[0], "input"), find(form[0], "button")...) {
		name, value := attribute(field, "name"), attribute(field, "value")
		entered, known := u.form[name]
		kind := attribute(field, "type")
		switch {
		case field.Data == "button" || kind == "submit":
			if button == nil || known && slices.Contains(entered, value) {
				button = field
			}
		case kind == "hidden":
			values.Set(name, value)
		case kind == "checkbox" || kind == "radio":
			if known && slices.Contains(entered, value) {
				values.Add(name, value)
			}
		default:
			require.True(t, known, "the form at %s asks for %q", at, name)
			values[name] = entered
		}
	}
	if button != nil && attribute(button, "name") != "" {
		values.Set(attribute(button, "name"), attribute(button, "value"))
	}
	action, err := at.Parse(attribute(form[0], "action"))
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, action.String(), strings.NewReader(values.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", at.Scheme+"://"+at.Host)
	return req
}

// find returns the elements below n with a tag.
func find(n *html.Node, tag string) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == tag {
			found = append(found, d)
		}
	}
	return found
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
