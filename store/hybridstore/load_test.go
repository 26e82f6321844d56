package hybridstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// fleet opens ten replicas on the Redis at addr. A busy machine is no outage, and no
// reason to replace a connection.
func fleet(t *testing.T, addr string) []*hybridstore.Store {
	t.Helper()
	const patience = 30 * time.Second
	config := hybridstore.Config{Redis: redisstore.Config{
		ClientOption: rueidis.ClientOption{InitAddress: []string{addr}, ConnWriteTimeout: patience}, OpTimeout: patience,
	}}
	replicas := make([]*hybridstore.Store, 10)
	for i := range replicas {
		replicas[i], _ = open(t, config)
	}
	return replicas
}

// commandsDuring counts the commands that Redis executes while f runs, PINGs apart.
// seconds is how long that took.
func commandsDuring(t *testing.T, server *redistest.Server, f func()) (stats redistest.Stats, pings int64, seconds float64) {
	t.Helper()
	began := time.Now()
	require.NoError(t, server.ResetStats())
	f()
	stats, err := server.CommandStats()
	require.NoError(t, err)
	return stats, countPings(t, server), time.Since(began).Seconds()
}

func countPings(t *testing.T, server *redistest.Server) (n int64) {
	t.Helper()
	all, err := server.Info("commandstats")
	require.NoError(t, err)
	_, _ = fmt.Sscanf(all["cmdstat_ping"], "calls=%d,", &n)
	return n
}

// untilPings waits until Redis has answered n health checks. Each replica sends one a
// second, so that shows that the replicas have had time to send something else.
func untilPings(t *testing.T, server *redistest.Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return countPings(t, server) >= int64(n) }, time.Minute, 50*time.Millisecond)
}

// At most one command per replica and second, also when Redis cannot
// remember who has read what.
func TestIdle_AtMostOneCommandASecond(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, table string }{{"table is large", "1000000"}, {"table is full", "100"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{})
			_, err := server.Do("CONFIG", "SET", "tracking-table-max-keys", tt.table)
			require.NoError(t, err)
			replicas := fleet(t, server.Addr())
			for i := range 300 {
				create(t, replicas[0], fmt.Sprint("session", i), "v")
			}
			for _, s := range replicas {
				for i := range 300 {
					requireValue(t, s, fmt.Sprint("session", i), "v")
				}
			}
			stats, pings, seconds := commandsDuring(t, server, func() { untilPings(t, server, 5*len(replicas)) })
			t.Logf("%s: %d replicas, %.1f s: %d PINGs, others: %v", tt.name, len(replicas), seconds, pings, stats)
			require.Empty(t, stats, "nothing but health checks")
			require.LessOrEqual(t, float64(pings), float64(len(replicas))*(seconds+1))
		})
	}
}

// TestCostOfAWrite does not depend on how many replicas have read the record.
func TestCostOfAWrite(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	replicas := fleet(t, server.Addr())
	create(t, replicas[0], "session", "v")
	for _, s := range replicas {
		requireValue(t, s, "session", "v")
	}
	const writes = 200
	stats, _, _ := commandsDuring(t, server, func() {
		value := "v"
		for i := range writes {
			next := fmt.Sprint("v", i)
			update(t, replicas[0], "session", value, next)
			value = next
		}
	})
	t.Logf("%d writes to a record that %d replicas have read: %v", writes, len(replicas), stats)
	require.Equal(t, redistest.Stats{"evalsha": writes, "get": writes, "set": writes, "exists": writes}, stats,
		"get and set are the script's own")
}

// TestCostOfAReconnect does not depend on how many records a replica remembers.
func TestCostOfAReconnect(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	proxy := redistest.RunProxy(t, server.Addr())
	replicas := fleet(t, proxy.Addr())
	const records = 400
	for i := range records {
		create(t, replicas[0], fmt.Sprint("session", i), "v")
	}
	var wg sync.WaitGroup
	for _, s := range replicas {
		wg.Go(func() {
			for i := range records {
				_, _, _ = s.Get(t.Context(), fmt.Sprint("session", i))
			}
		})
	}
	wg.Wait()
	stats, pings, seconds := commandsDuring(t, server, func() {
		proxy.Drop() // one reset of all connections
		untilPings(t, server, 2*len(replicas))
	})
	t.Logf("a reset of %d replicas that remember %d records each: %d PINGs, others: %v", len(replicas), records, pings, stats)
	require.Zero(t, stats.Total(), "%v", stats)
	require.LessOrEqual(t, float64(pings), float64(len(replicas))*(seconds+4))
	for _, s := range replicas {
		require.True(t, s.IsRedisConnected(), "a reset is no outage")
	}
	requireValue(t, replicas[1], "session1", "v")
}

// What Redis lost is not written again.
func TestCostOfAnEmptyRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	replicas := fleet(t, server.Addr())
	const records = 400
	for i := range records {
		create(t, replicas[i%len(replicas)], fmt.Sprint("session", i), "v")
	}
	stats, _, _ := commandsDuring(t, server, func() {
		_, err := server.Do("FLUSHALL")
		require.NoError(t, err)
		untilPings(t, server, 2*len(replicas))
	})
	delete(stats, "flushall")
	t.Logf("%d replicas after FLUSHALL: %v", len(replicas), stats)
	require.Zero(t, stats.Total(), "%v", stats)
}
