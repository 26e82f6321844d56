package chaos_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// A replica is killed while many users work, each time in the worst moment, with
// the answer to a refresh under way, and another one takes its place. That one
// user has to authorize again. Another user whose request is interrupted can only
// have lost what the authorization server had refreshed for that request. No
// session is stuck.
func TestReplicaIsKilledUnderLoad(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		p := processConfig{Backend: b.name, RequestTimeout: requestTimeout, LockTTL: lockTTL}
		d := newDeaths(p.LockTTL)
		redis, random := redistest.Run(t, redistest.Options{}), newRandom(t)
		w := busyWorld(t, func(o *authtest.Options) { o.OnRefresh = d.onRefresh })
		p.RedisURL, p.Name = redis.URL(), "process 0"
		victim := startProcess(t, p)
		f := loadtest.NewFleet(victim.Replica, w.replica(t, "survivor", b.givesUp().store(t, redis.URL()), p.change))
		l := newLoad(t, w, w.newUsers(pick(24, 100), random), f, httpapi.CodeStoreUnavailable, httpapi.CodeInvalidCallback)
		l.Deaths = d
		l.Start()
		kills := pick(1, 3)
		for n := range kills {
			l.Progress(pick(200, 600))
			select {
			case <-d.nextRefresh(p.Name):
			case <-time.After(loadtest.Patience):
				require.FailNow(t, "the replica does not refresh")
			}
			f.Lose(victim.Replica, func() { d.kill(victim) })
			p.Name = fmt.Sprintf("process %d", n+1)
			victim = startProcess(t, p)
			f.Add(victim.Replica)
		}
		l.Progress(pick(300, 600))
		l.Stop()
		t.Logf("%d requests interrupted, %d of them after a refresh, %d users had to authorize again", d.interrupted(), d.Losses(), d.lost())
		require.GreaterOrEqual(t, d.Losses(), kills, "the one whose answer was on hold")
		require.LessOrEqual(t, d.interrupted(), kills*loadtest.Workers, "requests that were in flight")
		require.LessOrEqual(t, d.lost(), w.as.Counts().ReuseDetected, "no user is asked for another reason")
	})
}
