package oauthclient_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// answered returns how many of the requests were answered with success.
func answered(requests []mcptest.Request) (n int) {
	for _, r := range requests {
		if r.Status >= 200 && r.Status < 300 {
			n++
		}
	}
	return n
}

// ended returns how many MCP sessions were ended with DELETE.
func ended(s *mcptest.Server) int {
	return answered(slices.DeleteFunc(s.Requests(), func(r mcptest.Request) bool { return r.Method != http.MethodDelete }))
}

// A user authorizes again while a call negotiates: the new grant ends the
// connection that the negotiation was to replace, and another account may have
// come. The call negotiates again, and the first MCP session is ended.
func TestNewGrantDuringANegotiation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	_, err := c.CallTool(t.Context(), "admin", nil)
	resp := w.approve(requireAuthorization(t, err))
	w.mcp.KillSessions()
	w.mcp.Reset()
	release := w.mcp.BlockRPC("initialize")
	t.Cleanup(release)
	called := make(chan error, 1)
	go func() { called <- w.call(c) }()
	require.Eventually(t, func() bool { return w.mcp.Count("initialize") == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.FinishAuth(t.Context(), resp))
	release()
	require.NoError(t, <-called)
	require.Equal(t, 2, answered(w.mcp.RPC("initialize")))
	require.Equal(t, 1, ended(w.mcp))
	require.Equal(t, 1, w.mcp.Executed("echo"))
}

// A user disconnects while a call negotiates: the new MCP session is ended.
func TestDisconnectDuringANegotiation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.mcp.KillSessions()
	w.mcp.Reset()
	release := w.mcp.BlockRPC("initialize")
	t.Cleanup(release)
	called := make(chan error, 1)
	go func() { called <- w.call(c) }()
	require.Eventually(t, func() bool { return w.mcp.Count("initialize") == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Disconnect(t.Context()))
	release()
	require.ErrorIs(t, <-called, oauthclient.ErrNotConnected)
	require.Zero(t, w.mcp.Executed("echo"))
	creds, err := w.creds.Load(t.Context())
	require.NoError(t, err)
	require.False(t, creds.Authorized())
	require.True(t, creds.Connection.IsZero())
	require.Equal(t, 1, w.as.Counts().Authorizations, "no user who has left is asked")
}

// readOnly is a store that can be read and, while full is set, not written.
type readOnly struct {
	oauthclient.CredentialStore
	full bool
}

func (s *readOnly) SetConnection(ctx context.Context, old, updated oauthclient.Connection) (oauthclient.Connection, error) {
	if s.full {
		return oauthclient.Connection{}, errors.New("read only")
	}
	return s.CredentialStore.SetConnection(ctx, old, updated)
}

// The server loses MCP sessions while the store cannot be written: the client
// goes on with connection data in memory, and saves them when it can.
func TestLostSessionWhileTheStoreIsReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	store := &readOnly{CredentialStore: w.creds}
	w.creds = store
	c := w.connected()
	store.full = true
	for range 2 {
		w.mcp.KillSessions()
		w.mcp.Reset()
		for range 3 {
			require.NoError(t, w.call(c))
		}
		require.Equal(t, 1, w.mcp.Count("initialize"))
		require.Equal(t, 3, w.mcp.Executed("echo"))
	}
	store.full = false
	require.NoError(t, w.call(c))
	w.mcp.Reset()
	require.NoError(t, w.call(w.client()))
	require.Zero(t, w.mcp.Count("initialize"), "another process has the connection data")
	require.NoError(t, c.Disconnect(t.Context()))
	require.Equal(t, 1, ended(w.mcp))
}

// Disconnect ends the MCP session that only this process knows.
func TestDisconnectWhileTheStoreIsReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	store := &readOnly{CredentialStore: w.creds}
	w.creds = store
	c := w.connected()
	store.full = true
	w.mcp.KillSessions()
	require.NoError(t, w.call(c))
	w.mcp.Reset()
	require.NoError(t, c.Disconnect(t.Context()))
	require.Equal(t, 1, ended(w.mcp))
}
