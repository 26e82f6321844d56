package oauthclient_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// wires are the kinds of MCP server there are.
var wires = []struct {
	name string
	opts mcptest.Options
}{
	{"2026-07-28, event stream", mcptest.Options{}},
	{"2026-07-28, JSON", mcptest.Options{JSONResponse: true}},
	{"2025-11-25 with sessions, event stream", mcptest.Options{Stateful: true}},
	{"2025-11-25 with sessions, JSON", mcptest.Options{Stateful: true, JSONResponse: true}},
	{"2025-06-18 without sessions", mcptest.Options{ProtocolVersions: []string{"2025-06-18"}}},
	{"2025-03-26 with sessions", mcptest.Options{Stateful: true, ProtocolVersions: []string{"2025-03-26"}}},
}

func TestConnectAuthorizeCall(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{RequireResource: true}, wire.opts)
			var redirects []string
			c := w.client(func(cfg *oauthclient.Config) {
				cfg.OnRedirect = func(u string) { redirects = append(redirects, u) }
			})
			required := w.begin(c)
			require.Equal(t, []string{required.AuthURL}, redirects)
			require.Equal(t, 1, w.as.Counts().Registrations)

			w.finish(c, required)
			require.Empty(t, w.mcp.Tokens(), "FinishAuth does not connect")
			tools, err := c.ListTools(t.Context())
			require.NoError(t, err)
			require.Len(t, tools, len(mcptest.Tools()))
			result, err := c.CallTool(t.Context(), "add", map[string]int{"a": 2, "b": 3})
			require.NoError(t, err)
			require.False(t, result.IsError)
			require.Equal(t, 1, w.mcp.Executed("add"))
			require.Equal(t, []string{w.stored().AccessToken.Reveal()}, w.mcp.Tokens())
			require.Len(t, redirects, 1)
			for _, req := range w.mcp.Requests() {
				require.NotContains(t, req.Path, req.Token+"?", "no token in a URL")
			}
		})
	}
}

func TestConnectToAnOpenServer(t *testing.T) {
	t.Parallel()
	srv := mcptest.New(mcptest.Options{})
	t.Cleanup(srv.Close)
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.ServerURL = srv.URL() })
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, w.call(c))
	require.Empty(t, w.as.Requests(""), "no server asked for authorization")
	require.NoError(t, c.Disconnect(t.Context()))
}

// One connect asks the server twice (server/discover, then initialize), and
// each answers 401.
func TestConnectBeginsOneAttempt(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			var redirects atomic.Int64
			c := w.client(func(cfg *oauthclient.Config) { cfg.OnRedirect = func(string) { redirects.Add(1) } })
			w.begin(c)
			require.EqualValues(t, 1, redirects.Load())
			require.Equal(t, 1, w.as.Counts().Registrations)
			require.Len(t, w.as.Requests(authtest.EndpointMetadata), 1)
			require.LessOrEqual(t, len(w.mcp.RPC("server/discover"))+len(w.mcp.RPC("initialize")), 1, "the second could only be refused as well")
		})
	}
}

func TestFiftyConnectsBeginOneAttempt(t *testing.T) {
	t.Parallel()
	const n = 50
	rows := []struct {
		name string
		fn   func(*oauthclient.MCPOAuthClient) func(context.Context) error
	}{
		{"Connect", func(c *oauthclient.MCPOAuthClient) func(context.Context) error { return c.Connect }},
		{"CallTool", func(c *oauthclient.MCPOAuthClient) func(context.Context) error {
			return func(ctx context.Context) error {
				_, err := c.CallTool(ctx, "echo", nil)
				return err
			}
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var redirects atomic.Int64
			c := w.client(func(cfg *oauthclient.Config) { cfg.OnRedirect = func(string) { redirects.Add(1) } })
			urls := map[string]bool{}
			for _, err := range together(t, n, w.as.Block(authtest.EndpointRegister), row.fn(c)) {
				urls[requireAuthorization(t, err).AuthURL] = true
			}
			require.Len(t, urls, 1)
			require.EqualValues(t, 1, redirects.Load())
			require.Equal(t, 1, w.as.Counts().Registrations)
		})
	}
}

// Calls on a live connection each get their own 401.
func TestFiftyRejectedCallsBeginOneAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRefreshTokens: true}, mcptest.Options{})
	var redirects atomic.Int64
	c := w.connected(func(cfg *oauthclient.Config) { cfg.OnRedirect = func(string) { redirects.Add(1) } })
	w.as.RevokeAll()
	w.as.Reset()
	errs := together(t, 50, w.as.Block(authtest.EndpointMetadata), func(ctx context.Context) error {
		_, err := c.CallTool(ctx, "echo", nil)
		return err
	})
	urls := map[string]bool{}
	for _, err := range errs {
		urls[requireAuthorization(t, err).AuthURL] = true
	}
	require.Len(t, urls, 1)
	require.EqualValues(t, 2, redirects.Load(), "one at connect, one now")
	require.Zero(t, w.as.Counts().Registrations, "the registration is used again")
	require.Zero(t, w.mcp.Executed("echo"))
}

func TestCallsShareAnOpenAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	first := requireAuthorization(t, w.call(c))
	require.Equal(t, first.AuthURL, requireAuthorization(t, w.call(c)).AuthURL)
	_, err := c.ListTools(t.Context())
	require.Equal(t, first.AuthURL, requireAuthorization(t, err).AuthURL)

	w.clock.Advance(6 * time.Minute)
	second := requireAuthorization(t, w.call(c))
	require.NotEqual(t, first.AuthURL, second.AuthURL, "too little of the 10 minutes was left")
	w.finish(c, first)
	require.NoError(t, w.call(c))
}

func TestConnectAgainGivesAFreshURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	first, second := w.begin(c), w.begin(c)
	require.NotEqual(t, first.AuthURL, second.AuthURL)
	require.NotEqual(t, first.AttemptID, second.AttemptID)
	require.Equal(t, 1, w.as.Counts().Registrations)
}

// Two tabs: either may be finished, and the other one does no harm afterwards.
func TestFinishAuth_EitherOfTwoAttemptsFinishesFirst(t *testing.T) {
	t.Parallel()
	for _, order := range []struct {
		name        string
		first, last int
	}{{"older first", 0, 1}, {"newer first", 1, 0}} {
		t.Run(order.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			attempts := []*oauthclient.AuthorizationRequiredError{w.begin(c), w.begin(c)}
			w.finish(c, attempts[order.first])
			require.NoError(t, w.call(c))
			token := w.stored().AccessToken
			w.finish(c, attempts[order.last])
			require.NoError(t, w.call(c))
			require.False(t, token.Equal(w.stored().AccessToken))
		})
	}
}

// A denial in one tab leaves what the other tab achieved.
func TestFinishAuth_DenialInAStaleTabKeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	stale, used := w.begin(c), w.begin(c)
	w.finish(c, used)
	callback, err := w.as.Deny(t.Context(), stale.AuthURL)
	require.NoError(t, err)
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.FinishAuth(t.Context(), parseCallback(t, callback)), &refused)
	require.Equal(t, "access_denied", refused.Code)
	require.NoError(t, w.call(c))
}

// A live MCP session says nothing about the credentials.
func TestConnect_NoticesDeadCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.as.RevokeAll()
	first := requireAuthorization(t, w.call(c))
	second := requireAuthorization(t, c.Connect(t.Context()))
	require.NotEqual(t, first.AuthURL, second.AuthURL)
	w.finish(c, second)
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, w.call(c))
}

func TestConnectGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	release := w.mcp.Block()
	defer release()
	c := w.client()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Connect(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	release := w.mcp.Block()
	defer release()
	c := w.client(func(cfg *oauthclient.Config) { cfg.ConnectTimeout = 5 * time.Millisecond })
	require.True(t, requireTemporary(t, c.Connect(t.Context())).Timeout)
}

func TestForceAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	c := w.client(policy(oauthclient.ServerPolicy{ForceAuthorization: true}))
	w.finish(c, w.begin(c))
	require.Empty(t, w.mcp.RPC("server/discover"), "nothing is sent before the user authorized")
	require.NoError(t, c.Connect(t.Context()))
	require.NoError(t, w.call(c))
	for _, req := range w.mcp.RPC("server/discover") {
		require.NotEmpty(t, req.Token)
	}
}
