package session_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// However many calls come first on a fresh replica, it connects once.
func TestFirstCallsConnectOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"stateless": {}, "stateful": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			id := w.connected(t, w.manager(t))
			w.mcp.Reset()
			fresh := w.manager(t)
			requireNoErrors(t, concurrently(50, func(int) error { return call(t, fresh, id) }))
			require.Equal(t, 1, w.mcp.Count("server/discover"))
			require.LessOrEqual(t, w.mcp.Count("initialize"), 1)
			require.Equal(t, 50, w.mcp.Executed("echo"))
		})
	}
}

// liveManager is a Manager for tests without a network, and the ID of a session.
func liveManager(t *testing.T, change ...func(*session.Config)) (*session.Manager, []string) {
	t.Helper()
	cfg := session.Config{Store: memstore.New(memstore.Config{})}
	for _, fn := range change {
		fn(&cfg)
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	var ids []string
	for range 4 {
		ids = append(ids, session.GenerateSessionID())
		client, err := oauthclient.New(oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL})
		require.NoError(t, err)
		require.NoError(t, m.SetClient(t.Context(), alice, ids[len(ids)-1], client))
	}
	return m, ids
}

func liveClient(t *testing.T, m *session.Manager, id string) *oauthclient.MCPOAuthClient {
	t.Helper()
	client, err := m.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	return client
}

func TestIdleEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, ids := liveManager(t)
		kept, dropped := liveClient(t, m, ids[0]), liveClient(t, m, ids[1])
		for range 4 {
			time.Sleep(10 * time.Minute)
			require.Same(t, kept, liveClient(t, m, ids[0]), "in use")
		}
		require.NotSame(t, dropped, liveClient(t, m, ids[1]), "idle for 40 minutes")
		time.Sleep(20 * time.Minute)
		require.NotSame(t, kept, liveClient(t, m, ids[0]))
		require.NoError(t, m.Close())
	})
}

func TestLeastRecentlyUsedMakesRoom(t *testing.T) {
	t.Parallel()
	m, ids := liveManager(t, func(c *session.Config) { c.MaxLiveClients = 2 })
	defer m.Close()
	first, second := liveClient(t, m, ids[0]), liveClient(t, m, ids[1])
	require.Same(t, first, liveClient(t, m, ids[0]))
	liveClient(t, m, ids[2]) // the second one makes room
	require.Same(t, first, liveClient(t, m, ids[0]))
	require.NotSame(t, second, liveClient(t, m, ids[1]))
}

// Eviction ends the MCP session and loses nothing.
func TestEvictionLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.MaxLiveClients = 1 })
	ids := []string{w.connected(t, m), w.connected(t, m), w.connected(t, m)}
	for range 3 {
		for _, id := range ids {
			requireWorks(t, m, alice, id)
		}
	}
	require.NoError(t, m.Close())
	require.Equal(t, w.mcp.Count("initialize"), w.mcp.CountHTTP("DELETE"), "every MCP session was ended")
	require.Equal(t, 3, w.as.Counts().Authorizations)
}

// A call in progress is not disturbed by too many others, which go over the
// limit rather than fail; afterwards the limit holds again.
func TestBusyClientsAreNotEvicted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.MaxLiveClients = 1 })
	ids := []string{w.connected(t, m), w.connected(t, m), w.connected(t, m)}
	release := w.mcp.BlockRPC("tools/call")
	t.Cleanup(release)
	done := make(chan []error, 1)
	go func() { done <- concurrently(30, func(i int) error { return call(t, m, ids[i%3]) }) }()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 30 }, 20*time.Second, time.Millisecond)
	release()
	requireNoErrors(t, <-done)
	require.Equal(t, 30, w.mcp.Executed("echo"))
	opened := w.mcp.Count("initialize")
	require.Eventually(t, func() bool { return w.mcp.CountHTTP("DELETE") == opened-1 }, 10*time.Second, time.Millisecond, "one is left")
}

// A renewed authorization replaces the live client, but lets its operations
// finish, all pages of a list included, and closes it then.
func TestReplacedClientFinishesItsCalls(t *testing.T) {
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
	require.Eventually(t, func() bool { return w.mcp.Count("tools/list") == 1 }, 10*time.Second, time.Millisecond)
	_, err = m.FinishAuth(t.Context(), alice, id, resp)
	require.NoError(t, err)
	opened := w.mcp.Count("initialize")
	require.Zero(t, w.mcp.CountHTTP("DELETE"))
	release()
	require.NoError(t, <-done)
	require.Equal(t, opened, w.mcp.Count("initialize"), "all pages came over one MCP session")
	require.Eventually(t, func() bool { return w.mcp.CountHTTP("DELETE") == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, m.Close())
	require.Equal(t, opened, w.mcp.CountHTTP("DELETE"))
}

// The idle timeout does not count while a call is in progress.
func TestBusyIsNotIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.IdleTimeout = 4 * time.Second }) // looks every second
	busy, idle := w.connected(t, m), w.connected(t, m)
	kept, dropped := liveClient(t, m, busy), liveClient(t, m, idle)
	release := w.mcp.BlockRPC("tools/call")
	t.Cleanup(release)
	done := make(chan error, 1)
	go func() { done <- call(t, m, busy) }()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 1 }, 10*time.Second, time.Millisecond)
	w.advance(time.Minute)
	require.Eventually(t, func() bool { return w.mcp.CountHTTP("DELETE") == 1 }, 10*time.Second, 10*time.Millisecond)
	require.NotSame(t, dropped, liveClient(t, m, idle))
	require.Same(t, kept, liveClient(t, m, busy))
	release()
	require.NoError(t, <-done)
}

// Calls, evictions and removals at random: nothing breaks that should not.
func TestLiveClientsUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	small := func(c *session.Config) { c.MaxLiveClients = 2 }
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
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 10 }, 10*time.Second, time.Millisecond)
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
		"Sessions":     func() error { _, err := m.Sessions(ctx, "alice"); return err },
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
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 10*time.Second, time.Millisecond)
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
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	done := make(chan error, 1)
	go func() {
		_, err := m.FinishAuth(t.Context(), alice, "", resp)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("authorization_code")) == 1 }, 10*time.Second, time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	require.Eventually(t, func() bool { _, err := m.Sessions(t.Context(), ""); return err == session.ErrClosed }, 10*time.Second, time.Millisecond) //nolint:errorlint // exactly that
	require.Empty(t, closed, "Close waits")
	release()
	require.NoError(t, <-done)
	require.NoError(t, <-closed)
	requireWorks(t, w.manager(t), alice, info.ID.Reveal())
}

// Not parallel: it counts goroutines.
func TestCloseLeavesNoGoroutine(t *testing.T) { //nolint:paralleltest // see above
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t, func(c *session.Config) { c.MaxLiveClients = 2 })
	for range 3 {
		id := w.connected(t, m)
		requireNoErrors(t, concurrently(5, func(int) error { return call(t, m, id) }))
	}
	require.NotEmpty(t, goroutinesOf("mcpoauth/session.", "mcpoauth/oauthclient.", "go-sdk/mcp.(*Client"))
	require.NoError(t, m.Close())
	require.Empty(t, goroutinesOf("mcpoauth/session.(*Manager)", "mcpoauth/session.(*live", "mcpoauth/oauthclient."))
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
