package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

var (
	bob    = session.Caller{Owner: "bob", Binding: "browser-b"}
	nobody = session.Caller{}
)

// All reasons why a caller may not have a session give one and the same
// answer.
func TestOwners_ForeignSessionDoesNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	live := w.connected(t, m)
	ownerless := w.connectedAs(t, nobody, m)
	removed, expired := w.connected(t, m), w.connected(t, m)
	require.NoError(t, m.RemoveClient(t.Context(), alice, removed))
	for range 5 { // all but one are used
		w.advance(5 * time.Hour)
		requireWorks(t, m, alice, live)
		requireWorks(t, m, nobody, ownerless)
	}
	before := w.mcp.Count("tools/call")

	for name, row := range map[string]struct {
		caller session.Caller
		id     string
	}{
		"another owner":                         {bob, live},
		"another owner in the same browser":     {session.Caller{Owner: "bob", Binding: alice.Binding}, live},
		"no owner":                              {session.Caller{Binding: alice.Binding}, live},
		"an owner's prefix":                     {session.Caller{Owner: "alic"}, live},
		"another case":                          {session.Caller{Owner: "Alice"}, live},
		"an owner, for a session without":       {alice, ownerless},
		"a session that never existed":          {alice, session.GenerateSessionID()},
		"removed":                               {alice, removed},
		"expired":                               {alice, expired},
		"another owner, removed":                {bob, removed},
		"right key, another session's secret":   {alice, live[:26] + ownerless[26:]},
		"another session's key and own secret":  {nobody, live[:26] + ownerless[26:]},
		"right key and secret in another order": {alice, live[26:] + live[:26]},
	} {
		t.Run(name, func(t *testing.T) {
			requireUnknown(t, m, row.caller, row.id)
			requireUnknown(t, peer, row.caller, row.id)
		})
	}
	require.Equal(t, before, w.mcp.Count("tools/call"), "nothing reached the MCP server")
	requireWorks(t, m, alice, live)
}

// A list that names another owner's session, as one may when its own session
// ended during an outage and the ID was used again, gives nothing away.
func TestOwners_ListThatNamesAForeignSessionShowsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.store.fail("swap", "owner:", -1)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	w.store.heal()
	require.NoError(t, m.SetClient(t.Context(), bob, id, ownClient(t, w)))
	infos, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Empty(t, infos)
	require.Equal(t, id, latest(t, m, "bob"))
}

func TestSessionsOfAnOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	var want []string
	for range 3 {
		want = append(want, w.connected(t, m, peer))
		w.advance(time.Second)
	}
	w.connectedAs(t, bob, m)
	w.connectedAs(t, nobody, m)
	require.NoError(t, peer.RemoveClient(t.Context(), alice, want[1]))
	want = []string{want[0], want[2]}

	for _, replica := range []*session.Manager{m, peer, w.manager(t)} {
		infos, err := replica.Sessions(t.Context(), alice)
		require.NoError(t, err)
		require.Len(t, infos, 2)
		for i, info := range infos { // oldest first
			require.Equal(t, want[i], info.ID.Reveal())
			require.Equal(t, "alice", info.Owner)
			requireWorks(t, replica, alice, info.ID.Reveal())
		}
		for _, owner := range []string{"", "carol", "Alice", "alice "} {
			infos, err = replica.Sessions(t.Context(), session.Caller{Owner: owner})
			require.NoError(t, err)
			require.NotNil(t, infos)
			require.Empty(t, infos, owner)
		}
	}
}

// An owner's list lives as long as the last of its sessions, and one that was
// lost comes back with the next use.
func TestSessionsSurvivesAsLongAsTheSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id, unused := w.connected(t, m), w.connected(t, m)
	listed := func() []session.Info {
		infos, err := m.Sessions(t.Context(), alice)
		require.NoError(t, err)
		return infos
	}
	w.advance(23 * time.Hour)
	require.Len(t, listed(), 2)
	requireWorks(t, m, alice, id)
	for range 10 {
		w.advance(20 * time.Hour)
		requireWorks(t, m, alice, id)
	}
	infos := listed()
	require.Len(t, infos, 1)
	require.NotEqual(t, unused, infos[0].ID.Reveal())

	require.NoError(t, w.mem.Delete(t.Context(), w.store.live("owner")[0]))
	require.Empty(t, listed())
	w.advance(6 * time.Minute)
	requireWorks(t, m, alice, id)
	require.Len(t, listed(), 1)
}

// A record that the store still has after its end, because the store's clock
// is behind, is neither usable nor listed.
func TestExpiredInSpiteOfTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	id := w.connected(t, w.manager(t))
	_, pending := w.connect(t, w.manager(t), alice)
	resp := w.approve(t, pending.AuthURL)
	late := w.manager(t, skewed(w, 25*time.Hour))
	requireUnknown(t, late, alice, id)
	infos, err := late.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Empty(t, infos)
	for _, skew := range []time.Duration{25 * time.Hour, 11 * time.Minute} { // the session's end, the attempt's end
		_, err = w.manager(t, skewed(w, skew)).FinishAuth(t.Context(), alice, "", resp)
		require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
	}
	require.Len(t, w.as.TokenRequests("authorization_code"), 1)
}

func TestMaxSessionsPerOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	limit := func(c *session.Config) { c.MaxSessionsPerOwner = 3 }
	m, peer := w.manager(t, limit), w.manager(t, limit)
	ids := []string{w.connected(t, m), w.connected(t, peer), w.connected(t, m)}
	requireFull := func() {
		t.Helper()
		for _, replica := range []*session.Manager{m, peer} {
			_, err := replica.Connect(t.Context(), alice, w.params())
			var full *session.LimitError
			require.ErrorAs(t, err, &full)
			require.Equal(t, session.LimitError{Limit: "MaxSessionsPerOwner", Value: 3}, *full)
		}
		require.Len(t, w.store.live("session"), 3, "a refused one leaves nothing")
	}
	requireFull()
	w.connectedAs(t, bob, m)
	require.NoError(t, m.RemoveClient(t.Context(), bob, latest(t, m, "bob")))
	for range 5 { // no limit without an owner
		id := w.connectedAs(t, nobody, m)
		require.NoError(t, m.RemoveClient(t.Context(), nobody, id))
	}

	require.NoError(t, m.RemoveClient(t.Context(), alice, ids[1]))
	w.connected(t, peer)
	requireFull()
	w.advance(23 * time.Hour)
	requireWorks(t, m, alice, ids[0])
	w.advance(2 * time.Hour) // ends all others
	w.connected(t, m)
	w.connected(t, peer)
	requireFull()
	requireWorks(t, peer, alice, ids[0])
}

func latest(t *testing.T, m *session.Manager, owner string) string {
	t.Helper()
	infos, err := m.Sessions(t.Context(), session.Caller{Owner: owner})
	require.NoError(t, err)
	require.NotEmpty(t, infos)
	return infos[len(infos)-1].ID.Reveal()
}

// The limit holds against a burst, and what was let in is listed: a session
// that is just being made does not count as one that has ended.
func TestMaxSessionsPerOwnerInABurst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	limit := func(c *session.Config) { c.MaxSessionsPerOwner = 3 }
	replicas := []*session.Manager{w.manager(t, limit), w.manager(t, limit)}
	errs := concurrently(20, func(i int) error {
		_, err := replicas[i%2].Connect(t.Context(), alice, w.params())
		return err
	})
	in := 0
	for _, err := range errs {
		if _, ok := err.(*oauthclient.AuthorizationRequiredError); ok { //nolint:errorlint // exactly that
			in++
			continue
		}
		require.ErrorAs(t, err, new(*session.LimitError))
	}
	require.Equal(t, 3, in)
	require.Len(t, w.store.live("session"), 3)
	infos, err := replicas[0].Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, infos, 3)
}

// A list that the store cannot look for now is an outage, not an empty list.
func TestSessionsWhileTheStoreIsUnsure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	w.connected(t, m)
	for _, kind := range []string{"owner", "session"} {
		w.store.set(func(op, key string) error {
			if op == "get" && kindOf(key) == kind {
				return store.ErrUnsure
			}
			return nil
		}, nil)
		infos, err := m.Sessions(t.Context(), alice)
		requireStoreError(t, err)
		require.ErrorIs(t, err, store.ErrUnsure)
		require.Nil(t, infos)
	}
}
