package session_test

import (
	"cmp"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// A removal revokes the tokens at the authorization server.
func TestRemove_RevokesBothTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	requireWorks(t, m, alice, id)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))

	var hints []string
	for _, r := range w.as.Requests(authtest.EndpointRevoke) {
		hints = append(hints, r.Form.Get("token_type_hint"))
		require.Equal(t, 200, r.Status)
		if r.Form.Get("token_type_hint") == "refresh_token" {
			require.False(t, w.as.RefreshTokenValid(r.Form.Get("token")))
		}
	}
	require.Equal(t, []string{"refresh_token", "access_token"}, hints)
	for _, token := range w.mcp.Tokens() {
		_, err := w.as.Verify(token)
		require.Error(t, err)
	}
	require.Equal(t, 1, w.mcp.CountHTTP("DELETE"))
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
	requireUnknown(t, m, alice, id)
}

// The replica that removes the session has never used it.
func TestRemove_ReplicaThatNeverUsedTheSessionRevokes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	id := w.connected(t, w.manager(t))
	require.NoError(t, w.manager(t).RemoveClient(t.Context(), alice, id))
	require.Equal(t, 2, w.as.Counts().Revocations)
	require.Empty(t, w.store.live("session"))
}

// Whether the servers answer or not, the session is gone here.
func TestRemove_SessionIsGoneWhileServersAreDown(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func(*world){
		"both closed":             func(w *world) { w.as.Close(); w.mcp.Close() },
		"revocation answers 500":  func(w *world) { w.as.SetOutage(authtest.EndpointRevoke, authtest.StatusOutage(500)) },
		"the MCP server 500":      func(w *world) { w.mcp.SetOutage(authtest.StatusOutage(500)) },
		"the refresh token fails": func(w *world) { w.as.FailNext(authtest.EndpointRevoke, 1, 400) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
			m := w.manager(t)
			id := w.connected(t, m)
			down(w)
			require.NoError(t, m.RemoveClient(t.Context(), alice, id))
			requireUnknown(t, m, alice, id)
			require.Empty(t, w.store.live("session"))
		})
	}
}

// The user who removes may leave; the goodbye is said all the same.
func TestRemove_OutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	ctx, leave := context.WithCancel(t.Context())
	w.store.set(nil, func(op, _ string) error {
		if op == "delete" {
			leave()
		}
		return nil
	})
	require.NoError(t, m.RemoveClient(ctx, alice, id))
	require.Equal(t, 2, w.as.Counts().Revocations)
	w.store.heal()
	requireUnknown(t, m, alice, id)
}

// impatient is a store whose Delete heeds its context, and reports a failure
// although the record is gone.
type impatient struct {
	store.SessionStore
	leave func()
	fail  bool
}

func (s impatient) Delete(ctx context.Context, key string) error {
	s.leave()
	err := s.SessionStore.Delete(ctx, key)
	if err == nil && s.fail && kindOf(key) == "session" {
		return errOutage
	}
	return cmp.Or(err, ctx.Err())
}

// A record that is deleted has its tokens revoked, also if the remover leaves at
// that moment or the store's answer is lost.
func TestDeletedSessionsAreRevoked(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"the remover leaves": false, "the store's answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			ctx, leave := context.WithCancel(t.Context())
			t.Cleanup(leave)
			m := w.manager(t, func(c *session.Config) { c.Store = impatient{w.store, leave, fails} })
			id := w.connected(t, m)
			require.NoError(t, m.RemoveClient(ctx, alice, id))
			require.Equal(t, 2, w.as.Counts().Revocations)
			requireUnknown(t, m, alice, id)
		})
	}
}

// Close waits for a removal that has begun: the record is gone, so its tokens
// must be revoked.
func TestCloseWaitsForARemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t)
	id := w.connected(t, m)
	release := w.as.Block(authtest.EndpointRevoke)
	t.Cleanup(release)
	removed, closed := make(chan error, 1), make(chan error, 1)
	go func() { removed <- m.RemoveClient(t.Context(), alice, id) }()
	require.Eventually(t, func() bool { return len(w.as.Requests(authtest.EndpointRevoke)) > 0 }, 30*time.Second, time.Millisecond)
	go func() { closed <- m.Close() }()
	require.Eventually(t, func() bool {
		_, err := m.Status(t.Context(), alice, id)
		return errors.Is(err, session.ErrClosed)
	}, 30*time.Second, time.Millisecond)
	select {
	case <-closed:
		require.Fail(t, "Close has not waited")
	default:
	}
	release()
	require.NoError(t, <-closed)
	require.Equal(t, 2, w.as.Counts().Revocations)
	require.Equal(t, 1, w.mcp.CountHTTP("DELETE"))
	require.NoError(t, <-removed)
}

// A refresh in progress is let finish first, so that its new tokens are among
// the revoked ones; and it brings nothing back.
func TestRemove_DuringARefreshRevokesTheNewTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	called := make(chan error, 1)
	go func() { called <- call(t, m, id) }()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)
	removed := make(chan error, 1)
	locks := w.store.count("lock session")
	go func() { removed <- peer.RemoveClient(t.Context(), alice, id) }()
	require.Eventually(t, func() bool { return w.store.count("lock session") > locks }, 30*time.Second, time.Millisecond)
	release()
	require.NoError(t, <-removed)
	<-called // either it was quick enough or it was not
	require.Equal(t, 2, w.as.Counts().Revocations)
	for _, r := range w.as.Requests(authtest.EndpointRevoke) {
		require.NotEqual(t, w.as.TokenRequests("refresh_token")[0].Form.Get("refresh_token"), r.Form.Get("token"), "the new one is revoked")
	}
	require.Empty(t, w.store.live("session"))
	requireUnknown(t, m, alice, id)
}

// Two removals at once: one does it, the other finds nothing.
func TestRemove_TwiceAtOnceRemovesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	id := w.connected(t, replicas[0])
	removed := 0
	for _, err := range concurrently(10, func(i int) error { return replicas[i%2].RemoveClient(t.Context(), alice, id) }) {
		if err == nil {
			removed++
			continue
		}
		require.Equal(t, session.ErrNotFound, err)
	}
	require.Equal(t, 1, removed)
	require.Equal(t, 2, w.as.Counts().Revocations)
	require.Eventually(t, func() bool { return w.mcp.CountHTTP("DELETE") == 1 }, 30*time.Second, time.Millisecond, "whichever replica had the MCP session")
}

// Calls during a removal end with a result or with "no such session".
func TestCallsDuringARemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t)
	id := w.connected(t, m)
	for _, err := range concurrently(60, func(i int) error {
		if i == 30 {
			return m.RemoveClient(t.Context(), alice, id)
		}
		return call(t, m, id)
	}) {
		if err != nil {
			require.Equal(t, session.ErrNotFound, err)
		}
	}
	require.Empty(t, w.store.live("session"))
}

func TestGetClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	client := liveClient(t, m, id)
	require.Equal(t, w.mcp.URL(), client.ServerURL())
	w.as.ExpireAccessTokens()
	_, err := client.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err)
	requireWorks(t, w.manager(t), alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes, "the client's refresh is everybody's")

	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	_, err = client.CallTool(t.Context(), "echo", nil)
	require.ErrorIs(t, err, session.ErrNotFound)
}

// A host that disconnects a client it was lent has used up the authorization,
// but not the session.
func TestLentClientIsDisconnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	require.NoError(t, liveClient(t, m, id).Disconnect(t.Context()))
	require.ErrorIs(t, call(t, m, id), oauthclient.ErrNotConnected)
	required := requireAuthorization(t, call(t, m, id))
	_, err := m.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	requireWorks(t, m, alice, id)
}

// ownClient is a client that the host has made and authorized itself.
func ownClient(t *testing.T, w *world) *oauthclient.MCPOAuthClient {
	t.Helper()
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: w.mcp.URL(), CallbackURL: callbackURL, Now: w.clock.Now,
		Shared: oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})},
	})
	require.NoError(t, err)
	required := requireAuthorization(t, client.Connect(t.Context()))
	require.NoError(t, client.FinishAuth(t.Context(), w.approve(t, required.AuthURL)))
	require.NoError(t, client.Connect(t.Context()))
	return client
}

func TestSetClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m, peer := w.manager(t), w.manager(t)
	client := ownClient(t, w)
	id := session.GenerateSessionID()
	require.NoError(t, m.SetClient(t.Context(), alice, id, client))
	requireStatus(t, peer, id, session.StatusConnected)
	requireWorks(t, peer, alice, id)
	requireWorks(t, m, alice, id)
	requireUnknown(t, m, bob, id)
	require.Equal(t, id, latest(t, peer, "alice"))
	require.Equal(t, 1, w.as.Counts().Authorizations)
	w.as.ExpireAccessTokens()
	requireWorks(t, m, alice, id)
	require.NoError(t, peer.RemoveClient(t.Context(), alice, id))
	require.Equal(t, 2, w.as.Counts().Revocations)
}

func TestSetClientRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) { c.MaxSessionsPerOwner = 2 })
	id := w.connected(t, m)
	client := ownClient(t, w)
	for name, row := range map[string]struct{ id, reason string }{
		"no ID":         {"", "is not an ID"},
		"a made-up ID":  {"session-1", "is not an ID"},
		"an ID in use":  {id, "is in use"},
		"a key in use":  {id[:26] + session.GenerateSessionID()[26:], "is in use"},
		"another's key": {w.connectedAs(t, bob, m), "is in use"},
	} {
		err := m.SetClient(t.Context(), alice, row.id, client)
		var input *session.InputError
		require.ErrorAs(t, err, &input, name)
		require.Equal(t, "sessionID", input.Field)
		require.Contains(t, input.Reason, row.reason)
		if row.id != "" {
			require.NotContains(t, err.Error(), row.id)
		}
	}
	infos, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, 1, "the list is as it was")
	requireWorks(t, m, alice, id)
	_, err = client.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err, "a client that was refused goes on")
	require.NoError(t, m.SetClient(t.Context(), alice, session.GenerateSessionID(), client))
	third := ownClient(t, w)
	revoked := w.as.Counts().Revocations
	require.ErrorAs(t, m.SetClient(t.Context(), alice, session.GenerateSessionID(), third), new(*session.LimitError))
	require.Equal(t, revoked, w.as.Counts().Revocations)
	_, err = third.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err, "a client that is one too many goes on, too")
}

// An ID that is used again for another server: the live client that a replica
// still has for the first must not get the second's tokens.
func TestUsedIDForAnotherServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	other := mcptest.New(mcptest.Options{Auth: w.as})
	t.Cleanup(other.Close)
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	requireWorks(t, peer, alice, id)
	kept := liveClient(t, peer, id)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	w.mcp.Reset()

	second := *w
	second.mcp = other
	w.advance(time.Second)
	require.NoError(t, m.SetClient(t.Context(), alice, id, ownClient(t, &second)))
	requireWorks(t, peer, alice, id)
	require.Equal(t, 1, other.Executed("echo"))
	_, err := kept.CallTool(t.Context(), "echo", nil)
	require.ErrorIs(t, err, session.ErrNotFound)
	require.Empty(t, w.mcp.Requests(), "the first server hears nothing of the second's tokens")
}
