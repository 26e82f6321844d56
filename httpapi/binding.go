package httpapi

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// bindingCookie is the cookie that ties an authorization to the browser in
// which it was begun, without a value. Its path is "/", which __Host- demands
// and which makes it reach callbacks that a host mounted elsewhere. It ends
// with the browser session.
func bindingCookie(https bool) http.Cookie {
	cookie := http.Cookie{Name: "mcpoauth", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if https {
		// The prefix keeps sibling subdomains from planting a value.
		cookie.Name, cookie.Secure = "__Host-mcpoauth", true
	}
	return cookie
}

// bind finds the browser's binding, or makes one that setBinding gives it.
func (c *call) bind() {
	if c.h.cfg.InsecureUnboundCallbacks || c.binding != "" {
		return
	}
	for _, cookie := range c.r.CookiesNamed(c.h.cookie.Name) {
		if plausibleBinding(cookie.Value) {
			// The header's text stays in memory as long as this does; it is short.
			c.binding = cookie.Value
			return
		}
	}
	c.binding, c.newCookie = rand.Text(), true
}

// setBinding gives the browser its binding, before an answer that may send it
// to authorize.
func (c *call) setBinding() {
	if !c.newCookie {
		return
	}
	cookie := c.h.cookie
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
