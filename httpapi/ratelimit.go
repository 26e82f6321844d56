package httpapi

import (
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/go-chi/httprate"

	"github.com/mcpoauth/mcpoauth/store"
)

// rateWindow is what the budgets are for. The limiter looks at a sliding
// window: this one's count, and that of the last one as far as it reaches.
const rateWindow = time.Minute

// The headers that an answer says a budget with. They come with every answer
// that was counted, except with those that must be the same for everybody.
var rateHeaders = []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}

// limiter is one budget of every caller. A nil limiter limits nothing.
type limiter struct {
	name  string
	rate  *httprate.RateLimiter
	count *rateCounter
}

// newLimiter allows perMinute; nil for a negative number. With shared, which
// may be nil, replicas share the budget.
func newLimiter(name string, perMinute int, shared store.Counter) *limiter {
	if perMinute < 0 {
		return nil
	}
	count := newRateCounter(name, perMinute, shared)
	return &limiter{name: name, count: count, rate: httprate.NewRateLimiter(perMinute, rateWindow,
		httprate.WithLimitCounter(count),
		httprate.WithResponseHeaders(httprate.ResponseHeaders{
			Limit: rateHeaders[0], Remaining: rateHeaders[1], Reset: rateHeaders[2],
		}))}
}

var errRateLimited = &failure{status: http.StatusTooManyRequests, code: CodeRateLimited, text: "There are too many requests. Try again later."}

// limit counts the request, or refuses it. It only looks at the header, and at
// what Identify said: a request over the limit is not read, and one that nobody
// is signed in for counts for its address, so that neither a flood of those
// uses up an owner's budget nor one owner that of others at the same address.
func (c *call) limit(l *limiter) error {
	if l == nil {
		return nil
	}
	who := c.rateKey()
	if who == "" {
		return nil
	}
	// Of one length, so that memory is bounded, and saying nothing in a store.
	sum := sha256.Sum256([]byte(l.name + " " + who))
	key := string(sum[:rateKeyLen])
	l.count.settle(c.r.Context(), key)
	// The limiter looks for other limits in the request's context, where a
	// host that uses the same package for its own routes may have put its.
	if !l.rate.OnLimit(c.w, new(http.Request), key) {
		return nil
	}
	c.w.Header().Set(rateHeaders[1], "0") // others may have used more than there is
	c.w.Header().Set("Retry-After", retryAfter(l.wait(key, time.Now())))
	return errRateLimited
}

// wait is how long until the limiter lets the next request of a caller over the
// limit through, if there are no others: it rounds the rate, so that must have
// fallen below the limit by more than a half.
func (l *limiter) wait(key string, now time.Time) time.Duration {
	window := now.Truncate(rateWindow)
	current, previous, _ := l.count.Get(key, window, window.Add(-rateWindow)) // which never fails
	room := float64(l.count.limit) - 0.5
	until := window
	if float64(current) < room {
		room -= float64(current)
	} else {
		// Not in this window, which will be the previous one then.
		until, previous = window.Add(rateWindow), current
	}
	if previous > 0 {
		until = until.Add(time.Duration(max(0, 1-room/float64(previous)) * float64(rateWindow)))
	}
	return until.Sub(now) + time.Second/10
}

// rateKey names who the request counts for.
func (c *call) rateKey() string {
	switch {
	case c.h.cfg.RateKey != nil:
		return c.h.cfg.RateKey(c.r)
	case c.owner != "":
		return "owner " + c.owner
	}
	return "address " + c.h.clientAddress(c.r)
}
