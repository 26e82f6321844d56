package session_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A panic of the host's own function reaches the caller, as in every other method,
// and not the goroutine that works for the caller.
func TestHostPanicsInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	var broken atomic.Bool
	m := w.manager(t, func(c *session.Config) {
		c.ToolFilter = func(_ context.Context, _ session.Info, tool *oauthclient.Tool) bool {
			if broken.Load() {
				panic("no opinion of " + tool.Name)
			}
			return true
		}
		c.HeaderProvider = func(context.Context, session.Info) (http.Header, error) {
			if broken.Load() {
				panic("no headers")
			}
			return nil, nil //nolint:nilnil // none
		}
	})
	for range 3 {
		w.connected(t, m)
	}
	broken.Store(true)
	require.Panics(t, func() { _, _ = m.Tools(t.Context(), alice) })
	require.Panics(t, func() { _ = m.RemoveOwner(t.Context(), alice.Owner) })
	broken.Store(false)
	all, err := m.Tools(t.Context(), alice)
	require.NoError(t, err, "the Manager works on")
	require.Empty(t, all.Failed)
	require.NoError(t, m.RemoveOwner(t.Context(), alice.Owner))
}

// The same in KeepAlive, which the host runs on a goroutine of its own.
func TestHostPanicsInKeepAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 24 * time.Hour}, mcptest.Options{})
	var broken atomic.Bool
	m := w.manager(t, keptAlive, func(c *session.Config) {
		c.OnRefreshed = func(context.Context, session.Info) {
			if broken.Swap(false) {
				panic("no opinion")
			}
		}
	})
	id := w.connected(t, m)
	w.advance(20 * time.Hour)
	broken.Store(true)
	require.Panics(t, func() { rounds(t, m) })
	rounds(t, m)
	requireWorks(t, m, alice, id)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}

// The same with a store of the host's own. A health check finds the panic.
func TestStorePanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	w.connected(t, m)
	w.store.set(func(op, key string) error {
		if op == "get" && !strings.HasPrefix(key, "owner:") {
			panic("a bug of the store")
		}
		return nil
	}, nil)
	require.Panics(t, func() { _, _ = m.Sessions(t.Context(), alice) })
	require.ErrorContains(t, m.Health(t.Context()).Store, "a bug of the store")
	w.store.heal()
	sessions, err := m.Sessions(t.Context(), alice)
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	require.NoError(t, m.Health(t.Context()).Err())
}
