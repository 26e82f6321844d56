package oauthclient_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A key rotation: the token ends before its time, the refresh token works.
func TestRejected_TokenIsRefreshedOnce(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			require.NoError(t, w.call(c))
			old := w.stored().AccessToken
			w.as.ExpireAccessTokens()
			w.mcp.Reset()
			require.NoError(t, w.call(c))
			require.Len(t, w.as.TokenRequests("refresh_token"), 1)
			require.Equal(t, []string{old.Reveal(), w.stored().AccessToken.Reveal()}, w.mcp.Tokens())
			require.Equal(t, 2, w.mcp.Count("tools/call"), "sent again, because the 401 was not executed")
			require.Equal(t, 1, w.mcp.Executed("echo"))
		})
	}
}

// A server that rejects the new token as well: one refresh, then the user.
func TestRejected_SecondRejectionAsksTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	require.NoError(t, w.call(c))
	w.mcp.Reset()
	w.mcp.RejectNext(1000)
	required := requireAuthorization(t, w.call(c))
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	require.Equal(t, 2, w.mcp.Count("tools/call"))
	for range 3 {
		require.Equal(t, required.AttemptID, requireAuthorization(t, w.call(c)).AttemptID)
	}
	require.Len(t, w.as.TokenRequests("refresh_token"), 1, "one forced refresh per token")
	w.mcp.RejectNext(0)
	require.NoError(t, w.call(c), "the token is kept; the trouble may have been the server's")
	w.finish(c, required)
	require.NoError(t, w.call(c))
	require.Equal(t, 2, w.mcp.Executed("echo"))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Other replicas renew the token while a call is tried again, and the server
// rejects every token: the user learns why to authorize.
func TestRejected_TokensThatOthersRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected(func(cfg *oauthclient.Config) {
		left := 2
		cfg.InsecureTransport = true
		cfg.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := w.http.Transport.RoundTrip(req)
			if err == nil && resp.StatusCode == http.StatusUnauthorized && req.Header.Get("Authorization") != "" && left > 0 {
				left--
				err = w.creds.Update(req.Context(), func(creds *oauthclient.Credentials) error {
					creds.AccessToken = oauthclient.NewSecret(w.as.Issue("alice", w.mcp.URL()))
					return nil
				})
			}
			return resp, err
		})
	})
	require.NoError(t, w.call(c))
	w.mcp.Reset()
	w.mcp.RejectNext(1000)
	require.Equal(t, oauthclient.ReasonTokenRejected, requireAuthorization(t, w.call(c)).Reason)
	require.Equal(t, 3, w.mcp.Count("tools/call"))
	require.Empty(t, w.as.TokenRequests("refresh_token"))
}

// The authorization server ends two authorizations in 10 minutes. It says so at
// the refresh, so the MCP server that rejects the token is not to blame.
func TestRejected_RefusedAtARefreshAheadIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AccessTokenTTL: 4 * time.Minute}, mcptest.Options{})
	c := w.connected()
	w.mcp.RejectNext(1000)
	required := requireAuthorization(t, w.call(c))
	w.mcp.RejectNext(0)
	w.finish(c, required)
	require.NoError(t, w.call(c))
	w.clock.Advance(200 * time.Second) // the refresh is due, the token is usable
	w.as.DropClients()
	w.as.RevokeAll()
	required = requireAuthorization(t, w.call(c))
	require.Equal(t, oauthclient.ReasonRevoked, required.Reason)
	w.finish(c, required)
	require.NoError(t, w.call(c))
}

// A token that brought a minute of work may be refreshed by force again.
func TestForcedRefreshIsAllowedAgainLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	for i := range 3 {
		w.as.ExpireAccessTokens()
		require.NoError(t, w.call(c))
		require.Equal(t, i+1, w.as.Counts().Refreshes)
		w.clock.Advance(61 * time.Second)
	}
}

func TestRejectedTokenWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRefreshTokens: true}, mcptest.Options{})
	c := w.connected()
	w.as.ExpireAccessTokens()
	w.finish(c, requireAuthorization(t, w.call(c)))
	require.NoError(t, w.call(c))
	require.Empty(t, w.as.TokenRequests("refresh_token"))
}

// No expires_in: the token is used until a 401 says that it is over.
func TestTokenLife_WithoutExpiryLastsUntilRejected(t *testing.T) {
	t.Parallel()
	for _, mode := range []authtest.ExpiresInMode{authtest.ExpiresInOmitted, authtest.ExpiresInZero} {
		w := newWorld(t, authtest.Options{ExpiresIn: mode}, mcptest.Options{})
		c := w.connected()
		require.True(t, w.stored().Expiry.IsZero())
		w.clock.Advance(59 * time.Minute)
		require.NoError(t, w.call(c))
		require.Zero(t, w.as.Counts().Refreshes)
		w.clock.Advance(2 * time.Minute)
		require.NoError(t, w.call(c))
		require.Equal(t, 1, w.as.Counts().Refreshes)
	}
}

// The refresh that a 401 forces may fail for a while only.
func TestRejected_OutageAtTheForcedRefreshIsTemporary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	before := w.stored()
	w.as.ExpireAccessTokens()
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(503))
	requireTemporary(t, w.call(c))
	require.Equal(t, before, w.stored())
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.clock.Advance(2 * time.Second)
	require.NoError(t, w.call(c))
}

func TestFiftyRejectedCallsRefreshOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.as.ExpireAccessTokens()
	w.mcp.Reset()
	errs := together(t, 50, w.as.Block(authtest.EndpointToken), func(ctx context.Context) error {
		_, err := c.CallTool(ctx, "echo", nil)
		return err
	})
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	require.Equal(t, 50, w.mcp.Executed("echo"))
}

// Another process has refreshed already: its token is used, none is spent.
func TestRejected_NewTokenOfAnotherReplicaIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.connected(), w.client()
	require.NoError(t, second.Connect(t.Context()))
	w.as.ExpireAccessTokens()
	require.NoError(t, w.call(first))
	w.mcp.Reset()
	require.NoError(t, w.call(second))
	require.Equal(t, []string{w.stored().AccessToken.Reveal()}, w.mcp.Tokens(), "the old token was not even sent")
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// The token is read for every request, not when the connection is made.
func TestTransport_NewTokenIsUsedOnALiveConnection(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			w.as.RevokeAll()
			w.finish(c, requireAuthorization(t, w.call(c)))
			require.NoError(t, w.call(c))
			require.Equal(t, 1, w.mcp.Executed("echo"))
		})
	}
}

// A 403 is a refusal, not a reason to refresh or to authorize.
func TestForbiddenIsAServerError(t *testing.T) {
	t.Parallel()
	headers := []string{``, `Bearer`, `Bearer error="access_denied"`, `Bearer scope="admin"`, `Basic error="insufficient_scope"`}
	for _, header := range headers {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			w.as.Reset()
			w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
				if header != "" {
					rw.Header().Set("WWW-Authenticate", header)
				}
				rw.WriteHeader(http.StatusForbidden)
			})
			var server *oauthclient.ServerError
			require.ErrorAs(t, w.call(c), &server)
			require.Equal(t, http.StatusForbidden, server.StatusCode)
			require.Empty(t, w.as.Requests(""))
			w.mcp.SetOutage(nil)
			require.NoError(t, w.call(c), "the connection goes on")
		})
	}
}

// Servers that ask for a token only when a tool is called.
func TestLazyServer_CallAsksTheUser(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			wire.opts.LazyAuth = true
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.client()
			require.NoError(t, c.Connect(t.Context()))
			tools, err := c.ListTools(t.Context())
			require.NoError(t, err)
			require.NotEmpty(t, tools)
			require.Empty(t, w.as.Requests(""))

			required := requireAuthorization(t, w.call(c))
			require.Equal(t, required.AuthURL, requireAuthorization(t, w.call(c)).AuthURL)
			_, err = c.ListTools(t.Context())
			require.NoError(t, err, "what needs no token goes on working")
			require.Zero(t, w.mcp.Executed("echo"))
			w.finish(c, required)
			require.NoError(t, w.call(c))
			require.Equal(t, 1, w.mcp.Executed("echo"))

			w.as.ExpireAccessTokens()
			require.NoError(t, w.call(c))
			require.Equal(t, 1, w.as.Counts().Refreshes)
		})
	}
}

// The user authorized while the anonymous call was on its way.
func TestTokenThatArrivedInTheMeantimeIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	c := w.client()
	required := requireAuthorization(t, w.call(c))
	release := w.mcp.BlockRPC("tools/call")
	done := make(chan error)
	go func() { done <- w.call(c) }()
	require.Eventually(t, func() bool { return w.mcp.Count("tools/call") == 2 }, 30*time.Second, time.Millisecond)
	w.finish(c, required)
	release()
	require.NoError(t, <-done)
	require.Equal(t, 1, w.mcp.Executed("echo"))
	require.Equal(t, 1, w.as.Counts().Authorizations)
	require.Zero(t, w.as.Counts().Refreshes)
}
