package httpapi

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// bindingHeader carries the binding of a page on another site, where the cookie
// does not arrive: a random value of 26 characters, A to Z and 2 to 7, that the
// page makes and keeps for as long as the authorization takes. A browser that is
// only sent to the callback URL does not send it.
const bindingHeader = "Mcpoauth-Binding"

// maxBindings bounds how many bindings of a browser count.
const maxBindings = 4

// bindingCookie is a cookie that ties an authorization to the browser in which
// it was begun, without a value. Its path is "/", which __Host- demands and
// which makes it reach callbacks that a host mounted elsewhere. It ends with the
// browser session.
func bindingCookie(https bool) http.Cookie {
	cookie := http.Cookie{Name: "mcpoauth", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if https {
		// The prefix keeps sibling subdomains from planting a value.
		cookie.Name, cookie.Secure = "__Host-mcpoauth", true
	}
	return cookie
}

// bind finds the browser's bindings, or makes one that setBinding gives it. A
// browser whose first two requests arrive at the same time gets two cookies.
func (c *call) bind() {
	if c.h.cfg.InsecureUnboundCallbacks || c.binding != "" {
		return
	}
	if value := c.r.Header.Get(bindingHeader); plausibleBinding(value) {
		c.binding = "header " + value // no cookie can have this value
		return
	}
	for _, cookie := range c.r.Cookies() {
		named := cookie.Name == c.h.cookie.Name || strings.HasPrefix(cookie.Name, c.h.cookie.Name+"-")
		switch {
		case !named || !plausibleBinding(cookie.Value) || len(c.others) == maxBindings-1:
		case c.binding == "":
			// The header's text stays in memory as long as this does; it is short.
			c.binding = cookie.Value
		default:
			c.others = append(c.others, cookie.Value)
		}
	}
	if c.binding == "" {
		c.binding, c.newCookie = rand.Text(), true
	}
}

// setBinding gives the browser its binding, before an answer that may send it
// to authorize. The cookie has a name of its own, so that it replaces none that
// another request sets at the same time.
func (c *call) setBinding() {
	if !c.newCookie {
		return
	}
	cookie := c.h.cookie
	cookie.Name += "-" + rand.Text()[:8]
	cookie.Value = c.binding
	http.SetCookie(c.w, &cookie)
	c.newCookie = false
}

// plausibleBinding accepts what crypto/rand.Text returns, so that an attacker
// who can plant cookies cannot at least choose a short one for everybody.
func plausibleBinding(value string) bool {
	const length = 26
	return len(value) == length && strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
