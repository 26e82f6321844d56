package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Manager lets tests put a fake in place of a *session.Manager.
type Manager = manager

// NewWith is New with a fake.
func NewWith(m Manager, cfg Config) (*Handler, error) { return newHandler(m, cfg) }

// MaxRateKeys is the bound of the callers that have tallies of their own, and
// SharedTallies is how many the others share.
const (
	MaxRateKeys   = maxRateKeys
	SharedTallies = sharedTallies
)

// RateKeys is how many callers are counted in this minute, by budget.
func (h *Handler) RateKeys() (connects, callbacks, requests int) {
	size := func(l *limiter) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.owners.current) + len(l.addresses.current)
	}
	return size(h.connects), size(h.callbacks), size(h.requests)
}

// ClientAddress is who a request counts for without an owner.
func (h *Handler) ClientAddress(r *http.Request) string { return h.clientAddress(r) }

// PublicHost is the Host that requests must have, if there is only one.
func (h *Handler) PublicHost() string { return strings.TrimPrefix(h.host, "http://") }

// Routes are the routes below a prefix.
func (h *Handler) Routes(prefix string) (routes []string) {
	for path := range h.routes {
		routes = append(routes, strings.TrimPrefix(path, prefix))
	}
	return routes
}

// CountFailureKinds counts failures of n kinds in a minute, and returns how many
// kinds are in memory.
func CountFailureKinds(n int) int {
	var f failureCount
	for i := range n {
		f.add(failureKind{code: CodeUpstreamError, server: strconv.Itoa(i)}, time.Unix(0, 0))
	}
	return len(f.kinds)
}
