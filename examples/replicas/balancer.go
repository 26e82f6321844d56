package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
)

// maxBody bounds what the load balancer keeps of a request, to send it again.
const maxBody = 1 << 20

// balancer is a load balancer: round robin, and on to the next host when one
// does not accept connections. Sessions are not pinned to hosts.
type balancer struct {
	hosts []string // host:port
	next  atomic.Uint64
}

func (b *balancer) handler() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme = "http"
			r.Out.Host = r.In.Host
		},
		Transport: b,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "no host answers", http.StatusBadGateway)
		},
	}
}

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	var body []byte
	if req.Body != nil {
		if body, err = io.ReadAll(io.LimitReader(req.Body, maxBody)); err != nil {
			return nil, err
		}
	}
	first := int(b.next.Add(1) % uint64(len(b.hosts)))
	for i := range b.hosts {
		out := req.Clone(req.Context())
		out.URL.Host = b.hosts[(first+i)%len(b.hosts)]
		out.Body = io.NopCloser(bytes.NewReader(body))
		resp, err = http.DefaultTransport.RoundTrip(out)
		// Only what was never sent may be sent again: a host that stopped
		// answering may have acted on the request.
		if dial, ok := errors.AsType[*net.OpError](err); err == nil || !ok || dial.Op != "dial" {
			break
		}
	}
	return resp, err
}
