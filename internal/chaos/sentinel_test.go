package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
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
				b = b.givesUp()
				redis := redistest.RunSentinel(t)
				w := newWorld(t, authtest.Options{DiscardRequests: true}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
				touchy := func(c *session.Config) { c.TouchInterval = 20 * time.Millisecond }
				l := newLoad(t, w, w.newUsers(pick(24, 50), newRandom(t)), loadtest.NewFleet(w.replicas(t, b, redis.URL(), touchy)...),
					httpapi.CodeStoreUnavailable)
				l.CallsOnly = true
				l.Start()
				l.Progress(pick(200, 500))
				require.NoError(t, redis.Sync())
				require.NoError(t, fail(redis))
				l.Progress(pick(200, 500))
				require.NoError(t, redis.Settle())
				w.as.ExpireAccessTokens()
				l.Progress(pick(200, 500))
				l.Stop()
				require.Equal(t, len(l.Users), w.as.Counts().Refreshes)
				require.Equal(t, len(l.Users), w.as.Counts().Authorizations)
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
		b = b.givesUp()
		redis, w := redistest.RunSentinel(t), busyWorld(t)
		primary, err := redis.Primary()
		require.NoError(t, err)
		_, err = primary.Do("CONFIG", "SET", "min-replicas-to-write", "1")
		require.NoError(t, err)
		l := startLoad(t, w, w.newUsers(pick(24, 50), newRandom(t)), loadtest.NewFleet(w.replicas(t, b, redis.URL())...),
			httpapi.CodeStoreUnavailable, httpapi.CodeUpstreamTimeout, httpapi.CodeInvalidCallback, httpapi.CodeSessionNotFound, "requires_auth")
		l.Progress(pick(200, 500))
		require.NoError(t, redis.Failover())
		l.Progress(pick(200, 500))
		l.Halt()
		lost := 0
		for _, u := range l.Users {
			if u.ID != "" && !u.Call(t.Context(), l.Fleet.All()[0]).OK() {
				lost++
				u.ID = ""
			}
			loadtest.Eventually(t, u.Name+" has a session", func() bool {
				if u.ID == "" {
					l.Connect(u)
				}
				return u.ID != ""
			})
			for _, r := range l.Fleet.All() {
				l.SettleOn(u, r)
			}
		}
		t.Logf("%d of %d users had to connect again; %+v", lost, len(l.Users), w.as.Counts())
	})
}
