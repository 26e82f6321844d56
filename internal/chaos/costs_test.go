package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// The commands of a read through the cache, and of the scripts that extend and
// write a record and that release a lock, as Redis counts them. docs/sizing.md
// calculates with these.
func times(n int64, commands redistest.Stats) redistest.Stats {
	out := make(redistest.Stats)
	for name, count := range commands {
		out[name] = n * count
	}
	return out
}

func sum(all ...redistest.Stats) redistest.Stats {
	out := make(redistest.Stats)
	for _, commands := range all {
		for name, count := range commands {
			out[name] += count
		}
	}
	return out
}

var (
	readCommands   = redistest.Stats{"client|caching": 1, "multi": 1, "pttl": 1, "get": 1, "exec": 1}
	extendCommands = redistest.Stats{"evalsha": 1, "get": 1, "set": 1, "exists": 1}
	// A second replica extends the same record before it hears of the first
	// extension. The expiry is not moved, so Redis writes nothing.
	lateCommands = redistest.Stats{"evalsha": 1, "get": 1, "exists": 1}
	// A lock, a read under it, a write, and giving the lock back.
	refreshCommands = redistest.Stats{
		"client|caching": 1, "multi": 1, "pttl": 1, "get": 5, "exec": 1,
		"evalsha": 4, "exists": 1, "set": 2, "pexpire": 1, "del": 1,
	}
)

// What the use of sessions costs Redis in an interval between extensions: an
// extension of each session and of each owner's list, and a read for each replica
// that uses what was extended.
func TestCostOfUse(t *testing.T) {
	t.Parallel()
	const sessions, fleet, touchInterval = 10, 4, 5 * time.Minute
	redis := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{AccessTokenTTL: 1000 * time.Hour}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
	var replicas []*loadtest.Replica
	for range fleet {
		replicas = append(replicas, w.replica(t, "one of many", backends[0].store(t, steady(redis)), func(c *session.Config) { c.TouchInterval = touchInterval }))
	}
	var ids []string
	for range sessions {
		ids = append(ids, w.session(t, replicas[0], replicas[0]))
	}
	// Each session is first used on another replica, which then extends it.
	useAll := func(on int) {
		for i, id := range ids {
			for j := range on {
				require.NoError(t, echo(t, replicas[(i+j)%on], id))
			}
		}
	}
	interval := func(on int) {
		w.clock.advance(touchInterval + time.Second)
		require.NoError(t, redis.ResetStats())
		useAll(on)
		useAll(on) // reads again what was extended
	}
	for _, on := range []int{1, fleet} {
		useAll(fleet)
		interval(on) // brings the scripts along
		interval(on)
		got := stats(t, redis)
		t.Logf("%d sessions of one owner, each used on %d replicas: %v, %d in all", sessions, on, got, got.Total())
		late := got["evalsha"] - (sessions + 1)
		require.LessOrEqual(t, late, int64((sessions+1)*(on-1)), "each of the other replicas extends once, before it hears of the first extension")
		require.Equal(t, sum(times(sessions+1, extendCommands), times(late, lateCommands), times(int64(sessions*on+on), readCommands)), got)
	}
}

// What a refresh costs.
func TestCostOfRefresh(t *testing.T) {
	t.Parallel()
	redis := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
	r := w.replica(t, "one", backends[0].givesUp().store(t, steady(redis)), func(c *session.Config) { c.TouchInterval = 6 * time.Hour })
	id := w.session(t, r, r)
	require.NoError(t, echo(t, r, id))
	for range 2 { // the first brings the scripts along
		w.clock.advance(61 * time.Minute)
		require.NoError(t, redis.ResetStats())
		require.NoError(t, echo(t, r, id))
	}
	got := stats(t, redis)
	t.Logf("a refresh: %v, %d in all", got, got.Total())
	require.Equal(t, 2, w.as.Counts().Refreshes)
	require.Equal(t, refreshCommands, got)
}
