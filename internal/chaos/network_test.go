package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// The network between one replica and Redis fails in every way; the other
// replica goes on as if nothing had happened.
func TestNetworkOfOneReplicaFails(t *testing.T) { onEachBackend(t, networkOfOneReplicaFails) }

func networkOfOneReplicaFails(t *testing.T, b backend) {
	redis, w, random := redistest.Run(t, redistest.Options{}), busyWorld(t), newRandom(t)
	network := redistest.RunProxy(t, redis.Addr())
	cutOff := w.replica(t, "cut off", b.givesUp().store(t, redis.URLAt(network.Addr())))
	other := w.replica(t, "other", b.store(t, redis.URL()))
	l := newLoad(t, w, w.newUsers(pick(24, 100), random), loadtest.NewFleet(cutOff, other),
		b.outageCodes()...)
	l.CallsOnly = true // a callback that failed on one replica can fail on the other
	l.Start()
	faults := []func(){network.Cut, network.Silence, network.Drop, func() { network.Delay(30 * time.Millisecond) }}
	for range pick(1, 4) {
		for _, i := range random.Perm(len(faults)) {
			l.Progress(pick(150, 400))
			faults[i]()
			time.Sleep(time.Duration(random.Int64N(int64(pick(time.Second, 5*time.Second)))))
			network.Heal()
		}
	}
	l.Progress(pick(200, 400))
	l.Stop()
	require.Zero(t, l.FailuresOn(other))
}

// Both replicas lose Redis for longer than a store tries.
func TestNetworkOfAllReplicasFails(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		b = b.givesUp()
		redis, w, random := redistest.Run(t, redistest.Options{}), busyWorld(t), newRandom(t)
		network := redistest.RunProxy(t, redis.Addr())
		l := startLoad(t, w, w.newUsers(pick(24, 100), random), loadtest.NewFleet(w.replicas(t, b, redis.URLAt(network.Addr()))...),
			b.outageCodes()...)
		for range pick(1, 5) {
			l.Progress(pick(200, 400))
			network.Cut()
			time.Sleep(opTimeout + time.Duration(random.Int64N(int64(time.Second))))
			network.Heal()
		}
		l.Progress(pick(200, 400))
		l.Stop()
	})
}
