package httpapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// A callback during an outage spends nothing: the page waits, and the same address
// ends well when Redis is back.
func TestCallbackDuringAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Persist: true})
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	onRedis(t, w, 1, server, 2*time.Second, byHeader)
	b := w.browser(t, "alice")
	begun := b.connect()
	callback := b.approve(begun)
	server.Kill()
	for range 3 { // the page loads itself again
		waiting := b.send("GET", callback, "", "Accept", "text/html")
		require.Equal(t, 503, waiting.status, waiting.body)
		require.Contains(t, waiting.body, "This page tries again by itself.")
	}
	require.Zero(t, w.as.Counts().Exchanges)
	require.NoError(t, server.Restart())
	require.Eventually(t, func() bool {
		done := b.send("GET", callback, "", "Accept", "text/html")
		require.Contains(t, []int{200, 503}, done.status, done.body)
		return done.status == 200
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, 200, b.call(begun.AuthRequired.SessionID, "echo", `{}`).status)
	require.Equal(t, 1, w.as.Counts().Exchanges)
}
