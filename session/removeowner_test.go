package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// When an account is deleted, all its sessions and grants end on all replicas, and
// those of others go on.
func TestRemoveOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.manager(t), w.manager(t)
	ids := []string{w.connected(t, first), w.connected(t, second), w.connected(t, first, second)}
	_, pending := w.connect(t, first, alice)
	response := w.approve(t, pending.AuthURL)
	bob := session.Caller{Owner: "bob"}
	other := w.connectedAs(t, bob, first)

	require.NoError(t, second.RemoveOwner(t.Context(), "alice"))
	for _, m := range []*session.Manager{first, second} {
		for _, id := range ids {
			require.ErrorIs(t, call(t, m, id), session.ErrNotFound)
		}
		infos, err := m.Sessions(t.Context(), alice)
		require.NoError(t, err)
		require.Empty(t, infos)
	}
	_, err := first.FinishAuth(t.Context(), alice, "", response)
	require.Error(t, err, "an authorization in progress brings nothing back")
	require.Len(t, w.store.live("session"), 1)
	require.Len(t, w.store.live("owner"), 1)
	require.Equal(t, 6, w.as.Counts().Revocations, "an access and a refresh token each")
	requireWorks(t, first, bob, other)

	require.NoError(t, second.RemoveOwner(t.Context(), "alice"), "nothing is left to do")
	var input *session.InputError
	require.ErrorAs(t, first.RemoveOwner(t.Context(), ""), &input)
}

// Sessions that were connected during the removal are removed as well.
func TestRemoveOwnerWhileConnecting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	first, second := w.manager(t), w.manager(t)
	for range 5 {
		_, err := first.Connect(t.Context(), alice, w.params())
		require.NoError(t, err)
	}
	errs := concurrently(4, func(i int) error {
		if i == 0 {
			return second.RemoveOwner(t.Context(), "alice")
		}
		_, err := first.Connect(t.Context(), alice, w.params())
		return err
	})
	require.NoError(t, errs[0])
	require.NoError(t, second.RemoveOwner(t.Context(), "alice"))
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
}

// Sessions can be removed also if the host no longer allows the header that they
// were connected with, so that there is no client for them.
func TestRemoveSessionsWithoutAClient(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "x-api-key", apiKey)
	m := w.manager(t, allowKeys)
	var ids []string
	for range 2 {
		info, err := m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", Headers: secretMap("x-api-key", apiKey)})
		require.NoError(t, err)
		ids = append(ids, info.ID.Reveal())
	}
	later := w.manager(t)
	require.NoError(t, later.RemoveClient(t.Context(), alice, ids[0]))
	require.NoError(t, later.RemoveOwner(t.Context(), alice.Owner))
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
}

// A session that cannot be read keeps none of the others.
func TestRemoveOwnerWithASessionThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	unreadable := w.connected(t, m)
	w.connected(t, m)
	w.connected(t, m)
	w.store.fail("get", "session:"+unreadable[:26], -1)
	requireStoreError(t, m.RemoveOwner(t.Context(), alice.Owner))
	require.Equal(t, 4, w.as.Counts().Revocations, "an access and a refresh token each")
	w.store.heal()
	require.NoError(t, m.RemoveOwner(t.Context(), alice.Owner))
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
	require.Equal(t, 6, w.as.Counts().Revocations)
}
