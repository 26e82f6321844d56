package chaos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// Replicas are replaced one by one, as a deployment does it. No request fails.
func TestRollingRestart(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), busyWorld(t)
		f := loadtest.NewFleet(w.replicas(t, b, redis.URL())...)
		l := startLoad(t, w, w.newUsers(pick(100, 1000), newRandom(t)), f)
		for range pick(1, 2) {
			for _, old := range f.All() {
				l.Progress(pick(100, 1000))
				f.Add(w.replica(t, "next "+old.Name, b.store(t, redis.URL())))
				f.Drain(old)
				require.NoError(t, old.Manager.Close())
			}
		}
		l.Progress(pick(200, 1000))
		l.Stop()
	})
}

// Replicas stop without being taken out of rotation first. A request to
// such a replica gets an answer that says to try again. Nothing is lost.
func TestRestartWithoutDraining(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), busyWorld(t)
		f := loadtest.NewFleet(w.replicas(t, b, redis.URL())...)
		l := startLoad(t, w, w.newUsers(pick(50, 200), newRandom(t)), f, httpapi.CodeShuttingDown, httpapi.CodeInvalidCallback)
		for range pick(2, 5) {
			for _, old := range f.All() {
				l.Progress(pick(60, 500))
				require.NoError(t, old.Manager.Close())
				f.Add(w.replica(t, "next "+old.Name, b.store(t, redis.URL())))
				f.Drain(old)
			}
		}
		l.Progress(pick(200, 1000))
		l.Stop()
	})
}
