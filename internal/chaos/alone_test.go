package chaos_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// impatient is hybridstore where locks do not wait for Redis, as in a long
// outage: replicas on their own, which know nothing of each other.
func impatient(localLocks bool) backend {
	return backend{name: "hybridstore", outlives: true, watches: true, open: func(redisURL string) (store.SessionStore, func(), error) {
		if err := inUse(redisURL); err != nil {
			return nil, nil, err
		}
		s, err := hybridstore.New(context.Background(), hybridstore.Config{
			Redis:        redisstore.Config{URL: redisURL, OpTimeout: time.Second},
			LockPatience: -1,
			LocalLocks:   localLocks,
			Logger:       slog.New(slog.DiscardHandler),
		})
		return s, s.Close, err
	}}
}

// alone is two replicas, each of which has lost Redis.
type alone struct {
	*world
	redis    *redistest.Server
	replicas [2]*replica
}

func newAlone(t *testing.T, localLocks bool) *alone {
	t.Helper()
	a := &alone{world: quiet(t), redis: redistest.Run(t, redistest.Options{Persist: true})}
	for i, name := range []string{"a", "b"} {
		a.replicas[i] = a.replica(t, name, impatient(localLocks).store(t, a.redis.URL()))
	}
	return a
}

// known makes a session that both replicas have used.
func (a *alone) known(t *testing.T) (id string) {
	t.Helper()
	id = a.session(t, a.replicas[0], a.replicas[1])
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, id))
	}
	return id
}

func (a *alone) begin(t *testing.T) {
	t.Helper()
	a.redis.Kill()
	eventually(t, "Redis is away", func() bool { return a.replicas[0].isAlone() && a.replicas[1].isAlone() })
}

func (a *alone) end(t *testing.T) {
	t.Helper()
	require.NoError(t, a.redis.Restart())
	eventually(t, "Redis is back", func() bool { return !a.replicas[0].isAlone() && !a.replicas[1].isAlone() })
}

// However long Redis is away, no replica spends a refresh token that another one
// may spend: a session whose access token has ended waits, all others work, and
// so do new ones, with everything.
func TestAloneNobodyRefreshesWhatIsShared(t *testing.T) {
	t.Parallel()
	a := newAlone(t, false)
	ended := a.known(t)
	_, stepUp := a.replicas[0].manager.CallTool(t.Context(), alice, ended, "admin", nil)
	removed := a.known(t)
	a.begin(t)
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, ended))
	}
	a.reauthorize(t, a.replicas[0], ended, stepUp)
	a.clock.advance(61 * time.Minute)
	var outage *session.StoreError
	for _, r := range a.replicas {
		require.ErrorAs(t, echo(t, r, ended), &outage)
	}
	require.Zero(t, a.as.Counts().Refreshes)
	require.NoError(t, a.replicas[0].manager.RemoveClient(t.Context(), alice, removed))
	for _, r := range a.replicas {
		id := a.session(t, r, r)
		a.clock.advance(61 * time.Minute)
		require.NoError(t, echo(t, r, id), "nobody else can have this one")
	}
	require.Equal(t, 2, a.as.Counts().Refreshes)

	a.end(t)
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, ended))
		_, err := r.manager.CallTool(t.Context(), alice, ended, "admin", nil)
		require.NoError(t, err, "what was authorized meanwhile")
		eventually(t, "the removed session is gone for sure", func() bool {
			err := echo(t, r, removed)
			require.Error(t, err)
			return errors.Is(err, session.ErrNotFound)
		})
	}
	require.Equal(t, 3, a.as.Counts().Refreshes)
	require.Zero(t, a.as.Counts().ReuseDetected)
}

// With local locks, what only one of the replicas did while alone counts for
// both afterwards.
func TestAloneOneReplicaRefreshes(t *testing.T) {
	t.Parallel()
	a := newAlone(t, true)
	id := a.known(t)
	a.begin(t)
	a.clock.advance(61 * time.Minute)
	require.NoError(t, echo(t, a.replicas[0], id))
	a.end(t)
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, id))
	}
	require.Equal(t, 1, a.as.Counts().Refreshes)
	require.Zero(t, a.as.Counts().ReuseDetected)
}

// With local locks both replicas can use up the same refresh token: that ends in
// one clean request to authorize, not in a session that is stuck or works on one
// replica only.
func TestAloneBothReplicasRefresh(t *testing.T) {
	t.Parallel()
	a := newAlone(t, true)
	id := a.known(t)
	a.begin(t)
	a.clock.advance(61 * time.Minute)
	require.NoError(t, echo(t, a.replicas[0], id))
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, echo(t, a.replicas[1], id), &required)
	require.Equal(t, 1, a.as.Counts().ReuseDetected)
	a.end(t)
	err := echo(t, a.replicas[0], id)
	require.ErrorAs(t, err, &required)
	a.reauthorize(t, a.replicas[1], id, err)
	for _, r := range a.replicas {
		eventually(t, "a call", func() bool { return echo(t, r, id) == nil })
	}
	require.Equal(t, 2, a.as.Counts().Authorizations)
	require.Equal(t, 1, a.as.Counts().ReuseDetected)
}

// A load runs through what others run through, with replicas that begin at once
// what they otherwise begin after ten seconds without Redis.
func TestAloneUnderLoad(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, backend){
		"network of one replica fails": networkOfOneReplicaFails,
		"Redis restarts empty":         redisRestartsEmpty,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, impatient(false))
		})
	}
}

// A session that a replica does not know while alone is neither gone nor
// disconnected, and its attempt not invalid: all of them work afterwards.
func TestAloneUnknownIsAnOutage(t *testing.T) {
	t.Parallel()
	a := newAlone(t, false)
	id := a.session(t, a.replicas[0], a.replicas[0])
	begun, begunErr := a.replicas[0].manager.Connect(t.Context(), alice, session.ConnectParams{ServerURL: a.mcp.URL(), CallbackURL: callback})
	a.begin(t)
	m := a.replicas[1].manager
	var failed *session.StoreError
	_, err := m.Status(t.Context(), alice, id)
	require.ErrorAs(t, err, &failed)
	require.ErrorAs(t, echo(t, a.replicas[1], id), &failed)
	require.ErrorAs(t, m.RemoveClient(t.Context(), alice, id), &failed, "nobody is told that it is done")
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, begunErr, &required)
	back, err := a.as.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	_, err = m.FinishAuth(t.Context(), alice, begun.ID.Reveal(), response(t, back))
	require.ErrorAs(t, err, &failed)
	require.NoError(t, echo(t, a.replicas[0], id), "the other one knows it")

	a.end(t)
	done, err := m.FinishAuth(t.Context(), alice, begun.ID.Reveal(), response(t, back)) // the user reloads the page
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status)
	require.NoError(t, echo(t, a.replicas[1], id))
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	for _, r := range a.replicas {
		eventually(t, "it is gone", func() bool { _, err := r.manager.Status(t.Context(), alice, id); return err != nil })
		require.ErrorIs(t, echo(t, r, id), session.ErrNotFound)
	}
}

// A replica that starts while Redis is down does everything for its own users,
// and what it did counts for all others once Redis comes up, with the data it
// had or empty. A session that only others know is not gone for it meanwhile.
func TestAloneFromTheStart(t *testing.T) {
	t.Parallel()
	for name, persist := range map[string]bool{"Redis comes up with its data": true, "Redis comes up empty": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis, w := redistest.Run(t, redistest.Options{Persist: persist}), quiet(t)
			before := w.replica(t, "before", backend{open: openHybrid}.store(t, redis.URL()))
			known := w.session(t, before, before)
			require.NoError(t, echo(t, before, known))
			redis.Kill()
			eventually(t, "the outage is noticed", before.isAlone)
			r := w.replica(t, "new", backend{open: startHybrid}.store(t, redis.URL()))
			require.True(t, r.isAlone())

			began := time.Now()
			id, removed := w.session(t, r, r), w.session(t, r, r)
			require.NoError(t, echo(t, r, id))
			w.clock.advance(61 * time.Minute)
			require.NoError(t, echo(t, r, id))
			require.Equal(t, 1, w.as.Counts().Refreshes)
			require.NoError(t, r.manager.RemoveClient(t.Context(), alice, removed))
			var outage *session.StoreError
			require.ErrorAs(t, echo(t, r, known), &outage)
			require.True(t, r.isAlone())
			require.Less(t, time.Since(began), 8*time.Second, "no lock waits for a Redis that has not been there")

			require.NoError(t, redis.Restart())
			eventually(t, "Redis is in service", func() bool { return !r.isAlone() && !before.isAlone() })
			require.NoError(t, echo(t, r, id), "as before")
			require.NoError(t, echo(t, before, id), "with the tokens that the new replica got alone")
			require.Equal(t, 1, w.as.Counts().Refreshes)
			require.ErrorIs(t, echo(t, r, removed), session.ErrNotFound)
			if err := echo(t, before, removed); !errors.Is(err, session.ErrNotFound) {
				require.ErrorAs(t, err, &outage, "for ten seconds somebody might bring it back")
			}
			for _, replica := range []*replica{r, before} {
				require.NoError(t, echo(t, replica, known))
			}
			require.Equal(t, 2, w.as.Counts().Refreshes)
			w.clock.advance(61 * time.Minute)
			require.NoError(t, echo(t, before, id))
			require.NoError(t, echo(t, r, id))
			require.Equal(t, 3, w.as.Counts().Refreshes)
			require.Equal(t, 3, w.as.Counts().Authorizations)
			require.Zero(t, w.as.Counts().ReuseDetected)
		})
	}
}
