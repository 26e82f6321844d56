package session_test

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

const callbackURL = "https://app.example/api/mcp/auth/callback"

var sealKey = []byte("0123456789abcdef0123456789abcdef")

// alice is the usual caller.
var alice = session.Caller{Owner: "alice", Binding: "browser-a"}

// world is an authorization server, a protected MCP server and a store.
type world struct {
	clock *testclock.Clock
	as    *authtest.Server
	mcp   *mcptest.Server
	mem   *memstore.Store
	store *spy // on mem
}

func newWorld(t *testing.T, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	return newWorldAt(t, testclock.New(time.Now()), as, mcp)
}

// newWorldAt is newWorld with a clock that other servers have as well.
func newWorldAt(t *testing.T, now *testclock.Clock, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	w := &world{clock: now}
	as.Now = w.clock.Now
	w.as = authtest.New(as)
	t.Cleanup(w.as.Close)
	mcp.Auth = w.as
	w.mcp = mcptest.New(mcp)
	t.Cleanup(w.mcp.Close)
	w.mem = memstore.New(memstore.Config{Now: w.clock.Now})
	w.store = newSpy(w.mem)
	return w
}

// advance moves the clock.
func (w *world) advance(d time.Duration) {
	w.clock.Advance(d)
	w.mem.Sweep()
}

// manager starts a replica on the world's store.
func (w *world) manager(t *testing.T, change ...func(*session.Config)) *session.Manager {
	t.Helper()
	cfg := session.Config{Store: w.store, SealKeys: [][]byte{sealKey}, Now: w.clock.Now}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	for _, fn := range change {
		fn(&cfg)
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Close())
		(&http.Client{Transport: cfg.Client.Transport}).CloseIdleConnections()
	})
	return m
}

// shortLease is for tests of a store that never comes back: saving tokens is
// tried for as long as the lease lasts.
func shortLease(c *session.Config) {
	c.Client.RequestTimeout, c.LockTTL = 3*time.Second, 6100*time.Millisecond
}

func (w *world) params() session.ConnectParams {
	return session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callbackURL}
}

// connect begins a session and returns the authorization it asks for.
func (w *world) connect(t *testing.T, m *session.Manager, caller session.Caller) (session.Info, *oauthclient.AuthorizationRequiredError) {
	t.Helper()
	info, err := m.Connect(t.Context(), caller, w.params())
	return info, requireAuthorization(t, err)
}

func requireAuthorization(t *testing.T, err error) *oauthclient.AuthorizationRequiredError {
	t.Helper()
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, err, &required)
	return required
}

func requireStoreError(t *testing.T, err error) {
	t.Helper()
	var failed *session.StoreError
	require.ErrorAs(t, err, &failed)
}

// approve plays the browser and returns what comes back.
func (w *world) approve(t *testing.T, authURL string) oauthclient.AuthorizationResponse {
	t.Helper()
	callback, err := w.as.Approve(context.Background(), authURL)
	require.NoError(t, err)
	return parseCallback(t, callback)
}

// deny is approve with a user who says no.
func (w *world) deny(t *testing.T, authURL string) oauthclient.AuthorizationResponse {
	t.Helper()
	callback, err := w.as.Deny(context.Background(), authURL)
	require.NoError(t, err)
	return parseCallback(t, callback)
}

func parseCallback(t *testing.T, callback string) oauthclient.AuthorizationResponse {
	t.Helper()
	u, err := url.Parse(callback)
	require.NoError(t, err)
	return oauthclient.ParseAuthorizationResponse(u.Query())
}

// connected returns a session that alice has authorized, begun on the first
// replica and finished on the last.
func (w *world) connected(t *testing.T, replicas ...*session.Manager) string {
	t.Helper()
	return w.connectedAs(t, alice, replicas...)
}

func (w *world) connectedAs(t *testing.T, caller session.Caller, replicas ...*session.Manager) string {
	t.Helper()
	info, required := w.connect(t, replicas[0], caller)
	done, err := replicas[len(replicas)-1].FinishAuth(t.Context(), caller, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status, done.Reason)
	return info.ID.Reveal()
}

func requireWorks(t *testing.T, m *session.Manager, caller session.Caller, id string) {
	t.Helper()
	result, err := m.CallTool(t.Context(), caller, id, "echo", map[string]any{"n": 1})
	require.NoError(t, err)
	require.False(t, result.IsError)
}

func requireStatus(t *testing.T, m *session.Manager, id string, want session.Status) session.Info {
	t.Helper()
	info, err := m.Status(t.Context(), alice, id)
	require.NoError(t, err)
	require.Equal(t, want, info.Status, info.Reason)
	return info
}

// concurrently runs fn n times at once and returns the errors.
func concurrently(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func requireNoErrors(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// call is a tool call for concurrently.
func call(t *testing.T, m *session.Manager, id string) error {
	_, err := m.CallTool(t.Context(), alice, id, "echo", nil)
	return err
}
