package chaos_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// openOnly is hybridstore of a host with one replica.
func openOnly(redisURL string, opTimeout time.Duration) (store.SessionStore, func(), error) {
	s, err := hybridstore.New(context.Background(), hybridstore.Config{
		Redis: redisstore.Config{URL: redisURL, OpTimeout: opTimeout}, OnlyReplica: true, Logger: slog.New(slog.DiscardHandler),
	})
	return s, s.Close, err
}

// alone is two replicas that lose Redis, and go on in memory.
type alone struct {
	*world
	redis    *redistest.Server
	replicas [2]*loadtest.Replica
}

func newAlone(t *testing.T) *alone {
	t.Helper()
	a := &alone{world: quiet(t), redis: redistest.Run(t, redistest.Options{Persist: true})}
	for i, name := range []string{"a", "b"} {
		a.replicas[i] = a.replica(t, name, backend{open: openHybrid}.givesUp().store(t, a.redis.URL()))
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
	loadtest.Eventually(t, "Redis is away", func() bool { return isAlone(a.replicas[0]) && isAlone(a.replicas[1]) })
}

func (a *alone) end(t *testing.T) {
	t.Helper()
	require.NoError(t, a.redis.Restart())
	loadtest.Eventually(t, "Redis is back", func() bool { return !isAlone(a.replicas[0]) && !isAlone(a.replicas[1]) })
}

// However long Redis is away, no replica spends a refresh token that another one
// may spend: a session whose access token has ended is a 503, and all others work.
func TestAloneNoReplicaRefreshesWhatIsShared(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	ended, removed := a.known(t), a.known(t)
	a.begin(t)
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, ended), "the token is good")
	}
	a.clock.advance(61 * time.Minute)
	var outage *session.StoreError
	for _, r := range a.replicas {
		require.ErrorAs(t, echo(t, r, ended), &outage)
	}
	require.Zero(t, a.as.Counts().Refreshes)
	require.NoError(t, a.replicas[0].Manager.RemoveClient(t.Context(), alice, removed))
	require.ErrorIs(t, echo(t, a.replicas[0], removed), session.ErrNotFound)

	a.end(t)
	for _, r := range a.replicas {
		require.NoError(t, echo(t, r, ended))
		loadtest.Eventually(t, "the removed session is gone", func() bool { _, err := r.Manager.Status(t.Context(), alice, removed); return err != nil })
		require.ErrorIs(t, echo(t, r, removed), session.ErrNotFound)
	}
	require.Equal(t, 1, a.as.Counts().Refreshes)
	require.Zero(t, a.as.Counts().ReuseDetected)
}

// A host that says that it has one replica refreshes however long Redis is away.
func TestAloneTheOnlyReplicaRefreshes(t *testing.T) {
	t.Parallel()
	redis, w := redistest.Run(t, redistest.Options{Persist: true}), quiet(t)
	r := w.replica(t, "only", backend{open: openOnly}.givesUp().store(t, redis.URL()))
	id := w.session(t, r, r)
	require.NoError(t, echo(t, r, id))
	redis.Kill()
	loadtest.Eventually(t, "the outage is noticed", func() bool { return isAlone(r) })
	for range 3 {
		w.clock.advance(61 * time.Minute)
		require.NoError(t, echo(t, r, id))
	}
	require.True(t, isAlone(r))
	require.NoError(t, redis.Restart())
	loadtest.Eventually(t, "Redis is back", func() bool { return !isAlone(r) })
	require.NoError(t, echo(t, r, id))
	next := w.replica(t, "its successor", backend{open: openOnly}.givesUp().store(t, redis.URL()))
	require.NoError(t, echo(t, next, id), "with the tokens of the outage")
	require.Equal(t, 3, w.as.Counts().Refreshes)
	require.Equal(t, 1, w.as.Counts().Authorizations)
	require.Zero(t, w.as.Counts().ReuseDetected)
}

// A session that a replica has not seen is neither gone nor disconnected while
// Redis is away, and its attempt is not invalid: all of them work afterwards.
func TestAloneUnknownIsAnOutage(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	id := a.session(t, a.replicas[0], a.replicas[0])
	begun, begunErr := a.replicas[0].Manager.Connect(t.Context(), alice, session.ConnectParams{ServerURL: a.mcp.URL(), CallbackURL: callback})
	require.NoError(t, echo(t, a.replicas[0], id))
	a.begin(t)
	m := a.replicas[1].Manager
	var failed *session.StoreError
	_, err := m.Status(t.Context(), alice, id)
	require.ErrorAs(t, err, &failed)
	require.ErrorAs(t, echo(t, a.replicas[1], id), &failed)
	require.ErrorAs(t, m.RemoveClient(t.Context(), alice, id), &failed, "the user is not told that it is done")
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, begunErr, &required)
	back, err := a.as.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	for _, r := range a.replicas { // also the one that has begun it
		_, err = r.Manager.FinishAuth(t.Context(), alice, begun.ID.Reveal(), response(t, back))
		require.ErrorAs(t, err, &failed)
	}
	require.NoError(t, echo(t, a.replicas[0], id), "the other one knows it")

	a.end(t)
	done, err := m.FinishAuth(t.Context(), alice, begun.ID.Reveal(), response(t, back)) // the page tries again
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status)
	require.NoError(t, echo(t, a.replicas[1], id))
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	for _, r := range a.replicas {
		loadtest.Eventually(t, "it is gone", func() bool { _, err := r.Manager.Status(t.Context(), alice, id); return err != nil })
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
			before := w.replica(t, "before", backend{open: openHybrid}.givesUp().store(t, redis.URL()))
			known := w.session(t, before, before)
			require.NoError(t, echo(t, before, known))
			redis.Kill()
			loadtest.Eventually(t, "the outage is noticed", func() bool { return isAlone(before) })
			r := w.replica(t, "new", backend{open: openHybrid}.givesUp().store(t, redis.URL()))
			require.True(t, isAlone(r))

			id, removed := w.session(t, r, r), w.session(t, r, r)
			require.NoError(t, echo(t, r, id))
			w.clock.advance(61 * time.Minute)
			require.NoError(t, echo(t, r, id))
			require.Equal(t, 1, w.as.Counts().Refreshes)
			require.NoError(t, r.Manager.RemoveClient(t.Context(), alice, removed))
			require.ErrorIs(t, echo(t, r, removed), session.ErrNotFound)
			var outage *session.StoreError
			require.ErrorAs(t, echo(t, r, known), &outage)
			require.True(t, isAlone(r))

			require.NoError(t, redis.Restart())
			loadtest.Eventually(t, "Redis is in service", func() bool { return !isAlone(r) && !isAlone(before) })
			require.NoError(t, echo(t, r, id), "as before")
			loadtest.Eventually(t, "the other replica has it, with the tokens of the outage", func() bool { return echo(t, before, id) == nil })
			require.Equal(t, 1, w.as.Counts().Refreshes)
			for _, replica := range []*loadtest.Replica{r, before} {
				require.ErrorIs(t, echo(t, replica, removed), session.ErrNotFound)
				if persist {
					require.NoError(t, echo(t, replica, known))
				} else {
					require.ErrorIs(t, echo(t, replica, known), session.ErrNotFound, "what Redis lost is lost")
				}
			}
			w.clock.advance(61 * time.Minute)
			require.NoError(t, echo(t, before, id))
			require.NoError(t, echo(t, r, id))
			require.Equal(t, 3, w.as.Counts().Authorizations)
			require.Zero(t, w.as.Counts().ReuseDetected)
		})
	}
}
