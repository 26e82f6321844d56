package redistest

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy forwards TCP connections to a server, and stands for the network in
// between: it can be cut, go silent, and be slow.
type Proxy struct {
	target   string
	listener net.Listener

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when silent or delay changes
	conns   map[net.Conn]struct{}
	cut     bool
	silent  bool
	delay   time.Duration
	losing  []byte // the answer to what contains this is lost; nil for none
	wg      sync.WaitGroup
}

// NewProxy starts a proxy in front of addr.
func NewProxy(addr string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: addr, listener: l, changed: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut ends every connection and refuses new ones, until [Proxy.Heal].
func (p *Proxy) Cut() {
	p.set(func() { p.cut = true })
	p.Drop()
}

// Drop ends every connection and goes on accepting new ones.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Silence keeps every connection open and passes nothing on, as a network does
// that loses packets, until [Proxy.Heal].
func (p *Proxy) Silence() { p.set(func() { p.silent = true }) }

// Delay holds back what passes, in each direction, for d.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// LoseAnswerTo lets the next request that contains text pass, and ends its
// connection instead of passing on the answer. It does so once.
func (p *Proxy) LoseAnswerTo(text string) { p.set(func() { p.losing = []byte(text) }) }

// Heal undoes Cut, Silence, Delay, and LoseAnswerTo if that has not happened.
func (p *Proxy) Heal() {
	p.set(func() { p.cut, p.silent, p.delay, p.losing = false, false, 0, nil })
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Stop ends the proxy and its connections.
func (p *Proxy) Stop() {
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.add(client) {
			continue
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// add remembers a connection, or closes it if the network is cut.
func (p *Proxy) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) serve(client net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer p.forget(client)
	server, err := net.DialTimeout("tcp", p.target, commandTimeout)
	if err != nil || !p.add(server) {
		return
	}
	defer p.forget(server)
	var wg sync.WaitGroup
	var lose atomic.Bool
	forward := func(to, from net.Conn, pass func(chunk []byte) bool) {
		p.copy(ctx, to, from, pass)
		cancel()
		_ = client.Close()
		_ = server.Close()
	}
	wg.Go(func() {
		forward(server, client, func(request []byte) bool {
			if p.loses(request) {
				lose.Store(true)
			}
			return true
		})
	})
	wg.Go(func() { forward(client, server, func([]byte) bool { return !lose.Load() }) })
	wg.Wait()
}

// loses reports whether the answer to a request is to be lost.
func (p *Proxy) loses(request []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.losing == nil || !bytes.Contains(request, p.losing) {
		return false
	}
	p.losing = nil
	return true
}

func (p *Proxy) forget(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// copy forwards what pass lets through, and ends with the first that it does not.
func (p *Proxy) copy(ctx context.Context, to, from net.Conn, pass func(chunk []byte) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.hold(ctx)
			if !pass(buf[:n]) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits as long as the network is silent or slow.
func (p *Proxy) hold(ctx context.Context) {
	for {
		p.mu.Lock()
		changed, silent, delay, cut := p.changed, p.silent, p.delay, p.cut
		p.mu.Unlock()
		if cut || !silent && delay == 0 {
			return
		}
		var timer <-chan time.Time
		if !silent {
			timer = time.After(delay)
		}
		select {
		case <-timer:
			return
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
