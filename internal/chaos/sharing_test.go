package chaos_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// One registration is enough for all processes, users and logins.
func TestRegistration_OneForAllReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		f := loadtest.NewFleet(w.replicas(t, b, redis.URL())...)
		l := newLoad(t, w, w.newUsers(pick(20, 200), newRandom(t)), f)
		l.ConnectAll()
		require.Equal(t, 1, w.as.Counts().Registrations)
		f.Add(w.replica(t, "later", b.store(t, redis.URL())))
		w.session(t, f.All()[2], f.All()[0])
		require.Equal(t, 1, w.as.Counts().Registrations, "nor per process")
	})
}

// The authorization server has forgotten the client. The first replica to
// notice registers again, for all.
func TestRegistration_DeadClientIsReplacedForAllReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		ids := []string{w.session(t, replicas[0], replicas[1]), w.session(t, replicas[1], replicas[0])}
		w.as.DropClients()
		w.as.ExpireAccessTokens()
		for i, id := range ids {
			w.reauthorize(t, replicas[1-i], id, echo(t, replicas[i], id))
			require.NoError(t, echo(t, replicas[i], id))
		}
		require.Equal(t, 2, w.as.Counts().Registrations)
	})
}

// The authorization server is down when a token ends. No replica drops the
// credentials, and all go on when it is back.
func TestRefresh_OutageKeepsTokensOnAllReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		id := w.session(t, replicas[0], replicas[1])
		for name, outage := range map[string]http.HandlerFunc{
			"503": authtest.StatusOutage(http.StatusServiceUnavailable), "500": authtest.StatusOutage(http.StatusInternalServerError),
			"429": authtest.StatusOutage(http.StatusTooManyRequests), "not JSON": authtest.MalformedJSON(), "no answer": authtest.Abort(),
		} {
			w.clock.advance(61 * time.Minute)
			w.as.SetOutage(authtest.EndpointToken, outage)
			for _, r := range replicas {
				require.Error(t, echo(t, r, id), name)
				info, err := r.Manager.Status(t.Context(), alice, id)
				require.NoError(t, err)
				require.Equal(t, session.StatusConnected, info.Status, name)
			}
			w.as.SetOutage(authtest.EndpointToken, nil)
			w.clock.advance(2 * time.Minute) // past any back-off
			for _, r := range replicas {
				require.NoError(t, echo(t, r, id), name)
			}
		}
		require.Equal(t, 1, w.as.Counts().Authorizations)
		require.Zero(t, w.as.Counts().ReuseDetected)
	})
}

// Redis is away when a token ends. The call is an error that says so, no
// refresh token is spent, and calls succeed once Redis is back.
func TestRefresh_RedisAwayKeepsTokens(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{Persist: true}), quiet(t)
		replicas := w.replicas(t, b.givesUp(), redis.URL())
		id := w.session(t, replicas[0], replicas[1])
		for _, r := range replicas {
			require.NoError(t, echo(t, r, id), "while all is well, so that the replica knows the session")
		}
		w.clock.advance(61 * time.Minute)
		redis.Kill()
		var failed *session.StoreError
		require.ErrorAs(t, echo(t, replicas[0], id), &failed)
		require.Zero(t, w.as.Counts().Refreshes)
		require.NoError(t, redis.Restart())
		for _, r := range replicas {
			loadtest.Eventually(t, "a call", func() bool { return echo(t, r, id) == nil })
		}
		require.Equal(t, 1, w.as.Counts().Authorizations)
		require.Equal(t, 1, w.as.Counts().Refreshes)
	})
}

// The callback lands on another replica, or after all of them, and Redis
// too, have been restarted.
func TestCallback_AnotherReplicaOrARestartedOneFinishes(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{Persist: true}), quiet(t)
		replicas := w.replicas(t, b, redis.URL())
		id := w.session(t, replicas[0], replicas[1])
		for _, r := range replicas {
			require.NoError(t, echo(t, r, id))
		}
		info, err := replicas[0].Manager.Connect(t.Context(), alice, session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callback})
		for _, r := range replicas {
			require.NoError(t, r.Manager.Close())
		}
		require.NoError(t, redis.Restart())
		after := w.replica(t, "after", b.store(t, redis.URL()))
		w.reauthorize(t, after, info.ID.Reveal(), err)
		require.NoError(t, echo(t, after, info.ID.Reveal()))
		require.NoError(t, echo(t, after, id))
		require.Equal(t, 2, w.as.Counts().Exchanges)
		require.Equal(t, 1, w.as.Counts().Registrations)
	})
}

// catchUp waits until the replicas have heard of every write to a record.
func catchUp(t testing.TB, redis *redistest.Server, replicas []*loadtest.Replica) {
	t.Helper()
	const prefix = "mcpoauth:v:"
	view, err := redisstore.New(t.Context(), redisstore.Config{URL: redis.URL(), DisableCache: true})
	require.NoError(t, err)
	defer view.Close()
	names, err := redis.Do("KEYS", prefix+"*")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names.([]any) {
		key := strings.TrimPrefix(name.(string), prefix)
		want, _, err := view.Get(t.Context(), key)
		require.NoError(t, err)
		for _, r := range replicas {
			loadtest.Eventually(t, "replica "+r.Name+" hears of a write", func() bool {
				got, _, err := r.Store.Get(t.Context(), key)
				return err == nil && bytes.Equal(got, want)
			})
		}
	}
}

// A live connection goes on with the old token after another replica has got
// a new one, by a refresh, a step-up, or another account.
func TestNewToken_OfAnotherReplicaIsUsedOnALiveConnection(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), newWorld(t, authtest.Options{}, mcptest.Options{JSONResponse: true, Stateful: true})
		replicas := w.replicas(t, b, redis.URL())
		id := w.session(t, replicas[0], replicas[1])
		callOnBoth := func(tool string) {
			for _, r := range replicas {
				_, err := r.Manager.CallTool(t.Context(), alice, id, tool, nil)
				require.NoError(t, err)
			}
		}
		callOnBoth("echo")
		steps := []struct {
			name string
			turn func()
		}{
			{"refresh", func() { w.clock.advance(61 * time.Minute); require.NoError(t, echo(t, replicas[0], id)) }},
			{"refresh of a token that still looks good", func() {
				w.clock.advance(2 * time.Minute)
				w.as.ExpireAccessTokens()
				require.NoError(t, echo(t, replicas[0], id))
			}},
			{"step-up", func() {
				_, err := replicas[0].Manager.CallTool(t.Context(), alice, id, "admin", nil)
				w.reauthorize(t, replicas[0], id, err)
			}},
			{"consent withdrawn and given again", func() {
				w.as.RevokeAll()
				w.reauthorize(t, replicas[0], id, echo(t, replicas[0], id))
			}},
		}
		for _, step := range steps {
			step.turn()
			catchUp(t, redis, replicas)
			w.mcp.Reset()
			callOnBoth("echo")
			calls := w.mcp.RPC("tools/call")
			require.Len(t, calls, 2, "%s: the first token that is tried is good", step.name)
			require.Equal(t, calls[0].Token, calls[1].Token, "%s: both replicas use the same one", step.name)
			require.Equal(t, []int{http.StatusOK, http.StatusOK}, []int{calls[0].Status, calls[1].Status}, step.name)
		}
	})
}
