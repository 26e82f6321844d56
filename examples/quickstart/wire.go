package main

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// The parties, as the narrative calls them.
const (
	browser    = "browser"
	host       = "host"
	mcpServer  = "MCP server"
	authServer = "auth server"
)

// exchange is one HTTP request and its answer.
type exchange struct {
	from, to string // parties
	req      *http.Request
	sent     []byte // the request's body

	mu       sync.Mutex     // guards what follows
	resp     *http.Response // its header and status; nil while there is none
	err      error
	received bytes.Buffer // as much of the answer's body as was read
	done     bool
}

// answer returns what is known of the answer by now; status 0 for none.
func (x *exchange) answer() (status int, header http.Header, body []byte, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.resp == nil {
		return 0, nil, nil, x.err
	}
	return x.resp.StatusCode, x.resp.Header, bytes.Clone(x.received.Bytes()), nil
}

// finish notes that nothing more of the answer will be read.
func (x *exchange) finish(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.err, x.done = err, true
}

func (x *exchange) finished() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.done
}

// wire is where everything that goes over the network is noted, in order.
type wire struct {
	mu        sync.Mutex
	exchanges []*exchange
	parties   map[string]string // by the host and port of their URL
}

// name says which party listens at a host and port.
func (w *wire) name(party, hostPort string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parties[hostPort] = party
}

// take returns the exchanges since the last time, in the order of their
// beginning. With finishedOnly it stops at the first that is in progress.
func (w *wire) take(finishedOnly bool) []*exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.exchanges)
	if finishedOnly {
		for n = 0; n < len(w.exchanges) && w.exchanges[n].finished(); n++ {
		}
	}
	taken := w.exchanges[:n:n]
	w.exchanges = w.exchanges[n:]
	return taken
}

// tap returns a transport that notes what a party sends through base.
func (w *wire) tap(from string, base http.RoundTripper) http.RoundTripper {
	return &tap{wire: w, from: from, base: base}
}

type tap struct {
	wire *wire
	from string
	base http.RoundTripper
}

// Unwrap leads to the transport that has the network policy.
func (t *tap) Unwrap() http.RoundTripper { return t.base }

// RoundTrip implements [http.RoundTripper].
func (t *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{from: t.from, req: req.Clone(req.Context())}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		x.sent = body
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	t.wire.mu.Lock()
	x.to = t.wire.parties[req.URL.Host]
	t.wire.exchanges = append(t.wire.exchanges, x)
	t.wire.mu.Unlock()

	resp, err := t.base.RoundTrip(req)
	if err != nil {
		x.finish(err)
		return nil, err
	}
	x.mu.Lock()
	x.resp = &http.Response{StatusCode: resp.StatusCode, Header: resp.Header.Clone()}
	x.mu.Unlock()
	resp.Body = &tee{body: resp.Body, exchange: x}
	return resp, nil
}

// tee copies a body while its reader reads it.
type tee struct {
	body     io.ReadCloser
	exchange *exchange
}

// Read implements [io.Reader].
func (t *tee) Read(p []byte) (int, error) {
	n, err := t.body.Read(p)
	t.exchange.mu.Lock()
	defer t.exchange.mu.Unlock()
	t.exchange.received.Write(p[:n])
	return n, err
}

// Close implements [io.Closer].
func (t *tee) Close() error {
	t.exchange.finish(nil)
	return t.body.Close()
}
