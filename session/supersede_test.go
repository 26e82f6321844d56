package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// issued are the refresh tokens that an authorization server has issued.
type issued struct {
	mu     sync.Mutex
	tokens []string
}

func (i *issued) note(answer map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens = append(i.tokens, answer["refresh_token"].(string))
}

// requireAllOver checks that each refresh token was either used, and replaced by that,
// or revoked.
func (i *issued) requireAllOver(t *testing.T, as *authtest.Server) {
	t.Helper()
	over := make(map[string]bool)
	for _, r := range as.TokenRequests("refresh_token") {
		over[r.Form.Get("refresh_token")] = true
	}
	for _, r := range as.Requests(authtest.EndpointRevoke) {
		over[r.Form.Get("token")] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, token := range i.tokens {
		require.True(t, over[token], "refresh token %d of %d still works", n, len(i.tokens))
	}
}

// meanwhile calls fn in the middle of the next write of a session for which when is true.
func (w *world) meanwhile(when func() bool, fn func()) (done *bool) {
	done = new(bool)
	w.store.set(func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && !*done && when() {
			*done = true
			fn()
		}
		return nil
	}, nil)
	return done
}

func always() bool { return true }

// A callback may finish while a session is removed: nothing of the grant is left.
func TestRemove_CallbackMeanwhileIsRevoked(t *testing.T) {
	t.Parallel()
	var tokens issued
	w := newWorld(t, authtest.Options{EditToken: tokens.note}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	w.as.RevokeAll()
	response := w.approve(t, requireAuthorization(t, call(t, m, id)).AuthURL)
	done := w.meanwhile(always, func() {
		_, err := peer.FinishAuth(context.Background(), alice, id, response)
		require.NoError(t, err)
	})
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	require.True(t, *done)
	require.Empty(t, w.store.live("session"))
	for _, token := range w.mcp.Tokens() {
		_, err := w.as.Verify(token)
		require.Error(t, err, "a token of a removed session")
	}
	require.Contains(t, revoked(w.as), tokens.tokens[1])
}

func revoked(as *authtest.Server) (tokens []string) {
	for _, r := range as.Requests(authtest.EndpointRevoke) {
		tokens = append(tokens, r.Form.Get("token"))
	}
	return tokens
}

// Who removes a session while it is refreshed need not wait.
func TestRemove_CallerWhoLeavesDuringARefresh(t *testing.T) {
	t.Parallel()
	var tokens issued
	w := newWorld(t, authtest.Options{EditToken: tokens.note}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	called := make(chan error, 1)
	go func() { called <- call(t, m, id) }()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, time.Minute, time.Millisecond)
	locks := w.store.count("lock session")
	removed := make(chan error, 1)
	ctx, leave := context.WithCancel(t.Context())
	go func() { removed <- peer.RemoveClient(ctx, alice, id) }()
	require.Eventually(t, func() bool { return w.store.count("lock session") > locks }, time.Minute, time.Millisecond)
	leave()
	release()
	require.NoError(t, <-removed)
	<-called // with the session, or without
	require.Empty(t, w.store.live("session"))
	tokens.requireAllOver(t, w.as)
}

// A new grant may be stored while the tokens of the old one are refreshed, and the
// other way round. Whichever comes first, nothing of either grant is left when the
// session is removed.
func TestRefresh_CallbackMeanwhile(t *testing.T) {
	t.Parallel()
	for client, authorize := range map[string]func(*testing.T, *session.Manager, string) error{
		"the same client": func(t *testing.T, m *session.Manager, id string) error {
			_, err := m.CallTool(t.Context(), alice, id, "admin", nil)
			return err
		},
		"another client": func(t *testing.T, m *session.Manager, id string) error {
			_, err := m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, FreshRegistration: true})
			return err
		},
	} {
		for _, first := range []string{"refresh", "callback"} {
			t.Run(client+", first the "+first, func(t *testing.T) {
				t.Parallel()
				var tokens issued
				w := newWorld(t, authtest.Options{EditToken: tokens.note}, mcptest.Options{})
				m, peer := w.manager(t), w.manager(t)
				id := w.connected(t, m)
				response := w.approve(t, requireAuthorization(t, authorize(t, m, id)).AuthURL)
				refresh := func() {
					w.as.ExpireAccessTokens()
					_ = call(t, peer, id) // it may need the new grant
				}
				callback := func() {
					_, err := m.FinishAuth(context.Background(), alice, id, response)
					require.NoError(t, err)
				}
				var done *bool
				if first == "refresh" {
					done = w.meanwhile(func() bool { return len(w.as.TokenRequests("authorization_code")) == 2 }, refresh)
					callback()
				} else {
					done = w.meanwhile(func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, callback)
					refresh()
				}
				require.True(t, *done)
				w.store.heal()
				requireWorks(t, m, alice, id)
				require.NoError(t, m.RemoveClient(t.Context(), alice, id))
				require.Empty(t, w.store.live("session"))
				require.GreaterOrEqual(t, len(tokens.tokens), 3)
				tokens.requireAllOver(t, w.as)
			})
		}
	}
}
