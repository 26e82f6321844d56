package wire

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Faults makes requests fail on demand. A key names what fails: an endpoint,
// a JSON-RPC method. Its zero value injects nothing and is ready to use.
type Faults struct {
	mu   sync.Mutex
	keys map[string]*fault
	held atomic.Int64
}

type fault struct {
	next   []http.HandlerFunc // one-shot answers, used up first
	drops  int                // answers to lose after the work was done
	outage http.HandlerFunc   // stays until it is removed
	delay  time.Duration
	block  chan struct{} // closed on release
}

// Next answers the next n requests for key with h instead of serving them.
func (f *Faults) Next(key string, n int, h http.HandlerFunc) {
	f.edit(key, func(ft *fault) {
		for range n {
			ft.next = append(ft.next, h)
		}
	})
}

// Drop serves the next n requests for key completely, then cuts the connection
// instead of answering: the server did it, the client never learns.
func (f *Faults) Drop(key string, n int) {
	f.edit(key, func(ft *fault) { ft.drops += n })
}

// Outage answers every request for key with h until it is called with nil.
func (f *Faults) Outage(key string, h http.HandlerFunc) {
	f.edit(key, func(ft *fault) { ft.outage = h })
}

// Delay makes every request for key wait before it is served; 0 removes it.
func (f *Faults) Delay(key string, d time.Duration) {
	f.edit(key, func(ft *fault) { ft.delay = d })
}

// Block holds every request for key until release is called, which serves
// the waiting ones. It may be called more than once.
func (f *Faults) Block(key string) (release func()) {
	gate := make(chan struct{})
	f.edit(key, func(ft *fault) { ft.block = gate })
	return sync.OnceFunc(func() {
		close(gate)
		f.edit(key, func(ft *fault) {
			if ft.block == gate {
				ft.block = nil
			}
		})
	})
}

// Held tells how many requests are held by Block. One whose client has gone is
// given up, a moment later.
func (f *Faults) Held() int { return int(f.held.Load()) }

// Reset removes every fault. Requests held by Block stay held until their
// release is called.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = nil
}

// Serve runs h under the faults set for key.
func (f *Faults) Serve(key string, h http.Handler, w http.ResponseWriter, r *http.Request) {
	wait, delay := f.waits(key)
	if wait != nil {
		f.held.Add(1)
		select {
		case <-wait:
			f.held.Add(-1)
		case <-r.Context().Done():
			f.held.Add(-1)
			panic(http.ErrAbortHandler)
		}
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	instead, drop := f.take(key)
	switch {
	case instead != nil:
		instead(w, r)
	case drop:
		h.ServeHTTP(&discardWriter{header: make(http.Header)}, r)
		panic(http.ErrAbortHandler)
	default:
		h.ServeHTTP(w, r)
	}
}

func (f *Faults) waits(key string) (chan struct{}, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft := f.keys[key]
	if ft == nil {
		return nil, 0
	}
	return ft.block, ft.delay
}

// take uses up one fault of key.
func (f *Faults) take(key string) (instead http.HandlerFunc, drop bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ft := f.keys[key]
	switch {
	case ft == nil:
		return nil, false
	case len(ft.next) > 0:
		instead, ft.next = ft.next[0], ft.next[1:]
		return instead, false
	case ft.outage != nil:
		return ft.outage, false
	case ft.drops > 0:
		ft.drops--
		return nil, true
	}
	return nil, false
}

func (f *Faults) edit(key string, change func(*fault)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys == nil {
		f.keys = make(map[string]*fault)
	}
	ft := f.keys[key]
	if ft == nil {
		ft = new(fault)
		f.keys[key] = ft
	}
	change(ft)
}

// Status answers with status and a short text body.
func Status(status int) http.HandlerFunc {
	return StatusRetryAfter(status, 0)
}

// StatusRetryAfter is [Status] with a Retry-After header in seconds,
// rounded up, left out when retryAfter is zero.
func StatusRetryAfter(status int, retryAfter time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((retryAfter+time.Second-1)/time.Second)))
		}
		http.Error(w, http.StatusText(status), status)
	}
}

// Body answers with status and body.
func Body(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// MalformedJSON answers 200 with a JSON document that ends too early.
func MalformedJSON() http.HandlerFunc {
	return Body(http.StatusOK, "application/json", `{"broken": "`)
}

// Abort cuts the connection without an answer.
func Abort() http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
}

type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *discardWriter) WriteHeader(int)             {}
func (w *discardWriter) Flush()                      {}
