package wire

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// closeGrace bounds how long Close waits for handlers that are still running.
const closeGrace = 5 * time.Second

// Listener is an HTTP server on the loopback interface.
type Listener struct {
	url  string
	srv  *http.Server
	stop context.CancelFunc
	once sync.Once

	mu       sync.Mutex // orders Add before Wait
	closed   bool
	inFlight sync.WaitGroup
}

// Listen serves h on addr, which defaults to a free port of 127.0.0.1.
// Requests run with a context that Close cancels, so a handler that waits for
// its request's context never outlives the Listener.
func Listen(addr string, h http.Handler) (*Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("wire: listen on %q: %w", addr, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Listener{url: "http://" + ln.Addr().String(), stop: stop}
	l.srv = &http.Server{
		Handler:           l.track(h),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = l.srv.Serve(ln) }() // always ends with http.ErrServerClosed
	return l, nil
}

// URL is the origin the Listener serves, without a trailing slash.
func (l *Listener) URL() string { return l.url }

// Close drops every connection, cancels every request, and waits a short
// while for the handlers to return. It may be called more than once.
func (l *Listener) Close() {
	l.once.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.stop()
		_ = l.srv.Close()
		done := make(chan struct{})
		go func() { l.inFlight.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(closeGrace):
		}
	})
}

func (l *Listener) track(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.enter() {
			panic(http.ErrAbortHandler)
		}
		defer l.inFlight.Done()
		h.ServeHTTP(w, r)
	})
}

func (l *Listener) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.inFlight.Add(1)
	}
	return !l.closed
}
