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
	stores   [2]store.SessionStore
	replicas [2]*replica
}

func newAlone(t *testing.T, localLocks bool) *alone {
	t.Helper()
	a := &alone{world: quiet(t), redis: redistest.Run(t, redistest.Options{Persist: true})}
	for i, name := range []string{"a", "b"} {
		a.stores[i] = impatient(localLocks).store(t, a.redis.URL())
		a.replicas[i] = a.replica(t, name, a.stores[i])
	}
	return a
}

func (a *alone) connected(want bool) bool {
	for _, s := range a.stores {
		if s.(*hybridstore.Store).IsRedisConnected() != want {
			return false
		}
	}
	return true
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
	eventually(t, "Redis is away", func() bool { return a.connected(false) })
}

func (a *alone) end(t *testing.T) {
	t.Helper()
	require.NoError(t, a.redis.Restart())
	eventually(t, "Redis is back", func() bool { return a.connected(true) })
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
