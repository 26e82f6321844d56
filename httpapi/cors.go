package httpapi

import (
	"net/http"
	"slices"
	"strings"
)

// sessionHeader is the header that a session ID can be in, in place of the query
// of a GET.
const sessionHeader = "Mcpoauth-Session"

// The headers that pages of trusted origins may read, and may send.
var (
	exposedHeaders = []string{"X-Request-Id, Retry-After, " + strings.Join(rateHeaders, ", ")}
	allowedHeaders = strings.Join([]string{"Accept", "Authorization", "Content-Type", bindingHeader, sessionHeader}, ", ")
)

// Bounds of what a preflight asks for.
const (
	maxRequestedHeaders = 1024
	preflightSeconds    = "600" // for which a browser need not ask again
)

// allowOrigin lets the pages of a trusted origin read the answer (CORS). No other
// page learns anything, and a cache keeps the answers apart.
func (h *Handler) allowOrigin(header http.Header, r *http.Request) (trusted bool) {
	if len(h.cfg.TrustedOrigins) == 0 {
		return false
	}
	header.Add("Vary", "Origin") // beside what the host's middleware has set
	origin := r.Header["Origin"]
	if len(origin) != 1 || !slices.Contains(h.cfg.TrustedOrigins, origin[0]) {
		return false
	}
	header["Access-Control-Allow-Origin"] = origin
	header["Access-Control-Allow-Credentials"] = []string{"true"}
	header["Access-Control-Expose-Headers"] = exposedHeaders
	return true
}

// preflight answers a browser that asks whether a page of a trusted origin may
// send a request. Beside the API's own headers the page may send what the host's
// login needs: the origin is trusted.
func preflight(w http.ResponseWriter, r *http.Request, methods []string) {
	header := w.Header()
	allowed := allowedHeaders
	if asked := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ", "); asked != "" && len(asked) <= maxRequestedHeaders && isHeaderList(asked) {
		allowed += ", " + asked
	}
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	header.Set("Access-Control-Allow-Headers", allowed)
	header.Set("Access-Control-Max-Age", preflightSeconds)
	header.Del("Access-Control-Expose-Headers")
	w.WriteHeader(http.StatusNoContent)
}

// isPreflight reports whether a request is a preflight.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// isHeaderList reports whether a text is a list of names of headers.
func isHeaderList(text string) bool {
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ") == ""
}
