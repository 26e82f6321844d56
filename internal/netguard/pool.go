package netguard

import (
	"bytes"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Names is where names lead and which certificates prove them.
type Names struct {
	Resolver *net.Resolver // nil for the system's
	TLS      *tls.Config   // nil for the system's roots
}

// shards is the number of transports that share the servers among them.
const shards = 16

// inDoubt is how long a request must have waited for an answer before its end
// says something about the connection.
const inDoubt = time.Second

// pool keeps connections. With HTTP/2 all users of a server share one, and a
// network may forget it without a word: every request on it then waits until
// its time is up. A request that ended so replaces the transport that its
// server belongs to. Requests in progress keep the old one, so a doubt that was
// wrong costs a new connection and nothing else. Pings end a dead connection
// for requests that have more time.
type pool struct {
	make   func() *http.Transport
	seed   maphash.Seed
	shards [shards]atomic.Pointer[http.Transport]
}

// newPool makes a pool that connects to addresses that check agrees to.
func newPool(policy Policy, names Names, check func(netip.AddrPort) error) *pool {
	dialer := &net.Dialer{Timeout: policy.DialTimeout, KeepAlive: 30 * time.Second, Resolver: names.Resolver}
	dialer.Control = func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return forbidden("it is no IP address")
		}
		return check(addr)
	}
	proxy, dial := policy.proxy(dialer)
	p := &pool{seed: maphash.MakeSeed(), make: func() *http.Transport {
		return &http.Transport{
			Proxy:                  proxy,
			DialContext:            dial,
			TLSClientConfig:        policy.tls(names.TLS),
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: policy.PingAfter, PingTimeout: policy.PingTimeout},
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    100,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    policy.DialTimeout,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: policy.MaxHeaderBytes,
		}
	}}
	for i := range p.shards {
		p.shards[i].Store(p.make())
	}
	return p
}

// RoundTrip implements [http.RoundTripper].
func (p *pool) RoundTrip(req *http.Request) (*http.Response, error) {
	shard := &p.shards[maphash.String(p.seed, req.URL.Host)%shards]
	transport, began := shard.Load(), time.Now()
	resp, err := send(transport, req)
	if err != nil && req.Context().Err() != nil && time.Since(began) >= inDoubt {
		if shard.CompareAndSwap(transport, p.make()) {
			transport.CloseIdleConnections()
		}
	}
	return resp, err
}

// InMemory is the body of a request whose whole text is in memory.
type InMemory interface {
	io.ReadCloser
	Text() []byte
	// Sent is called when the text may have been sent. It stands for a Read.
	Sent()
}

// send sends a request. net/http writes the header and the body together only if it
// knows the type of the body. So send replaces a body that is in memory.
func send(transport *http.Transport, req *http.Request) (*http.Response, error) {
	body, ok := req.Body.(InMemory)
	if !ok || req.Context().Err() != nil {
		return transport.RoundTrip(req)
	}
	out := req.WithContext(req.Context())
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body.Text())), nil }
	out.Body, _ = out.GetBody()
	resp, err := transport.RoundTrip(out)
	_ = body.Close()
	if dial, failed := errors.AsType[*net.OpError](err); !failed || dial.Op != "dial" {
		body.Sent()
	}
	return resp, err
}

func (p *pool) closeIdle() {
	for i := range p.shards {
		p.shards[i].Load().CloseIdleConnections()
	}
}
