package otelsession_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/session/otelsession"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

func TestMetricsOfAnOutage(t *testing.T) {
	t.Parallel()
	redis, err := redistest.Start(redistest.Options{})
	require.NoError(t, err)
	t.Cleanup(redis.Stop)
	sessions, err := hybridstore.New(t.Context(), hybridstore.Config{Redis: redisstore.Config{URL: redis.URL(), OpTimeout: 3 * time.Second}})
	require.NoError(t, err)
	t.Cleanup(sessions.Close)
	w := newWorld(t, sessions, otelsession.Config{RedisConnected: sessions.IsRedisConnected}, mcptest.Options{})
	id := w.authorize(t, "")
	require.Equal(t, 200, w.call(t, id, "echo"))
	require.EqualValues(t, 1, sum(collect(t, w.reader)["mcpoauth.redis.connected"]))

	redis.Kill()
	require.Eventually(t, func() bool { return !sessions.IsRedisConnected() }, time.Minute, 10*time.Millisecond)
	require.Equal(t, 503, w.call(t, session.GenerateSessionID(), "echo"))
	got := collect(t, w.reader)
	require.EqualValues(t, 0, sum(got["mcpoauth.redis.connected"]))
	reads := got["mcpoauth.store.operation.duration"]
	require.Positive(t, sum(reads, "mcpoauth.operation", "get", "error.type", "unsure")+sum(reads, "mcpoauth.operation", "get", "error.type", "unavailable"), "%v", reads)
	require.Positive(t, sum(got["mcpoauth.endpoint.duration"], "error.type", "store_unavailable"))
}

// TestAPIAlone keeps OpenTelemetry's SDK out of hosts that bring another one.
func TestAPIAlone(t *testing.T) {
	t.Parallel()
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for _, dep := range strings.Fields(string(deps)) {
		require.False(t, strings.HasPrefix(dep, "go.opentelemetry.io/otel/sdk") || strings.HasPrefix(dep, "go.opentelemetry.io/otel/exporters"), dep)
	}
}
