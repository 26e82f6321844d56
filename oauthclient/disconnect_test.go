package oauthclient_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestDisconnect_RevokesBothTokens(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			require.NoError(t, w.call(c))
			creds := w.stored()
			require.NoError(t, c.Disconnect(t.Context()))

			require.Equal(t, oauthclient.Credentials{}, w.stored())
			var revoked []string
			for _, req := range w.as.Requests(authtest.EndpointRevoke) {
				revoked = append(revoked, req.Form.Get("token_type_hint")+" "+req.Form.Get("token"))
			}
			require.Equal(t, []string{"refresh_token " + creds.RefreshToken.Reveal(), "access_token " + creds.AccessToken.Reveal()}, revoked)
			_, err := w.as.Verify(creds.AccessToken.Reveal())
			require.Error(t, err)
			requests := w.mcp.Requests()
			deletes := slices.DeleteFunc(requests, func(r mcptest.Request) bool { return r.Method != http.MethodDelete })
			if !wire.opts.Stateful {
				require.Empty(t, deletes)
				return
			}
			require.Len(t, deletes, 1)
			require.Equal(t, creds.AccessToken.Reveal(), deletes[0].Token)
			require.Less(t, deletes[0].Status, 300, "while the token was good")
		})
	}
}

func TestNothingWorksAfterDisconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	late := w.approve(requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false)))
	require.NoError(t, c.Disconnect(t.Context()))
	w.mcp.Reset()
	w.as.Reset()
	require.ErrorIs(t, c.Connect(t.Context()), oauthclient.ErrNotConnected)
	require.ErrorIs(t, w.call(c), oauthclient.ErrNotConnected)
	_, err := c.ListTools(t.Context())
	require.ErrorIs(t, err, oauthclient.ErrNotConnected)
	require.ErrorIs(t, c.FinishAuth(t.Context(), late), oauthclient.ErrNotConnected, "a late callback does not bring it back")
	require.NoError(t, c.Disconnect(t.Context()), "once more is no error")
	require.Empty(t, w.mcp.Requests())
	require.Empty(t, w.as.Requests(""))
	require.False(t, w.stored().Authorized())

	again := w.client()
	w.finish(again, w.begin(again))
	require.NoError(t, w.call(again), "another client on the same stores starts over")
}

// The user leaves while the code is exchanged.
func TestDisconnect_RaceWithFinishAuthLeavesNoTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	resp := w.approve(w.begin(c))
	release := w.as.Block(authtest.EndpointToken)
	finished := make(chan error, 1)
	go func() { finished <- c.FinishAuth(t.Context(), resp) }()
	require.Eventually(t, func() bool { return w.as.Held() == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Disconnect(t.Context()))
	release()
	require.ErrorIs(t, <-finished, oauthclient.ErrNotConnected)
	require.Equal(t, oauthclient.Credentials{}, w.stored())
	require.Equal(t, 1, w.as.Counts().Exchanges)
	require.Len(t, w.as.Requests(authtest.EndpointRevoke), 2, "what came is revoked")
}

// The credentials are gone soon, also when the servers are down.
func TestDisconnect_CredentialsAreGoneWhenServersAreDown(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name   string
		inject func(w *world) (revoked bool)
	}{
		{"revocation fails", func(w *world) bool { w.as.SetOutage(authtest.EndpointRevoke, authtest.StatusOutage(500)); return false }},
		{"revocation is refused", func(w *world) bool {
			w.as.SetOutage(authtest.EndpointRevoke, authtest.OAuthError(400, "unsupported_token_type", "no"))
			return false
		}},
		{"the refresh token's fails, the access token's is tried", func(w *world) bool { w.as.FailNext(authtest.EndpointRevoke, 1, 503); return true }},
		{"the authorization server is gone", func(w *world) bool { w.as.Close(); return false }},
		{"the MCP server is gone", func(w *world) bool { w.mcp.Close(); return true }},
		{"the MCP server refuses the DELETE", func(w *world) bool { w.mcp.SetOutage(authtest.StatusOutage(405)); return true }},
		{"the MCP server asks for authorization", func(w *world) bool { w.mcp.RejectNext(10); return true }},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
			c := w.connected()
			token := w.stored().AccessToken.Reveal()
			revoked := fault.inject(w)
			require.NoError(t, c.Disconnect(t.Context()))
			require.Equal(t, oauthclient.Credentials{}, w.stored())
			_, err := w.as.Verify(token)
			require.Equal(t, revoked, err != nil)
			require.Equal(t, 1, w.as.Counts().Authorizations)
			require.Len(t, w.as.Requests(authtest.EndpointRegister), 1, "a DELETE asks the user for nothing")
		})
	}
}

func TestDisconnectIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	c := w.client(func(cfg *oauthclient.Config) { cfg.RequestTimeout = 50 * time.Millisecond })
	release := w.as.Block(authtest.EndpointRevoke)
	defer release()
	require.NoError(t, c.Disconnect(t.Context()))
	require.False(t, w.stored().Authorized())
}

// The request that asked for it may be gone already.
func TestDisconnectOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, c.Disconnect(ctx))
	require.False(t, w.stored().Authorized())
	require.Equal(t, 2, w.as.Counts().Revocations)
}

func TestDisconnectWithoutRevocationEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { delete(doc, "revocation_endpoint") }}, mcptest.Options{})
	c := w.connected()
	require.NoError(t, c.Disconnect(t.Context()))
	require.Empty(t, w.as.Requests(authtest.EndpointRevoke))
	require.False(t, w.stored().Authorized())
}

func TestDisconnectWithoutConnecting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	w.mcp.Reset()
	require.NoError(t, w.client().Disconnect(t.Context()), "of a client that only has the credentials")
	require.Equal(t, 2, w.as.Counts().Revocations)
	require.Empty(t, w.mcp.Requests())
}

// A refresh that was on its way must not bring the credentials back.
func TestDisconnectDuringARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(2 * time.Hour)
	release := w.as.Block(authtest.EndpointToken)
	called, disconnected := make(chan error), make(chan error)
	go func() { called <- w.call(c) }()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)
	go func() { disconnected <- c.Disconnect(t.Context()) }()
	release()
	<-called // either way
	require.NoError(t, <-disconnected)
	require.Equal(t, oauthclient.Credentials{}, w.stored())
	require.Equal(t, 2, w.as.Counts().Revocations, "of the new tokens")
}
