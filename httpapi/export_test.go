package httpapi

import (
	"strings"
	"time"
)

// Manager lets tests put a fake in place of a *session.Manager.
type Manager = manager

// NewWith is New with a fake.
func NewWith(m Manager, cfg Config) (*Handler, error) { return newHandler(m, cfg) }

// RateLimiter lets tests choose the time.
type RateLimiter struct{ l *rateLimiter }

func NewRateLimiter(perMinute int) RateLimiter { return RateLimiter{newRateLimiter(perMinute)} }

func (l RateLimiter) Take(key string, now time.Time) time.Duration { return l.l.take(key, now) }

func (l RateLimiter) Len() int { return len(l.l.fullAt) }

const MaxRateKeys = maxRateKeys

var AddressKey = addressKey

// Routes are the routes below a prefix.
func (h *Handler) Routes(prefix string) (routes []string) {
	for path := range h.routes {
		routes = append(routes, strings.TrimPrefix(path, prefix))
	}
	return routes
}
