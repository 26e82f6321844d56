package httpapi

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// The headers in which an answer gives the state of a budget. They come with every answer
// that was counted, except with answers that must be the same for every caller.
var rateHeaders = []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}

const (
	// settleTimeout bounds the wait for the store, and settlePause is the time
	// for which no request waits after the store has failed. Limits go on
	// without it.
	settleTimeout = 250 * time.Millisecond
	settlePause   = time.Second

	// refusedPause is how long a replica refuses a caller without asking the
	// store, after the store had nothing left.
	refusedPause = time.Second

	// A portion is an eighth of what is left at most, and the first one of an
	// unknown caller a thousandth of the limit, so that what many replicas
	// reserve and do not use is little.
	portionPart      = 8
	firstPortionPart = 1000
)

// limiter is one budget of every caller, for a sliding minute: what a caller
// used in the last minute counts as far as that minute reaches into the last 60
// seconds. A nil limiter limits nothing.
//
// Replicas that share a store reserve portions of a budget in it before they
// use them, so together they never allow more than the limit. A portion is
// twice as large as the one before, and an eighth of what is left at most.
type limiter struct {
	name   string
	limit  int64
	shared store.Counter // nil for none

	mu        sync.Mutex // never held while the store is asked
	window    int64      // the current minute, in minutes since 1970
	owners    tallies    // of callers that the host has named
	addresses tallies    // of all others, of which a stranger can have many
	pause     time.Time  // until when the store is left alone
}

// newLimiter allows perMinute; nil for a negative number. With shared, which
// may be nil, replicas share the budget.
func newLimiter(name string, perMinute int, shared store.Counter) *limiter {
	if perMinute < 0 {
		return nil
	}
	return &limiter{name: name, limit: int64(min(perMinute, math.MaxInt32)), shared: shared}
}

var errRateLimited = &failure{status: http.StatusTooManyRequests, code: CodeRateLimited, text: "There are too many requests. Try again later."}

// limit counts the request, or refuses it. It only looks at the header, and at
// what Identify said: a request over the limit is not read. A request
// without a login counts for its address. So a flood of them uses up no owner's
// budget, and one owner does not use up the budget of others at the same address.
func (c *call) limit(l *limiter) error {
	if l == nil {
		return nil
	}
	who, named := c.rateKey()
	if who == "" {
		return nil
	}
	// Of one length, so that memory is bounded, and saying nothing in a store.
	sum := sha256.Sum256([]byte(l.name + " " + who))
	v := l.take(c.r.Context(), rateKey(sum[:rateKeyLen]), named)
	for i, n := range []int64{l.limit, v.remaining, v.reset.Unix()} {
		c.w.Header().Set(rateHeaders[i], strconv.FormatInt(n, 10))
	}
	if v.allowed {
		return nil
	}
	c.w.Header().Set("Retry-After", retryAfter(v.wait))
	return errRateLimited
}

// rateKey names who the request counts for, and reports whether the host has
// said so.
func (c *call) rateKey() (who string, named bool) {
	switch {
	case c.h.cfg.RateKey != nil:
		return c.h.cfg.RateKey(c.r), true
	case c.owner != "":
		return "owner " + c.owner, true
	}
	return "address " + c.h.clientAddress(c.r), false
}

// verdict is what becomes of one request.
type verdict struct {
	allowed   bool
	remaining int64         // as far as this replica knows
	reset     time.Time     // the end of the minute
	wait      time.Duration // until the next request of a refused caller may pass
}

// take uses one request of a caller's budget, if there is one left.
func (l *limiter) take(ctx context.Context, key rateKey, named bool) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		now := time.Now()
		t, key := l.tally(key, named, now)
		room := l.room(t, now)
		switch {
		case t.credit > 0:
			t.credit--
			t.used++
			return l.verdict(t, now, true)
		case l.shared == nil || now.Before(l.pause):
			if room < 1 {
				return l.verdict(t, now, false)
			}
			t.total++
			t.used++
			t.unreported++
			return l.verdict(t, now, true)
		case room < 1 || now.Before(t.refusedUntil):
			return l.verdict(t, now, false)
		case t.asking != nil:
			if !l.await(ctx, t) {
				return l.verdict(t, now, false) // to a client that is gone
			}
		default:
			l.reserve(ctx, t, key, room)
		}
	}
}

// await waits for the store's answer to another request of the same caller. It
// returns false if ctx ends first. The caller holds mu.
func (l *limiter) await(ctx context.Context, t *tally) bool {
	answered := t.asking
	t.waiting++
	l.mu.Unlock()
	select {
	case <-answered:
	case <-ctx.Done():
	}
	l.mu.Lock()
	t.waiting--
	return ctx.Err() == nil
}

// reserve gets a portion from the store. The caller holds mu, which reserve
// releases meanwhile.
func (l *limiter) reserve(ctx context.Context, t *tally, key rateKey, room int64) {
	window, untold, n := l.window, t.unreported, t.nextPortion(room)
	answered := make(chan struct{})
	t.asking = answered
	previous := int64(-1) // unknown
	if t.previousFromStore {
		previous = t.previous
	}
	defer func() {
		close(answered)
		t.asking = nil
	}()
	r, err := l.askUnlocked(ctx, key, window, n, untold, previous)
	if err != nil {
		l.pause = time.Now().Add(settlePause)
		return
	}
	t.unreported -= untold
	t.total = r.total + t.unreported
	t.credit = r.granted
	if r.previous >= 0 {
		t.previous, t.previousFromStore = r.previous, true
	}
	if r.granted == 0 {
		t.refusedUntil = time.Now().Add(refusedPause)
	}
}

// askUnlocked is ask without mu, which the caller holds. Other requests wait for
// the answer, so it matters when this one's client is gone, too.
func (l *limiter) askUnlocked(ctx context.Context, key rateKey, window, n, untold, previous int64) (reservation, error) {
	l.mu.Unlock()
	defer l.mu.Lock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return l.ask(ctx, key, window, n, untold, previous)
}

// reservation is what the store granted.
type reservation struct {
	granted  int64
	total    int64 // of all replicas, in this minute
	previous int64 // in the last minute; negative if the store was not asked
}

// ask reserves n requests in the store. It also adds untold: requests that this
// replica allowed and has not counted in the store yet. No two replicas reserve
// the same part of the count. The part within the limit is granted.
func (l *limiter) ask(ctx context.Context, key rateKey, window, n, untold, previous int64) (r reservation, err error) {
	r.previous = previous
	r.total, err = l.shared.Add(ctx, l.storeKey(key, window), n+untold, l.expiry(window))
	if err != nil {
		return r, err
	}
	// Without knowing the last minute the worst is assumed, until it matters.
	known := previous
	if known < 0 {
		known = l.limit
	}
	allowed := allowedBy(l.limit, known, elapsed(window, time.Now()))
	if r.total > allowed && previous < 0 {
		last, err := l.shared.Add(ctx, l.storeKey(key, window-1), 0, l.expiry(window-1))
		if err != nil {
			return r, err
		}
		r.previous = min(last, l.limit)
		allowed = allowedBy(l.limit, r.previous, elapsed(window, time.Now()))
	}
	excess := min(max(r.total-allowed, 0), n)
	r.granted = n - excess
	if r.total -= excess; excess > 0 && r.total < l.limit {
		// It can be had later in this minute. If this fails, it is lost to the caller.
		_, _ = l.shared.Add(ctx, l.storeKey(key, window), -excess, l.expiry(window))
	}
	return r, nil
}
