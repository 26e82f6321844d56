package oauthclient

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// Bounds of the cookies of one connection. Load balancers set one or two.
const (
	maxCookies     = 20
	maxCookieBytes = 2 << 10 // all names and values together
)

// cookieJar holds the cookies that the MCP server's own origin set on one
// connection, which sticky load balancers need. They are hints: an answer may
// change them at any time. They are saved when the connection data are saved
// anyway, and losing one costs one repeat. All of them are sent with every
// request, because a connection has one URL.
type cookieJar struct {
	mu      sync.Mutex
	of      string            // the id of the connection that they belong to
	cookies map[string]string // nil until an answer sets one
}

// send adds the cookies of a connection to a request.
func (j *cookieJar) send(req *http.Request, of Connection) {
	j.mu.Lock()
	cookies := j.cookiesOf(of)
	j.mu.Unlock()
	for name, value := range cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
}

// receive takes the cookies of an answer. A map that was handed out is not
// changed.
func (j *cookieJar) receive(resp *http.Response, of Connection, now time.Time) {
	if len(resp.Header["Set-Cookie"]) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	cookies := maps.Clone(j.cookiesOf(of))
	if cookies == nil {
		cookies = make(map[string]string)
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(now) {
			delete(cookies, c.Name)
		} else {
			cookies[c.Name] = c.Value
		}
	}
	size := 0
	for name, value := range cookies {
		if size += len(name) + len(value); size > maxCookieBytes || len(cookies) > maxCookies {
			return // keep those before
		}
	}
	j.of, j.cookies = of.id(), cookies
}

// cookiesOf returns the cookies of a connection: the cookies that answers have set since the
// connection was saved, or else the saved ones. The caller holds mu.
func (j *cookieJar) cookiesOf(of Connection) map[string]string {
	if j.cookies != nil && j.of == of.id() {
		return j.cookies
	}
	return of.cookies()
}

// present returns the cookies of a connection, to be saved with it.
func (j *cookieJar) present(of Connection) map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cookiesOf(of)
}

// forget drops what was set since a connection was saved.
func (j *cookieJar) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.of, j.cookies = "", nil
}
