package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// Redis crashes and comes back with all that it had answered for.
func TestRedisRestartsWithItsData(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		b = b.givesUp()
		redis, w, random := redistest.Run(t, redistest.Options{Persist: true}), busyWorld(t), newRandom(t)
		l := startLoad(t, w, w.newUsers(pick(24, 100), random), loadtest.NewFleet(w.replicas(t, b, redis.URL())...),
			b.outageCodes()...)
		for round := range pick(2, 6) {
			l.Progress(pick(300, 800))
			redis.Kill()
			away := time.Duration(random.IntN(500)) * time.Millisecond
			if round%2 == 1 {
				away += opTimeout // long enough for users to be told
			}
			time.Sleep(away)
			require.NoError(t, redis.Restart())
		}
		l.Progress(pick(300, 800))
		l.Stop()
	})
}

// Redis comes back empty. That ends the sessions: users get a 404, and can connect
// again.
func TestRedisRestartsEmpty(t *testing.T) { onEachBackend(t, redisRestartsEmpty) }

func redisRestartsEmpty(t *testing.T, b backend) {
	b = b.givesUp()
	redis, w, random := redistest.Run(t, redistest.Options{}), busyWorld(t), newRandom(t)
	l := startLoad(t, w, w.newUsers(pick(24, 100), random), loadtest.NewFleet(w.replicas(t, b, redis.URL())...),
		httpapi.CodeStoreUnavailable, httpapi.CodeInvalidCallback, httpapi.CodeSessionNotFound)
	for range pick(2, 4) {
		l.Progress(pick(300, 800))
		told := l.Seen(httpapi.CodeSessionNotFound)
		redis.Kill()
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		require.NoError(t, redis.RestartEmpty())
		loadtest.Eventually(t, "users are told that their sessions are gone", func() bool { return l.Seen(httpapi.CodeSessionNotFound) > told })
	}
	l.Progress(pick(300, 800))
	l.Stop()
}

// Redis stops answering and keeps its connections, as in a long fork or on a
// machine that swaps, and for longer than any store tries. On redisstore users
// get an error; on hybridstore each replica goes on alone.
func TestRedisPaused(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		b = b.givesUp()
		redis, w, random := redistest.Run(t, redistest.Options{}), busyWorld(t), newRandom(t)
		l := startLoad(t, w, w.newUsers(pick(24, 100), random), loadtest.NewFleet(w.replicas(t, b, redis.URL())...),
			b.outageCodes()...)
		for range pick(1, 3) {
			l.Progress(pick(300, 800))
			told := l.Seen(httpapi.CodeStoreUnavailable)
			require.NoError(t, redis.Pause())
			time.Sleep(opTimeout + 2*time.Second)
			if b.goesOn {
				for _, r := range l.Fleet.All() {
					loadtest.Eventually(t, "replica "+r.Name+" is alone", func() bool { return isAlone(r) })
				}
			} else {
				loadtest.Eventually(t, "users are told", func() bool { return l.Seen(httpapi.CodeStoreUnavailable) > told })
			}
			require.NoError(t, redis.Resume())
		}
		l.Progress(pick(300, 800))
		l.Stop()
	})
}
