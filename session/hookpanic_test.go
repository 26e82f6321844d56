package session_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/session"
)

// A panic of a hook whose caller has left is logged, with the session.
func TestHookPanic_IsLoggedWhenTheCallerHasLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	log := new(testlog.Buffer)
	m := w.manager(t, func(c *session.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.OnRefreshed = func(context.Context, session.Info) { panic("a mistake of the host") }
	})
	id := w.connected(t, m)
	w.as.ExpireAccessTokens()
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	ctx, leave := context.WithCancel(t.Context())
	called := make(chan error, 1)
	go func() {
		_, err := m.CallTool(ctx, alice, id, "echo", nil)
		called <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, time.Minute, time.Millisecond)
	leave()
	require.ErrorIs(t, <-called, context.Canceled)
	release()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "a mistake of the host") }, time.Minute, time.Millisecond)
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "session="+id[:len(id)/2])
	require.NotContains(t, log.String(), id, "the secret part")
}
