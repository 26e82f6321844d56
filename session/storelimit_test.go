package session_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// errOwnLimit is what a store says whose time limit is not the caller's.
var errOwnLimit = fmt.Errorf("store: no answer in time: %w", context.DeadlineExceeded)

// A lock that runs into a time limit of the store's own is not held by another replica.
func TestKeepAlive_LogsATimeLimitOfTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	log := new(testlog.Buffer)
	m := w.manager(t, func(c *session.Config) {
		c.KeepAlive.Enabled = true
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	w.store.set(func(op, key string) error {
		if op == "lock" && kindOf(key) == "alive" {
			return errOwnLimit
		}
		return nil
	}, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.KeepAlive(ctx) }()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "cannot keep sessions alive now") }, time.Minute, time.Millisecond)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	_, err := m.KeepAliveOnce(t.Context())
	requireStoreError(t, err)
}

// The turn of another replica is no failure.
func TestKeepAlive_TurnOfAnotherReplicaIsNoFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) { c.KeepAlive.Enabled = true })
	unlock, err := w.store.Lock(t.Context(), "alive:progress", time.Hour)
	require.NoError(t, err)
	defer unlock()
	more, err := m.KeepAliveOnce(t.Context())
	require.NoError(t, err)
	require.False(t, more)
}

// A time limit of the store's own is no slow MCP server.
func TestTools_TimeLimitOfTheStoreIsItsFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	w.connected(t, m)
	before := w.store.count("get session")
	w.store.set(func(op, key string) error {
		if op == "get" && kindOf(key) == "session" && w.store.count("get session") > before+1 { // the first one finds the session
			return errOwnLimit
		}
		return nil
	}, nil)
	all, err := m.Tools(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, all.Failed, 1)
	requireStoreError(t, all.Failed[0].Err)
	require.NotErrorAs(t, all.Failed[0].Err, new(*oauthclient.TemporaryError), "a slow server")
}
