package session_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// part is what one replica sees while no other one's changes reach it.
type part struct {
	*memstore.Store
	merge func(key string, base, mine, theirs []byte) ([]byte, bool)
}

func (p *part) SetMerge(merge func(key string, base, mine, theirs []byte) ([]byte, bool)) {
	p.merge = merge
}

var _ store.Merger = (*part)(nil)

// part returns a store with the same records.
func (w *world) part(t *testing.T) *part {
	t.Helper()
	p := &part{Store: memstore.New(memstore.Config{Now: w.clock.Now})}
	for _, kind := range []string{"session", "owner", "client", "attempt"} {
		for _, key := range w.store.live(kind) {
			p.set(t, key, value(t, w.mem, key))
		}
	}
	return p
}

func (p *part) set(t *testing.T, key string, v []byte) {
	t.Helper()
	require.NoError(t, p.Swap(t.Context(), key, nil, v, time.Now().Add(24*time.Hour)))
}

// value is what is stored; nil for nothing.
func value(t *testing.T, s store.SessionStore, key string) []byte {
	t.Helper()
	v, _, err := s.Get(t.Context(), key)
	if !errors.Is(err, store.ErrNotFound) {
		require.NoError(t, err)
	}
	return v
}

// apart has two replicas act that cannot see what the other one does, joins what
// they did as a store does, and returns a replica that sees that. The records
// that could not be joined are those of b.
func (w *world) apart(t *testing.T, thereFirst bool, here, there func(m *session.Manager)) (joined *session.Manager, conflicts []string) {
	t.Helper()
	a, b, both := w.part(t), w.part(t), &part{Store: memstore.New(memstore.Config{Now: w.clock.Now})}
	on := func(s store.SessionStore) *session.Manager {
		return w.manager(t, func(c *session.Config) { c.Store, c.TouchInterval = s, time.Nanosecond })
	}
	onA, onB := on(a), on(b)
	if thereFirst {
		there(onB)
	}
	here(onA)
	if !thereFirst {
		there(onB)
	}
	for _, kind := range []string{"session", "owner", "client"} {
		for _, key := range w.store.live(kind) {
			base, mine, theirs := value(t, w.mem, key), value(t, a, key), value(t, b, key)
			if mine == nil || theirs == nil {
				continue // deleted
			}
			result := theirs
			switch {
			case bytes.Equal(base, theirs):
				result = mine
			case !bytes.Equal(base, mine):
				merged, ok := a.merge(key, base, mine, theirs)
				if ok {
					result = merged
				} else {
					conflicts = append(conflicts, kind)
				}
			}
			both.set(t, key, result)
		}
	}
	return on(both), conflicts
}

// What two replicas have done to one session while they could not see each
// other's changes.
func TestMergeSessions(t *testing.T) {
	t.Parallel()
	type scene struct {
		*world
		id string
	}
	use := func(t *testing.T, s scene, m *session.Manager) {
		s.advance(time.Second)
		_, err := m.GetClient(t.Context(), alice, s.id)
		require.NoError(t, err)
	}
	refresh := func(t *testing.T, s scene, m *session.Manager) {
		s.as.ExpireAccessTokens()
		requireWorks(t, m, alice, s.id)
	}
	fail := func(t *testing.T, s scene, m *session.Manager) {
		s.mcp.SetOutage(authtest.StatusOutage(503))
		require.Error(t, call(t, m, s.id))
		s.mcp.SetOutage(nil)
	}
	stepUp := func(t *testing.T, s scene, m *session.Manager) {
		_, err := m.CallTool(t.Context(), alice, s.id, "admin", nil)
		required := requireAuthorization(t, err)
		_, err = m.FinishAuth(t.Context(), alice, s.id, s.approve(t, required.AuthURL))
		require.NoError(t, err)
	}
	ask := func(t *testing.T, s scene, m *session.Manager) {
		_, err := m.CallTool(t.Context(), alice, s.id, "admin", nil)
		requireAuthorization(t, err)
	}
	// As when the refresh token was spent by the other one.
	refused := func(t *testing.T, s scene, m *session.Manager) {
		s.as.RevokeAll()
		requireAuthorization(t, call(t, m, s.id))
	}
	anew := func(t *testing.T, s scene, m *session.Manager) {
		required := requireAuthorization(t, call(t, m, s.id))
		_, err := m.FinishAuth(t.Context(), alice, s.id, s.approve(t, required.AuthURL))
		require.NoError(t, err)
	}
	nothing := func(*testing.T, scene, *session.Manager) {}
	for name, row := range map[string]struct {
		here, there func(*testing.T, scene, *session.Manager)
		thereFirst  bool
		conflict    bool
		admin       bool // it has the scope of the step-up
		refreshes   int
	}{
		"used on both sides":               {here: use, there: use},
		"refreshed here, used there":       {here: refresh, there: use, refreshes: 1},
		"used here, refreshed there":       {here: use, there: refresh, refreshes: 1},
		"authorized here, used there":      {here: stepUp, there: use, admin: true},
		"authorized here, failed there":    {here: stepUp, there: fail, admin: true},
		"failed here, authorized there":    {here: fail, there: stepUp, admin: true},
		"failed here, used there":          {here: fail, there: use},
		"failed here":                      {here: fail, there: nothing},
		"asked here, authorized there":     {here: ask, there: stepUp, admin: true},
		"asked on both sides":              {here: ask, there: ask},
		"refused there, authorized here":   {here: anew, there: refused, thereFirst: true},
		"authorized here, refreshed there": {here: stepUp, there: refresh, admin: true, refreshes: 2},
		"authorized on both sides":         {here: stepUp, there: stepUp, admin: true, conflict: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			s := scene{world: w, id: w.connected(t, w.manager(t))}
			var lastUsed time.Time
			note := func(m *session.Manager) {
				info, err := m.Status(t.Context(), alice, s.id)
				require.NoError(t, err)
				if info.LastUsed.After(lastUsed) {
					lastUsed = info.LastUsed
				}
			}
			m, conflicts := w.apart(t, row.thereFirst,
				func(m *session.Manager) { row.here(t, s, m); note(m) },
				func(m *session.Manager) { row.there(t, s, m); note(m) })
			require.Equal(t, row.conflict, slices.Contains(conflicts, "session"), "%v", conflicts)
			info, err := m.Status(t.Context(), alice, s.id)
			require.NoError(t, err)
			require.False(t, info.LastUsed.Before(lastUsed))
			requireWorks(t, m, alice, s.id)
			require.Equal(t, row.refreshes, w.as.Counts().Refreshes)
			_, err = m.CallTool(t.Context(), alice, s.id, "admin", nil)
			required := new(oauthclient.AuthorizationRequiredError)
			require.Equal(t, row.admin, !errors.As(err, &required), "%v", err)
		})
	}
}

// Lists of sessions are joined, and what was removed from one is removed.
func TestMergeLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	kept, removedHere, removedThere := w.connected(t, m), w.connected(t, m), w.connected(t, m)
	listed := func(m *session.Manager, owner string) (ids []string) {
		infos, err := m.Sessions(t.Context(), owner)
		require.NoError(t, err)
		for _, info := range infos {
			ids = append(ids, info.ID.Reveal())
		}
		return ids
	}
	merge := func(base, mine, theirs []byte) []byte {
		p := w.part(t)
		w.manager(t, func(c *session.Config) { c.Store = p })
		merged, ok := p.merge(w.store.live("owner")[0], base, mine, theirs)
		require.True(t, ok)
		return merged
	}
	ownerKey := w.store.live("owner")[0]
	base := value(t, w.mem, ownerKey)
	a, b := w.part(t), w.part(t)
	onA := w.manager(t, func(c *session.Config) { c.Store = a })
	onB := w.manager(t, func(c *session.Config) { c.Store = b })
	require.NoError(t, onA.RemoveClient(t.Context(), alice, removedHere))
	require.NoError(t, onB.RemoveClient(t.Context(), alice, removedThere))
	newHere, newThere := w.connected(t, onA), w.connected(t, onB)

	both := w.part(t)
	for _, p := range []*part{a, b} {
		for _, key := range p.keysOf(t, listed(w.manager(t, func(c *session.Config) { c.Store = p }), "alice")) {
			if value(t, both, key) == nil {
				both.set(t, key, value(t, p, key))
			}
		}
	}
	require.NoError(t, both.Delete(context.Background(), ownerKey))
	both.set(t, ownerKey, merge(base, value(t, a, ownerKey), value(t, b, ownerKey)))
	joined := w.manager(t, func(c *session.Config) { c.Store = both })
	require.ElementsMatch(t, []string{kept, newHere, newThere}, listed(joined, "alice"))

	require.NoError(t, both.Delete(context.Background(), ownerKey))
	both.set(t, ownerKey, merge(nil, value(t, a, ownerKey), value(t, b, ownerKey)))
	require.Contains(t, listed(joined, "alice"), newHere, "two lists that were begun")
	require.Contains(t, listed(joined, "alice"), newThere)

	require.NoError(t, both.Delete(context.Background(), ownerKey))
	both.set(t, ownerKey, merge(base, value(t, a, ownerKey), nil))
	require.Equal(t, []string{newHere}, listed(joined, "alice"), "all others were removed there")
}

// When a store has lost what two replicas know different states of, nobody
// knows what they had in common: the later credentials count, whichever side
// they are on.
func TestMergeWithoutABase(t *testing.T) {
	t.Parallel()
	for name, thereIsLater := range map[string]bool{"later here": false, "later there": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t)
			id := w.connected(t, m)
			key := w.store.live("session")[0]
			states := [][]byte{value(t, w.mem, key)}
			for range 2 {
				w.advance(time.Minute)
				w.as.ExpireAccessTokens()
				requireWorks(t, m, alice, id)
				states = append(states, value(t, w.mem, key))
			}
			_, err := m.CallTool(t.Context(), alice, id, "admin", nil)
			required := requireAuthorization(t, err)
			_, err = m.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
			require.NoError(t, err)
			states = append(states, value(t, w.mem, key))
			w.as.RevokeAll()
			requireAuthorization(t, call(t, m, id))
			states = append(states, value(t, w.mem, key))

			p := w.part(t)
			on := w.manager(t, func(c *session.Config) { c.Store = p })
			credentials := func(state []byte) oauthclient.Credentials {
				require.NoError(t, p.Delete(context.Background(), key))
				p.set(t, key, state)
				client, err := on.GetClient(t.Context(), alice, id)
				require.NoError(t, err)
				c, err := client.Credentials(t.Context())
				require.NoError(t, err)
				return c
			}
			for i, earlier := range states {
				for _, later := range states[i:] {
					mine, theirs := later, earlier
					if thereIsLater {
						mine, theirs = earlier, later
					}
					merged, ok := p.merge(key, nil, mine, theirs)
					require.True(t, ok)
					want, got := credentials(later), credentials(merged)
					require.Equal(t, want.AccessToken.Reveal(), got.AccessToken.Reveal())
					require.Equal(t, want.RefreshToken.Reveal(), got.RefreshToken.Reveal())
				}
			}
		})
	}
}

// keysOf returns the store keys of sessions.
func (p *part) keysOf(t *testing.T, ids []string) (keys []string) {
	t.Helper()
	for _, id := range ids {
		keys = append(keys, "session:"+id[:len(id)/2])
	}
	return keys
}

// What is no record of this package's, or not of one session, is not joined.
func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	w.connected(t, m)
	w.connected(t, m)
	p := w.part(t)
	w.manager(t, func(c *session.Config) { c.Store = p })
	sessions, lists := w.store.live("session"), w.store.live("owner")
	one, other, list := value(t, w.mem, sessions[0]), value(t, w.mem, sessions[1]), value(t, w.mem, lists[0])
	_, ok := p.merge(sessions[0], one, one, one)
	require.True(t, ok)
	for name, args := range map[string]struct {
		key                string
		base, mine, theirs []byte
	}{
		"another session":     {sessions[0], one, one, other},
		"removed there":       {sessions[0], one, one, nil},
		"garbage":             {sessions[0], one, []byte("garbage"), one},
		"garbage in a list":   {lists[0], list, list, []byte("garbage")},
		"a list as a session": {sessions[0], one, list, one},
		"another kind":        {"client:x", one, one, one},
		"no kind":             {"x", one, one, one},
	} {
		merged, ok := p.merge(args.key, args.base, args.mine, args.theirs)
		require.False(t, ok, name)
		require.Nil(t, merged, name)
	}
}
