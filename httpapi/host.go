package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// onlyHost returns the Host that requests must have if PublicURL is http, which
// it is on loopback alone: a page whose name was made to resolve to loopback (DNS
// rebinding) sends its own name. With https the certificate does not fit there.
func onlyHost(public *url.URL) string {
	if public.Scheme == "https" {
		return ""
	}
	return originOf(public)
}

// ownHost reports whether a request was sent to PublicURL or, through a proxy that
// keeps Host, to a trusted origin.
func (h *Handler) ownHost(r *http.Request) bool {
	if h.host == "" {
		return true
	}
	origin := originOf(&url.URL{Scheme: "http", Host: r.Host})
	return origin == h.host || slices.ContainsFunc(h.cfg.TrustedOrigins, func(trusted string) bool { return strings.EqualFold(trusted, origin) })
}
