package httpapi

import (
	"context"
	"encoding/base64"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	// maxRateKeys bounds the callers that are counted in one window, and with
	// them the memory of a rateCounter: some 8 MB each for this window and
	// the last.
	maxRateKeys = 100_000

	// settleTimeout bounds the wait for the store, and settlePause is how long
	// nobody waits after it failed. Limits go on without it.
	settleTimeout = 250 * time.Millisecond
	settlePause   = time.Second

	// rateKeyLen is the length of the keys, which are hashes.
	rateKeyLen = 16
)

// rateCounter counts requests by caller and window, for a
// [httprate.RateLimiter]. It counts in this process and settles with the
// counter that replicas share in portions of a twentieth of the limit, so that
// a tool call costs no round trip; a small limit is settled with each request,
// and exact. Replicas together may allow one portion each too many.
type rateCounter struct {
	name    string
	limit   int32
	portion int32
	shared  store.Counter // nil for none

	mu       sync.Mutex // never held while the store is asked
	window   time.Time  // the beginning of the current one
	current  map[rateKey]tally
	previous map[rateKey]tally
	pause    time.Time // until when the store is left alone
}

type rateKey [rateKeyLen]byte

// tally is what is known of one caller's requests in one window.
type tally struct {
	total   int32 // of the store, when it was last heard of
	credit  int32 // in total, but not used yet
	local   int32 // not in total
	sending int32 // perhaps in total: on the way
}

func (t tally) count() int32 { return max(t.total-t.credit, 0) + t.local + t.sending }

// balance uses credit for what was counted while it was on its way.
func (t *tally) balance() {
	n := min(t.credit, t.local)
	t.credit, t.local = t.credit-n, t.local-n
}

func newRateCounter(name string, limit int, shared store.Counter) *rateCounter {
	limit = min(limit, math.MaxInt32/4)
	return &rateCounter{name: name, limit: int32(limit), portion: int32(max(1, limit/20)), shared: shared, current: make(map[rateKey]tally)}
}

// settle tells the store what it does not know of a caller, if that is enough
// by now, and hears what others have counted. The request that is about to be
// counted is told in advance, as a credit, so that replicas that are asked at
// the same time see each other. Whatever goes wrong, requests are counted here.
func (c *rateCounter) settle(ctx context.Context, key string) {
	if c.shared == nil {
		return
	}
	window, sent, ok := c.send(key, time.Now())
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	total, err := c.shared.Add(ctx, c.storeKey(key, window), int64(sent)+1, window.Add(2*rateWindow))
	c.sent(key, window, sent, total, err)
}

func (c *rateCounter) storeKey(key string, window time.Time) string {
	return "rate:" + c.name + ":" + strconv.FormatInt(window.Unix(), 10) + ":" + base64.RawURLEncoding.EncodeToString([]byte(key))
}

// send decides whether to tell the store, and notes what is on its way.
func (c *rateCounter) send(key string, now time.Time) (window time.Time, n int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now.Truncate(rateWindow))
	t := c.current[keyOf(key)]
	// Of a caller over the limit there is no more to know in this window.
	if now.Before(c.pause) || t.credit > 0 || t.local+1 < c.portion || t.count() >= c.limit {
		return window, 0, false
	}
	n, t.local, t.sending = t.local, 0, t.sending+t.local
	c.put(key, t)
	return c.window, n, true
}

// sent notes the store's answer.
func (c *rateCounter) sent(key string, window time.Time, n int32, total int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.pause = time.Now().Add(settlePause)
	}
	if !window.Equal(c.window) {
		return // it was slow; that window is over
	}
	t := c.current[keyOf(key)]
	t.sending = max(t.sending-n, 0)
	if err != nil {
		t.local += n
	} else {
		t.total = max(t.total, int32(min(total, math.MaxInt32/4)))
		t.credit++
		t.balance()
	}
	c.put(key, t)
}

// Config implements [httprate.LimitCounter]; there is nothing to learn.
func (c *rateCounter) Config(int, time.Duration) {}

// Increment implements [httprate.LimitCounter].
func (c *rateCounter) Increment(key string, window time.Time) error {
	return c.IncrementBy(key, window, 1)
}

// IncrementBy implements [httprate.LimitCounter].
func (c *rateCounter) IncrementBy(key string, window time.Time, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(window)
	t := c.current[keyOf(key)]
	t.local += int32(n)
	t.balance()
	c.put(key, t)
	return nil
}

// Get implements [httprate.LimitCounter].
func (c *rateCounter) Get(key string, window, _ time.Time) (current, previous int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(window)
	return int(c.current[keyOf(key)].count()), int(c.previous[keyOf(key)].count()), nil
}

// turn begins a window. The caller holds mu.
func (c *rateCounter) turn(window time.Time) {
	if !window.After(c.window) {
		return
	}
	c.previous = nil
	if window.Equal(c.window.Add(rateWindow)) {
		c.previous = c.current
	}
	c.window, c.current = window, make(map[rateKey]tally)
}

// put stores a tally. When there are too many, this window begins anew: in a
// flood from so many addresses being exact matters less than memory and time.
// The caller holds mu.
func (c *rateCounter) put(key string, t tally) {
	k := keyOf(key)
	if _, ok := c.current[k]; !ok && len(c.current) >= maxRateKeys {
		c.current = make(map[rateKey]tally)
	}
	c.current[k] = t
}

func keyOf(key string) (k rateKey) {
	copy(k[:], key)
	return k
}
