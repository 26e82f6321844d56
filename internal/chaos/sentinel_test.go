package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// A Sentinel makes another server the primary, on request and because the old
// one is dead. The replicas write all the time, but only what may be lost:
// Redis replicates after it answers. Then all tokens end at once.
func TestSentinelFailover(t *testing.T) {
	for name, fail := range map[string]func(*redistest.Sentinel) error{
		"on request":      (*redistest.Sentinel).Failover,
		"primary is dead": (*redistest.Sentinel).KillPrimary,
	} {
		t.Run(name, func(t *testing.T) {
			onEachBackend(t, func(t *testing.T, b backend) {
				redis := redistest.RunSentinel(t)
				w := newWorld(t, authtest.Options{DiscardRequests: true}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
				touchy := func(c *session.Config) { c.TouchInterval = 20 * time.Millisecond }
				l := newLoad(t, w, newUsers(w, pick(24, 50), newRandom(t)), newFleet(w.replicas(t, b, redis.URL(), touchy)...),
					httpapi.CodeStoreUnavailable)
				l.callsOnly = true
				l.start()
				l.progress(pick(200, 500))
				require.NoError(t, redis.Sync())
				require.NoError(t, fail(redis))
				l.progress(pick(200, 500))
				require.NoError(t, redis.Settle())
				w.as.ExpireAccessTokens()
				l.progress(pick(200, 500))
				l.stop()
				require.Equal(t, len(l.users), w.as.Counts().Refreshes)
				require.Equal(t, len(l.users), w.as.Counts().Authorizations)
			})
		})
	}
}

// The same with refreshes, connects and disconnects under way, on a primary that
// refuses writes while no replica takes them over. What it answers before it
// loses its replica can still be lost: a write, so that a user has to authorize
// again, or the end of a lease, for which others then wait. How much is lost is
// Redis's own matter: as much as its replica lags behind. No user is stuck or gets
// a server error.
func TestSentinelFailoverDuringWrites(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.RunSentinel(t), busyWorld(t)
		primary, err := redis.Primary()
		require.NoError(t, err)
		_, err = primary.Do("CONFIG", "SET", "min-replicas-to-write", "1")
		require.NoError(t, err)
		l := startLoad(t, w, newUsers(w, pick(24, 50), newRandom(t)), newFleet(w.replicas(t, b, redis.URL())...),
			httpapi.CodeStoreUnavailable, httpapi.CodeUpstreamTimeout, httpapi.CodeInvalidCallback, httpapi.CodeSessionNotFound, "requires_auth")
		l.progress(pick(200, 500))
		require.NoError(t, redis.Failover())
		l.progress(pick(200, 500))
		l.halt()
		lost := 0
		for _, u := range l.users {
			if u.id != "" && !u.call(t.Context(), l.fleet.all()[0]).ok() {
				lost++
				u.id = ""
			}
			eventually(t, u.name+" has a session", func() bool {
				if u.id == "" {
					l.connect(u)
				}
				return u.id != ""
			})
			for _, r := range l.fleet.all() {
				l.settleOn(u, r)
			}
		}
		t.Logf("%d of %d users had to connect again; %+v", lost, len(l.users), w.as.Counts())
	})
}
