package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A callback that is not bound to the browser or user who began lets an
// attacker have a victim authorize the attacker's session.
func TestBinding_CallbackIsForTheBrowserAndOwnerThatBegan(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		began, came session.Caller
		accepted    bool
	}{
		"same owner, same browser":                     {alice, alice, true},
		"same owner, another browser":                  {alice, session.Caller{Owner: "alice", Binding: "phone"}, false},
		"same owner, no cookie":                        {alice, session.Caller{Owner: "alice"}, false},
		"another owner, another browser":               {alice, bob, false},
		"another owner, same browser":                  {alice, session.Caller{Owner: "bob", Binding: alice.Binding}, false},
		"no login, same browser":                       {alice, session.Caller{Binding: alice.Binding}, false},
		"no login, another browser":                    {alice, session.Caller{Binding: "browser-b"}, false},
		"no login, no cookie":                          {alice, nobody, false},
		"ownerless, same browser":                      {session.Caller{Binding: "x"}, session.Caller{Binding: "x"}, true},
		"ownerless, another browser":                   {session.Caller{Binding: "x"}, session.Caller{Binding: "y"}, false},
		"ownerless, no cookie":                         {session.Caller{Binding: "x"}, nobody, false},
		"ownerless, the hash of the cookie":            {session.Caller{Binding: "x"}, session.Caller{Binding: "4e8f1c0e"}, false},
		"ownerless, a login appears":                   {session.Caller{Binding: "x"}, session.Caller{Owner: "bob", Binding: "x"}, false},
		"unbound and ownerless, from anywhere":         {nobody, session.Caller{Binding: "y"}, true},
		"unbound and ownerless, from nowhere":          {nobody, nobody, true},
		"unbound and ownerless, a login appears":       {nobody, bob, false},
		"unbound with owner, same owner":               {session.Caller{Owner: "alice"}, alice, true},
		"unbound with owner, another owner":            {session.Caller{Owner: "alice"}, bob, false},
		"unbound with owner, no login":                 {session.Caller{Owner: "alice"}, session.Caller{Binding: "y"}, false},
		"unbound with owner, no login and no cookie":   {session.Caller{Owner: "alice"}, nobody, false},
		"same owner, the cookie is one of several":     {alice, session.Caller{Owner: "alice", Binding: "phone", OtherBindings: []string{"tablet", alice.Binding, "desk"}}, true},
		"same owner, several other cookies":            {alice, session.Caller{Owner: "alice", Binding: "phone", OtherBindings: []string{"tablet", ""}}, false},
		"another owner, the cookie is one of several":  {alice, session.Caller{Owner: "bob", Binding: "phone", OtherBindings: []string{alice.Binding}}, false},
		"an owner named like the empty binding's hash": {session.Caller{Owner: "alice"}, session.Caller{Owner: "", Binding: ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m, peer := w.manager(t), w.manager(t)
			info, required := w.connect(t, m, row.began)
			resp := w.approve(t, required.AuthURL)
			done, err := peer.FinishAuth(t.Context(), row.came, "", resp)
			if row.accepted {
				require.NoError(t, err)
				require.Equal(t, session.StatusConnected, done.Status)
				return
			}
			require.Equal(t, oauthclient.ErrInvalidCallback, err)
			require.Equal(t, session.Info{}, done)
			require.Empty(t, w.as.TokenRequests("authorization_code"), "the code must go nowhere")
			now, err := m.Status(t.Context(), row.began, info.ID.Reveal())
			require.NoError(t, err)
			require.Equal(t, info, now, "nothing has changed")

			_, err = m.FinishAuth(t.Context(), row.began, "", resp)
			require.NoError(t, err, "whoever began can still finish")
		})
	}
}

// The same for a refusal: from another browser it does not end the attempt.
func TestBinding_ForeignDenialChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	_, err := m.FinishAuth(t.Context(), bob, "", w.deny(t, required.AuthURL))
	require.Equal(t, oauthclient.ErrInvalidCallback, err)
	requireStatus(t, m, info.ID.Reveal(), session.StatusAuthorizing)
	_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
}

// The browser that an attempt is bound to is the one whose call began it, also
// on a connection that another browser opened.
func TestBinding_IsThatOfTheCallThatBegan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	m := w.manager(t)
	desk, phone := session.Caller{Binding: "desk"}, session.Caller{Binding: "phone"}
	id := w.connectedAs(t, desk, m)
	w.as.RevokeAll()
	_, err := m.CallTool(t.Context(), phone, id, "echo", nil)
	onPhone := requireAuthorization(t, err)
	_, err = m.CallTool(t.Context(), desk, id, "echo", nil)
	onDesk := requireAuthorization(t, err)
	require.NotEqual(t, onPhone.AttemptID, onDesk.AttemptID, "an attempt is of no use in another browser")

	resp := w.approve(t, onPhone.AuthURL)
	_, err = m.FinishAuth(t.Context(), desk, id, resp)
	require.Equal(t, oauthclient.ErrInvalidCallback, err)
	_, err = m.FinishAuth(t.Context(), phone, id, resp)
	require.NoError(t, err)
	requireWorks(t, m, desk, id)
}

// A session ID given along with the callback must be that of the attempt.
func TestBinding_CallbackWithAnotherSessionIDIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	other, _ := w.connect(t, m, alice)
	info, required := w.connect(t, m, alice)
	id := info.ID.Reveal()
	resp := w.approve(t, required.AuthURL)
	for name, wrong := range map[string]string{
		"another session":         other.ID.Reveal(),
		"right key, wrong secret": id[:26] + other.ID.Reveal()[26:],
		"unknown":                 session.GenerateSessionID(),
		"the key alone":           id[:26],
		"no ID at all":            "x",
	} {
		_, err := m.FinishAuth(t.Context(), alice, wrong, resp)
		require.Equal(t, oauthclient.ErrInvalidCallback, err, name)
	}
	require.Empty(t, w.as.TokenRequests("authorization_code"))
	_, err := m.FinishAuth(t.Context(), alice, id, resp)
	require.NoError(t, err)
}
