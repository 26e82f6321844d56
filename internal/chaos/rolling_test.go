package chaos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// Replicas are replaced one by one, as a deployment does it. No request fails.
func TestRollingRestart(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), busyWorld(t)
		f := newFleet(w.replicas(t, b, redis.URL())...)
		l := startLoad(t, w, newUsers(w, pick(100, 1000), newRandom(t)), f)
		for range pick(1, 2) {
			for _, old := range f.all() {
				l.progress(pick(100, 1000))
				f.add(w.replica(t, "next "+old.name, b.store(t, redis.URL())))
				f.drain(old)
				require.NoError(t, old.manager.Close())
			}
		}
		l.progress(pick(200, 1000))
		l.stop()
	})
}

// Replicas stop without being taken out of rotation first. A request to
// such a replica gets an answer that says to try again. Nothing is lost.
func TestRestartWithoutDraining(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		redis, w := redistest.Run(t, redistest.Options{}), busyWorld(t)
		f := newFleet(w.replicas(t, b, redis.URL())...)
		l := startLoad(t, w, newUsers(w, pick(50, 200), newRandom(t)), f, httpapi.CodeShuttingDown, httpapi.CodeInvalidCallback)
		for range pick(2, 5) {
			for _, old := range f.all() {
				l.progress(pick(60, 500))
				require.NoError(t, old.manager.Close())
				f.add(w.replica(t, "next "+old.name, b.store(t, redis.URL())))
				f.drain(old)
			}
		}
		l.progress(pick(200, 1000))
		l.stop()
	})
}
