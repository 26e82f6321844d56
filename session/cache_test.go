package session_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// Calls on a replica that has never seen the session need no handshake: the
// record is the connection.
func TestFirstCallsOnAReplicaNeedNoHandshake(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"stateless": {}, "stateful": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			id := w.connected(t, w.manager(t))
			w.mcp.Reset()
			fresh := w.manager(t)
			requireNoErrors(t, concurrently(50, func(int) error { return call(t, fresh, id) }))
			require.Zero(t, w.mcp.Count("server/discover"))
			require.Zero(t, w.mcp.Count("initialize"))
			require.Equal(t, 50, w.mcp.Executed("echo"))
		})
	}
}

// liveClient returns the client of a session.
func liveClient(t *testing.T, m *session.Manager, id string) *oauthclient.MCPOAuthClient {
	t.Helper()
	client, err := m.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	return client
}

// A session that this replica has forgotten costs one Get and nothing else.
func TestForgottenSessionWorksAtOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"2026-07-28": {}, "2025-11-25": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			m := w.manager(t, func(c *session.Config) { c.CacheSize = 1 })
			ids := []string{w.connected(t, m), w.connected(t, m), w.connected(t, m)}
			for _, id := range ids {
				requireWorks(t, m, alice, id)
			}
			w.mcp.Reset()
			for range 2 {
				for _, id := range ids {
					requireWorks(t, m, alice, id)
				}
			}
			require.Equal(t, 6, w.mcp.Count("tools/call"))
			require.Equal(t, 6, w.mcp.CountHTTP("POST"), "no handshake, no list")
		})
	}
}

// A call in progress goes on while the cache loses its session.
func TestForgettingABusySession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.CacheSize = 1 })
	ids := []string{w.connected(t, m), w.connected(t, m), w.connected(t, m)}
	release := w.mcp.BlockRPC("tools/call")
	t.Cleanup(release)
	done := make(chan []error, 1)
	go func() { done <- concurrently(30, func(i int) error { return call(t, m, ids[i%3]) }) }()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 30 }, 30*time.Second, time.Millisecond)
	release()
	requireNoErrors(t, <-done)
	require.Equal(t, 30, w.mcp.Executed("echo"))
}

// A new authorization ends the connection, because another account may have
// come; an operation in progress goes on over the old MCP session.
func TestNewAuthorizationEndsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true, PageSize: 2})
	m := w.manager(t)
	id := w.connected(t, m)
	_, err := m.CallTool(t.Context(), alice, id, "admin", nil)
	resp := w.approve(t, requireAuthorization(t, err).AuthURL)
	release := w.mcp.BlockRPC("tools/list")
	t.Cleanup(release)
	done := make(chan error, 1)
	go func() {
		_, err := m.ListTools(t.Context(), alice, id)
		done <- err
	}()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/list") == 1 }, 30*time.Second, time.Millisecond)
	before := w.mcp.Count("initialize")
	_, err = m.FinishAuth(t.Context(), alice, id, resp)
	require.NoError(t, err)
	require.Equal(t, before+1, w.mcp.Count("initialize"))
	release()
	require.NoError(t, <-done)
	require.Equal(t, before+1, w.mcp.Count("initialize"), "all pages came over one MCP session")
}

// Calls, evictions and removals at random: nothing breaks that should not.
func TestSmallCacheUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	small := func(c *session.Config) { c.CacheSize = 2 }
	replicas := []*session.Manager{w.manager(t, small), w.manager(t, small)}
	var ids []string
	for range 6 {
		ids = append(ids, w.connected(t, replicas...))
	}
	doomed := ids[0]
	var removed atomic.Bool
	errs := concurrently(200, func(i int) error {
		if i == 100 {
			defer removed.Store(true)
			return replicas[0].RemoveClient(t.Context(), alice, doomed)
		}
		id := ids[i%6]
		err := call(t, replicas[i%2], id)
		if id == doomed && err == session.ErrNotFound { //nolint:errorlint // exactly that
			return nil
		}
		return err
	})
	requireNoErrors(t, errs)
	require.True(t, removed.Load())
	requireUnknown(t, replicas[1], alice, doomed)
}

func TestCloseDuringCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t)
	id := w.connected(t, m)
	release := w.mcp.BlockRPC("tools/call")
	t.Cleanup(release)
	done := make(chan []error, 1)
	go func() { done <- concurrently(10, func(int) error { return call(t, m, id) }) }()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 10 }, 30*time.Second, time.Millisecond)
	requireNoErrors(t, concurrently(3, func(int) error { return m.Close() }))
	for _, err := range <-done {
		require.Equal(t, session.ErrClosed, err)
	}
	release()
	requireWorks(t, w.manager(t), alice, id)
}

func TestClosedManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	_, pending := w.connect(t, m, alice)
	client := liveClient(t, m, id)
	source, err := m.TokenSource(t.Context(), alice, id)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close(), "closing again")
	w.mcp.Reset()

	ctx := t.Context()
	for method, call := range map[string]func() error{
		"Connect":      func() error { _, err := m.Connect(ctx, alice, w.params()); return err },
		"FinishAuth":   func() error { _, err := m.FinishAuth(ctx, alice, "", w.approve(t, pending.AuthURL)); return err },
		"ListTools":    func() error { _, err := m.ListTools(ctx, alice, id); return err },
		"CallTool":     func() error { _, err := m.CallTool(ctx, alice, id, "echo", nil); return err },
		"Status":       func() error { _, err := m.Status(ctx, alice, id); return err },
		"GetClient":    func() error { _, err := m.GetClient(ctx, alice, id); return err },
		"SetClient":    func() error { return m.SetClient(ctx, alice, session.GenerateSessionID(), client) },
		"RemoveClient": func() error { return m.RemoveClient(ctx, alice, id) },
		"TokenSource":  func() error { _, err := m.TokenSource(ctx, alice, id); return err },
		"Token":        func() error { _, err := source.Token(); return err },
		"Sessions":     func() error { _, err := m.Sessions(ctx, alice); return err },
	} {
		require.Equal(t, session.ErrClosed, call(), method)
	}
	_, err = client.CallTool(ctx, "echo", nil)
	require.ErrorIs(t, err, session.ErrClosed, "a client that the host has kept")
	require.Empty(t, w.mcp.Requests())
	requireWorks(t, w.manager(t), alice, id)
}

// A refresh token that was sent when Close comes is not lost.
func TestCloseWaitsForARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	done := make(chan error, 1)
	go func() { done <- call(t, m, id) }()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	require.Equal(t, session.ErrClosed, <-done, "the call ends at once")
	require.Empty(t, closed, "Close waits")
	release()
	require.NoError(t, <-closed)
	requireWorks(t, w.manager(t), alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// The same for a code.
func TestCloseWaitsForACallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	done, release := w.finishHeld(t.Context(), t, m, resp)
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	require.Eventually(t, func() bool { _, err := m.Sessions(t.Context(), session.Caller{}); return err == session.ErrClosed }, 30*time.Second, time.Millisecond) //nolint:errorlint // exactly that
	require.Empty(t, closed, "Close waits")
	release()
	require.NoError(t, <-done)
	require.NoError(t, <-closed)
	requireWorks(t, w.manager(t), alice, info.ID.Reveal())
}

// Not parallel: it counts goroutines.
func TestNoGoroutineBetweenOperations(t *testing.T) { //nolint:paralleltest // see above
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.CacheSize = 2 })
	for range 3 {
		id := w.connected(t, m)
		requireNoErrors(t, concurrently(5, func(int) error { return call(t, m, id) }))
	}
	require.Eventually(t, func() bool {
		return len(goroutinesOf("mcpoauth/session.(*Manager)", "mcpoauth/oauthclient.", "mcpoauth/internal/wire.")) == 0
	}, 30*time.Second, time.Millisecond, "none stays between operations")
	require.NoError(t, m.Close())
}

// goroutinesOf returns the stacks that mention one of names, but for the test's.
func goroutinesOf(names ...string) (found []string) {
	buf := make([]byte, 1<<20)
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "goroutinesOf") {
			continue
		}
		for _, name := range names {
			if strings.Contains(stack, name) {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}
