package netguard_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

// middlebox forwards connections to an HTTP/2 server until it forgets the open ones.
// Then nothing passes, and neither side notices.
type middlebox struct {
	net.Listener
	to string

	mu        sync.Mutex
	open      []*forwarded
	connected int
}

type forwarded struct{ lost chan struct{} }

// newMiddlebox starts a server and a middlebox, and returns a client for it.
func newMiddlebox(t *testing.T, policy netguard.Policy, h http.Handler) (*middlebox, *http.Client, string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	box := &middlebox{Listener: listener, to: srv.Listener.Addr().String()}
	t.Cleanup(func() { _ = listener.Close() })
	go box.serve()
	policy.AllowLoopback = true
	c := client(policy, netguard.Names{TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig})
	t.Cleanup(c.CloseIdleConnections)
	return box, c, "https://" + listener.Addr().String()
}

func (m *middlebox) serve() {
	for {
		in, err := m.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", m.to)
		if err != nil {
			_ = in.Close()
			return
		}
		f := &forwarded{lost: make(chan struct{})}
		m.mu.Lock()
		m.open = append(m.open, f)
		m.connected++
		m.mu.Unlock()
		go f.copy(in, out)
		go f.copy(out, in)
	}
}

func (f *forwarded) copy(to, from net.Conn) {
	defer to.Close()
	chunk := make([]byte, 32<<10)
	for {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		select {
		case <-f.lost:
		default:
			_, _ = to.Write(chunk[:n])
		}
	}
}

func (m *middlebox) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.open {
		close(f.lost)
	}
	m.open = nil
}

func (m *middlebox) connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connected
}

// doubtful is more time without an answer than the pool needs to doubt a connection,
// with room for a busy machine.
const doubtful = 4 * time.Second

// ask sends a request that may take limit and returns what was answered.
func ask(t *testing.T, c *http.Client, url string, limit time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.Proto + " " + string(body), err
}

// A network forgets a connection that all users of a server share: one request
// finds out, the next one has a connection that works.
func TestPool_ForgottenConnectionStopsOneRequest(t *testing.T) {
	t.Parallel()
	box, c, url := newMiddlebox(t, netguard.Policy{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	for range 2 {
		answer, err := ask(t, c, url, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "HTTP/2.0 hello", answer)
	}
	require.Equal(t, 1, box.connections())
	box.forget()
	_, err := ask(t, c, url, doubtful)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	answer, err := ask(t, c, url, time.Minute)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0 hello", answer)
	require.Equal(t, 2, box.connections())
}

// A doubt that was wrong takes the connection from no request that uses it.
func TestPool_DoubtSparesRequestsInProgress(t *testing.T) {
	t.Parallel()
	release, arrived := make(chan struct{}), make(chan struct{}, 2)
	box, c, url := newMiddlebox(t, netguard.Policy{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "hello")
	}))
	_, err := ask(t, c, url, time.Minute)
	require.NoError(t, err)
	slow := make(chan error, 1)
	go func() {
		_, err := ask(t, c, url+"/slow", time.Minute)
		slow <- err
	}()
	<-arrived
	_, err = ask(t, c, url+"/slow", doubtful)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = ask(t, c, url, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, box.connections())
	close(release)
	require.NoError(t, <-slow)
}

// A request that its caller gave up at once says nothing about a connection.
func TestPool_QuickCancelLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	box, c, url := newMiddlebox(t, netguard.Policy{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}))
	t.Cleanup(func() { close(release) })
	_, err := ask(t, c, url, time.Minute)
	require.NoError(t, err)
	_, err = ask(t, c, url+"/slow", 50*time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = ask(t, c, url, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1, box.connections())
}

// A ping that gets no answer ends the connection for requests that have time.
func TestPool_UnansweredPingEndsTheConnection(t *testing.T) {
	t.Parallel()
	box, c, url := newMiddlebox(t, netguard.Policy{PingAfter: 200 * time.Millisecond, PingTimeout: 2 * time.Second},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	_, err := ask(t, c, url, time.Minute)
	require.NoError(t, err)
	box.forget()
	_, err = ask(t, c, url, time.Minute)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	_, err = ask(t, c, url, time.Minute)
	require.NoError(t, err)
}
