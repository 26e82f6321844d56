package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// An outage is an error of its own, never "no such session", and nothing is
// lost by it.
func TestOutage_OfTheStoreIsNotNotFound(t *testing.T) {
	t.Parallel()
	type scene struct {
		w  *world
		m  *session.Manager
		id string
	}
	use := func(ctx context.Context, s scene) error {
		_, err := s.m.CallTool(ctx, alice, s.id, "echo", nil)
		return err
	}
	expired := func(s scene) { s.w.advance(61 * time.Minute) }
	for name, row := range map[string]struct {
		op, prefix string
		before     func(scene)
		do         func(context.Context, scene) error
	}{
		"reading, in a call":          {op: "get", prefix: "session:", do: use},
		"reading, for the status":     {op: "get", prefix: "session:", do: func(ctx context.Context, s scene) error { _, err := s.m.Status(ctx, alice, s.id); return err }},
		"reading, for the token":      {op: "get", prefix: "session:", do: func(ctx context.Context, s scene) error { _, err := s.m.TokenSource(ctx, alice, s.id); return err }},
		"reading, in a removal":       {op: "get", prefix: "session:", do: func(ctx context.Context, s scene) error { return s.m.RemoveClient(ctx, alice, s.id) }},
		"deleting, in a removal":      {op: "write", prefix: "session:", do: func(ctx context.Context, s scene) error { return s.m.RemoveClient(ctx, alice, s.id) }},
		"locking, at a refresh":       {op: "lock", prefix: "session:", before: expired, do: use},
		"reading the list":            {op: "get", prefix: "owner:", do: func(ctx context.Context, s scene) error { _, err := s.m.Sessions(ctx, alice); return err }},
		"reading a session of a list": {op: "get", prefix: "session:", do: func(ctx context.Context, s scene) error { _, err := s.m.Sessions(ctx, alice); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			s := scene{w: w, m: w.manager(t)}
			s.id = w.connected(t, s.m)
			if row.before != nil {
				row.before(s)
			}
			w.store.fail(row.op, row.prefix, -1)
			err := row.do(t.Context(), s)
			requireStoreError(t, err)
			require.ErrorIs(t, err, errOutage)
			require.NotErrorIs(t, err, session.ErrNotFound)
			w.store.heal()
			requireWorks(t, s.m, alice, s.id)
			requireWorks(t, w.manager(t), alice, s.id)
			infos, err := s.m.Sessions(t.Context(), alice)
			require.NoError(t, err)
			require.Len(t, infos, 1)
			require.Equal(t, 1, w.as.Counts().Authorizations)
		})
	}
}

// Whatever the store refuses while a session is being made, what is left is
// either the whole session or none of it.
func TestOutage_AtConnectLeavesAWholeSessionOrNone(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"get", "swap"} {
		for _, kind := range []string{"session", "owner", "client", "attempt"} {
			if op == "get" && kind == "attempt" {
				continue // does not happen
			}
			t.Run(op+" "+kind, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, mcptest.Options{})
				m := w.manager(t)
				w.store.fail(op, kind+":", -1)
				info, err := m.Connect(t.Context(), alice, w.params())
				requireStoreError(t, err)
				require.Equal(t, session.Info{}, info)
				w.store.heal()
				require.Empty(t, w.store.live("session"))
				infos, err := m.Sessions(t.Context(), alice)
				require.NoError(t, err)
				require.Empty(t, infos)
				w.connected(t, m)
			})
		}
	}
}

// A call that has succeeded is not reported as failed because its status could
// not be written: the caller would make it again.
func TestOutageWhileNotingSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	id := info.ID.Reveal()
	w.mcp.SetOutage(authtest.StatusOutage(503))
	done, err := m.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusFailed, done.Status)
	w.mcp.SetOutage(nil)

	w.store.fail("swap", "session:", -1)
	requireWorks(t, m, alice, id)
	require.Equal(t, 1, w.mcp.Executed("echo"))
	requireStatus(t, m, id, session.StatusConnected)
	w.store.heal()
	requireStatus(t, w.manager(t), id, session.StatusFailed)
	requireWorks(t, m, alice, id)
	requireStatus(t, w.manager(t), id, session.StatusConnected)
}

// The user gets the authorization URL although the status cannot be written.
func TestOutageWhileNotingThatAuthorizationIsRequired(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	_, err := m.Connect(t.Context(), alice, w.params()) // so that there is a registration
	requireAuthorization(t, err)
	created := 0
	w.store.set(func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" {
			if created++; created > 1 {
				return errOutage
			}
		}
		return nil
	}, nil)
	info, err := m.Connect(t.Context(), alice, w.params())
	required := requireAuthorization(t, err)
	require.Equal(t, session.StatusAuthorizing, info.Status)
	require.NotEmpty(t, info.ID.Reveal())
	w.store.heal()
	done, err := m.FinishAuth(t.Context(), alice, info.ID.Reveal(), w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status)
}

// An outage at the callback. As long as the code was not sent, the callback can
// be repeated; after that the outcome is told as well as can be.
func TestStoreOutageAtCallback(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		op, prefix string
		times      int
		retry      bool // the same callback works afterwards
	}{
		"reading the attempt": {"get", "attempt:", -1, true},
		"reading the session": {"get", "session:", -1, true},
		"taking the attempt":  {"swap", "attempt:", 1, true},
		"saving the tokens":   {"swap", "session:", -1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t, shortLease)
			info, required := w.connect(t, m, alice)
			id := info.ID.Reveal()
			resp := w.approve(t, required.AuthURL)
			w.store.fail(row.op, row.prefix, row.times)
			_, err := m.FinishAuth(t.Context(), alice, id, resp)
			requireStoreError(t, err)
			w.store.heal()
			if row.retry {
				requireStatus(t, m, id, session.StatusAuthorizing)
				done, err := m.FinishAuth(t.Context(), alice, id, resp)
				require.NoError(t, err)
				require.Equal(t, session.StatusConnected, done.Status)
				return
			}
			_, err = m.FinishAuth(t.Context(), alice, id, resp)
			require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
			require.Len(t, w.as.TokenRequests("authorization_code"), 1, "a code is sent once")
			again := requireAuthorization(t, call(t, m, id))
			require.NotEqual(t, required.AuthURL, again.AuthURL)
			_, err = m.FinishAuth(t.Context(), alice, id, w.approve(t, again.AuthURL))
			require.NoError(t, err)
			requireWorks(t, m, alice, id)
		})
	}
}

// Without locks of the store, users can still authorize: no token is spent twice,
// and at worst there are two registrations.
func TestAuthorizingNeedsNoLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	w.store.fail("lock", "", -1)
	requireNoErrors(t, concurrently(10, func(i int) error {
		m := replicas[i%2]
		info, err := m.Connect(t.Context(), alice, w.params())
		required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
		if !ok {
			return fmt.Errorf("connect: %w", err)
		}
		back, err := w.as.Approve(t.Context(), required.AuthURL)
		if err != nil {
			return err
		}
		target, err := url.Parse(back)
		if err != nil {
			return err
		}
		_, err = m.FinishAuth(t.Context(), alice, info.ID.Reveal(), oauthclient.ParseAuthorizationResponse(target.Query()))
		if err != nil {
			return err
		}
		return call(t, replicas[(i+1)%2], info.ID.Reveal())
	}))
	require.Positive(t, w.store.count("lock client"))
	before := w.as.Counts().Registrations
	w.store.heal()
	w.connected(t, replicas[0])
	require.Equal(t, before, w.as.Counts().Registrations, "the one that is stored is used")
}

// A refresh is in progress, somewhere, when its user has authorized again: the
// new authorization counts, whichever is saved first.
func TestCallbackMeetsARefresh(t *testing.T) {
	t.Parallel()
	for name, refreshFirst := range map[string]bool{"the refresh saves first": true, "the callback saves first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			noLock := func(c *session.Config) { c.Store = lockless{w.store} }
			a, b := w.manager(t, noLock), w.manager(t, noLock)
			id := w.connected(t, a, b)
			_, err := a.CallTool(t.Context(), alice, id, "admin", nil)
			required := requireAuthorization(t, err)
			w.as.ExpireAccessTokens()

			// The second one is held up with what it has obtained.
			var held atomic.Bool
			resp := w.approve(t, required.AuthURL)
			first := func() error { _, err := b.FinishAuth(t.Context(), alice, id, resp); return err }
			last := func() error { return call(t, a, id) }
			if refreshFirst {
				first, last = last, first
			}
			before := w.as.Counts()
			var firstErr error
			w.store.set(func(op, key string) error {
				if now := w.as.Counts(); op == "swap" && kindOf(key) == "session" && now.Refreshes+now.Exchanges > before.Refreshes+before.Exchanges &&
					held.CompareAndSwap(false, true) {
					firstErr = first()
				}
				return nil
			}, nil)
			require.NoError(t, last())
			require.NoError(t, firstErr)
			w.store.heal()
			require.Equal(t, before.Refreshes+1, w.as.Counts().Refreshes)
			for _, m := range []*session.Manager{a, b} {
				_, err = m.CallTool(t.Context(), alice, id, "admin", nil)
				require.NoError(t, err, "what the user has allowed")
			}
		})
	}
}

// The answer to the saving of a callback's tokens is lost, and another replica
// has refreshed them before they are saved again: that would undo the refresh.
func TestCallbackMeetsARefreshOfItsOwnTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	noLock := func(c *session.Config) { c.Store = lockless{w.store} }
	m, other := w.manager(t, noLock), w.manager(t, noLock)
	info, required := w.connect(t, m, alice)
	id := info.ID.Reveal()
	resp := w.approve(t, required.AuthURL)
	var once atomic.Bool
	w.store.set(nil, func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && once.CompareAndSwap(false, true) {
			w.as.ExpireAccessTokens()
			requireWorks(t, other, alice, id)
			return errOutage
		}
		return nil
	})
	_, err := m.FinishAuth(t.Context(), alice, id, resp)
	require.NoError(t, err)
	require.True(t, once.Load())
	require.Equal(t, 1, w.as.Counts().Refreshes)
	w.advance(2 * time.Minute) // past the interval of forced refreshes
	w.as.ExpireAccessTokens()
	requireWorks(t, w.manager(t), alice, id)
	require.Zero(t, w.as.Counts().ReuseDetected)
}

// The tokens of a callback cannot be saved at first, and those of another tab's
// have been before they are: each user who was told that it worked has what was
// allowed last.
func TestCallbackMeetsAnotherCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	noLock := func(c *session.Config) { c.Store = lockless{w.store} }
	m, other := w.manager(t, noLock), w.manager(t, noLock)
	info, required := w.connect(t, m, alice)
	id := info.ID.Reveal()
	_, err := other.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	again := requireAuthorization(t, call(t, other, id))
	resp, otherResp := w.approve(t, required.AuthURL), w.approve(t, again.AuthURL)
	token := func() string {
		client, err := other.GetClient(t.Context(), alice, id)
		require.NoError(t, err)
		c, err := client.Credentials(t.Context())
		require.NoError(t, err)
		return c.AccessToken.Reveal()
	}
	var once atomic.Bool
	var saved string
	w.store.set(func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && w.as.Counts().Exchanges == 1 && once.CompareAndSwap(false, true) {
			_, err := other.FinishAuth(t.Context(), alice, id, otherResp)
			require.NoError(t, err)
			saved = token()
			return errOutage
		}
		return nil
	}, nil)
	_, err = m.FinishAuth(t.Context(), alice, id, resp)
	require.NoError(t, err)
	require.True(t, once.Load())
	require.NotEqual(t, saved, token())
	requireWorks(t, w.manager(t), alice, id)
}

// A user who wants to leave is not kept by a store that grants no locks.
func TestRemovalNeedsNoLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.store.fail("lock", "session:", -1)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	require.Equal(t, 2, w.as.Counts().Revocations)
	require.Empty(t, w.store.live("session"))
	requireUnknown(t, m, alice, id)
}

// A removal whose list cannot be updated is a removal all the same.
func TestOutageOfTheListAtRemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.store.fail("swap", "owner:", -1)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	require.Equal(t, 2, w.as.Counts().Revocations)
	w.store.heal()
	requireUnknown(t, m, alice, id)
	infos, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Empty(t, infos)
}

// A time limit of the store's own is an outage; a caller that gave up is not.
func TestOutage_TimeLimitOfTheStoreIsOneAndTheCallersIsNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.store.set(func(op, _ string) error {
		if op == "get" {
			return fmt.Errorf("redis: %w", context.DeadlineExceeded)
		}
		return nil
	}, nil)
	_, err := m.Status(t.Context(), alice, id)
	requireStoreError(t, err)
	w.store.heal()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.Status(ctx, alice, id)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorAs(t, err, new(*session.StoreError))
}
