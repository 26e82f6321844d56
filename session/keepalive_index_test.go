package session_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// The index is no larger than the sessions that live: one whose refresh token
// lasts for a year leaves it when the session ends, and one in use stays.
func TestIndexEndsWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RefreshTokenTTL: 365 * 24 * time.Hour}, mcptest.Options{})
	m := w.manager(t, keptAlive)
	w.connected(t, m)
	used := w.connected(t, m)
	for range 8 {
		w.pass(t, 24*time.Hour, m)
		requireWorks(t, m, alice, used)
	}
	require.Equal(t, 1, w.listed())
	w.pass(t, 15*24*time.Hour, m)
	require.Zero(t, w.listed())
}

// leases notes how long the leases are that are asked for.
type leases struct {
	store.SessionStore
	longest atomic.Int64
}

func (l *leases) Lock(ctx context.Context, key string, ttl time.Duration) (func(), error) {
	l.longest.Store(max(l.longest.Load(), int64(ttl)))
	return l.SessionStore.Lock(ctx, key, ttl)
}

// One replica works at a time also if a refresh may begin only every minute: the
// lease lasts until the last refresh of a turn has ended.
func TestKeepAliveLease(t *testing.T) {
	t.Parallel()
	for perMinute, work := range map[int]time.Duration{1: 2 * time.Minute, 600: 8 * time.Second} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		l := &leases{SessionStore: w.store}
		m := w.manager(t, keptAlive, func(c *session.Config) {
			c.Store, c.LockTTL, c.KeepAlive.RefreshesPerMinute = l, 32*time.Second, perMinute
		})
		rounds(t, m)
		require.GreaterOrEqual(t, time.Duration(l.longest.Load()), work+2*15*time.Second)
	}
}
