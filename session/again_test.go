package session_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// again connects a session again.
func (w *world) again(t *testing.T, m *session.Manager, id string) (session.Info, error) {
	t.Helper()
	return m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id})
}

// A session that works is connected again on another replica: the server answers,
// no user is asked, and there is still one session.
func TestConnectAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	first := w.manager(t, func(c *session.Config) { c.MaxSessionsPerOwner = 1 })
	second := w.manager(t, func(c *session.Config) { c.MaxSessionsPerOwner = 1 })
	id := w.connected(t, first)
	before, tokens := w.mcp.Count("initialize"), len(w.as.TokenRequests("authorization_code"))
	info, err := second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, ServerURL: w.mcp.URL(), ServerName: "Mail"})
	require.NoError(t, err)
	require.Equal(t, id, info.ID.Reveal())
	require.Equal(t, "Mail", info.ServerName)
	require.Equal(t, session.StatusConnected, info.Status)
	require.Equal(t, before+1, w.mcp.Count("initialize"))
	require.Len(t, w.as.TokenRequests("authorization_code"), tokens)
	require.Zero(t, w.mcp.CountHTTP("DELETE"), "calls in progress use the MCP session")
	for _, m := range []*session.Manager{first, second} {
		requireWorks(t, m, alice, id)
		infos, err := m.Sessions(t.Context(), alice)
		require.NoError(t, err)
		require.Len(t, infos, 1)
	}
	require.Len(t, w.store.live("session"), 1)
}

// A session whose authorization has ended gets a new one, and stays the same
// session.
func TestConnectAgainAuthorizesAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.manager(t), w.manager(t)
	id := w.connected(t, first)
	w.as.RevokeAll()
	info, err := w.again(t, second, id)
	required := requireAuthorization(t, err)
	require.Equal(t, id, info.ID.Reveal())
	require.Equal(t, session.StatusAuthorizationRequired, info.Status)

	// Another page, with a callback URL of its own: another attempt.
	const elsewhere = "https://app.example/other/callback"
	_, err = first.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, CallbackURL: elsewhere})
	other := requireAuthorization(t, err)
	require.NotEqual(t, required.AttemptID, other.AttemptID)
	u, err := url.Parse(other.AuthURL)
	require.NoError(t, err)
	require.Equal(t, elsewhere, u.Query().Get("redirect_uri"))
	_, err = second.FinishAuth(t.Context(), alice, id, w.approve(t, other.AuthURL))
	require.NoError(t, err)
	requireWorks(t, first, alice, id)
	require.Len(t, w.store.live("session"), 1)
}

// Connecting again asks for the same rights as using the session, and changes
// nothing if it is refused or fails.
func TestConnectAgainRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	for name, p := range map[string]session.ConnectParams{
		"unknown":        {SessionID: session.GenerateSessionID()},
		"another secret": {SessionID: id[:26] + session.GenerateSessionID()[26:]},
		"no ID":          {SessionID: "x"},
	} {
		_, err := m.Connect(t.Context(), alice, p)
		require.ErrorIs(t, err, session.ErrNotFound, name)
	}
	_, err := m.Connect(t.Context(), session.Caller{Owner: "bob"}, session.ConnectParams{SessionID: id})
	require.ErrorIs(t, err, session.ErrNotFound)
	var input *session.InputError
	_, err = m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, ServerURL: "https://other.example/mcp"})
	require.ErrorAs(t, err, &input)
	require.Equal(t, "ServerURL", input.Field)
	_, err = m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, CallbackURL: "javascript:alert(1)"})
	require.ErrorAs(t, err, &input)
	requireStatus(t, m, id, session.StatusConnected)
	require.Len(t, w.store.live("session"), 1)

	w.mcp.Close()
	info, err := w.again(t, m, id)
	require.Error(t, err)
	require.Equal(t, id, info.ID.Reveal(), "the session stays")
	requireStatus(t, m, id, session.StatusConnected)
}

// A connect that no user finished leaves no session behind, whatever happened to
// it in the meantime.
func TestUnfinishedConnectEndsWithItsAttempt(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, w *world, m *session.Manager, id string) (end time.Duration){
		"nothing": func(*testing.T, *world, *session.Manager, string) time.Duration { return 10 * time.Minute },
		"used": func(t *testing.T, w *world, m *session.Manager, id string) time.Duration {
			w.advance(9 * time.Minute)
			requireAuthorization(t, call(t, m, id)) // another replica, another attempt
			return 10 * time.Minute
		},
		"connected again": func(t *testing.T, w *world, m *session.Manager, id string) time.Duration {
			w.advance(5 * time.Minute)
			_, err := w.again(t, m, id)
			requireAuthorization(t, err)
			w.advance(7 * time.Minute)
			requireStatus(t, m, id, session.StatusAuthorizing)
			return 3 * time.Minute
		},
		"refused": func(t *testing.T, w *world, m *session.Manager, id string) time.Duration {
			_, err := w.again(t, m, id)
			_, err = m.FinishAuth(t.Context(), alice, "", w.deny(t, requireAuthorization(t, err).AuthURL))
			require.Error(t, err)
			requireStatus(t, m, id, session.StatusFailed)
			return 10 * time.Minute
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m, peer := w.manager(t), w.manager(t)
			info, _ := w.connect(t, m, alice)
			end := meanwhile(t, w, peer, info.ID.Reveal())
			w.advance(end)
			_, err := peer.Status(t.Context(), alice, info.ID.Reveal())
			require.NoError(t, err, "a page that polls learns how it ended")
			w.advance(time.Minute)
			for _, replica := range []*session.Manager{m, peer} {
				_, err = replica.Status(t.Context(), alice, info.ID.Reveal())
				require.ErrorIs(t, err, session.ErrNotFound)
				infos, err := replica.Sessions(t.Context(), alice)
				require.NoError(t, err)
				require.Empty(t, infos)
			}
		})
	}
}

// A session that was authorized, or that needs no authorization, lives on.
func TestFinishedConnectLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	m := w.manager(t)
	info, err := m.Connect(t.Context(), alice, w.params())
	require.NoError(t, err)
	_, err = m.CallTool(t.Context(), alice, info.ID.Reveal(), "echo", nil)
	requireAuthorization(t, err)
	w.advance(23 * time.Hour)
	requireStatus(t, m, info.ID.Reveal(), session.StatusExpired)
	requireAuthorization(t, call(t, m, info.ID.Reveal()))
	w.advance(23 * time.Hour)
	requireStatus(t, m, info.ID.Reveal(), session.StatusExpired)
}

// A session that worked with a key, and was in use, lives on when the server
// refuses the key: the user connects it again with another one.
func TestSessionThatWorkedIsNotUnfinished(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "x-api-key", apiKey)
	m, peer := w.manager(t, allowKeys), w.manager(t, allowKeys)
	info, err := m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", Headers: secretMap("x-api-key", apiKey)})
	require.NoError(t, err)
	id := info.ID.Reveal()
	w.advance(20 * time.Hour)
	requireWorks(t, peer, alice, id)
	g.change("another", nil)
	_, err = w.again(t, peer, id)
	require.Error(t, err)
	requireStatus(t, m, id, session.StatusFailed)

	w.advance(20 * time.Hour)
	requireStatus(t, m, id, session.StatusFailed)
	_, err = m.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, Headers: secretMap("x-api-key", "another")})
	require.NoError(t, err)
	requireWorks(t, peer, alice, id)
}

// A session that the host uses by its client only lives on, too, when the server
// is away.
func TestSessionOfAClientIsNotUnfinished(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "x-api-key", "")
	m := w.manager(t)
	mine, err := oauthclient.New(oauthclient.Config{ServerURL: g.URL + "/mcp", CallbackURL: callbackURL})
	require.NoError(t, err)
	id := session.GenerateSessionID()
	require.NoError(t, m.SetClient(t.Context(), alice, id, mine))
	client, err := m.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	require.NoError(t, client.Connect(t.Context()))
	w.advance(20 * time.Hour)
	_, err = m.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	g.Close()
	require.Error(t, client.Reconnect(t.Context()))
	w.advance(20 * time.Hour)
	_, err = m.Status(t.Context(), alice, id)
	require.NoError(t, err)
}
