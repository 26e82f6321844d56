package httpapi

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// inFlight counts the requests of every caller that are being served. A nil
// inFlight bounds nothing.
type inFlight struct {
	most int

	mu    sync.Mutex
	count map[rateKey]int // without zeros
}

// newInFlight allows most requests at a time; nil for a negative number.
func newInFlight(most int) *inFlight {
	if most < 0 {
		return nil
	}
	return &inFlight{most: most, count: make(map[rateKey]int)}
}

var errTooManyAtOnce = &failure{
	status: http.StatusTooManyRequests, code: CodeRateLimited, retryAfter: time.Second,
	text: "There are too many requests at the same time. Wait for one to end.",
}

// enter counts the request until leave is called, or refuses it.
func (c *call) enter() (leave func(), err error) {
	f := c.h.inFlight
	if f == nil {
		return func() {}, nil
	}
	who, _ := c.rateKey()
	if who == "" {
		return func() {}, nil
	}
	sum := sha256.Sum256([]byte(who))
	key := rateKey(sum[:rateKeyLen])
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[key] >= f.most {
		return nil, errTooManyAtOnce
	}
	f.count[key]++
	return func() { f.leave(key) }, nil
}

func (f *inFlight) leave(key rateKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[key]--; f.count[key] == 0 {
		delete(f.count, key)
	}
}
