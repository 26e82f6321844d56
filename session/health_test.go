package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

func TestHealthOfReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	one := w.manager(t)
	require.NoError(t, one.Health(t.Context()).Err())
	require.NoError(t, w.manager(t).Health(t.Context()).Err())

	otherKey := bytes.Repeat([]byte("x"), 32)
	stranger := w.manager(t, func(c *session.Config) { c.SealKeys = [][]byte{otherKey} })
	require.ErrorContains(t, stranger.Health(t.Context()).Keys, "not among Config.SealKeys")
	rotating := w.manager(t, func(c *session.Config) { c.SealKeys = [][]byte{otherKey, sealKey} })
	require.NoError(t, rotating.Health(t.Context()).Err())
	plain := w.manager(t, func(c *session.Config) { c.SealKeys, c.InsecurePlaintext = nil, true })
	require.Error(t, plain.Health(t.Context()).Keys)

	late := testclock.New(w.clock.Now().Add(-2 * time.Minute))
	behind := w.manager(t, func(c *session.Config) { c.Now = late.Now })
	require.ErrorContains(t, behind.Health(t.Context()).Clock, "behind that of the store")
	early := testclock.New(w.clock.Now().Add(2 * time.Minute))
	ahead := w.manager(t, func(c *session.Config) { c.Now = early.Now })
	require.NoError(t, ahead.Health(t.Context()).Err())
	require.ErrorContains(t, w.manager(t).Health(t.Context()).Clock, "2m0s ahead")

	require.NoError(t, one.Close())
	require.ErrorIs(t, one.Health(t.Context()).Store, session.ErrClosed)
}

// Probes, which anybody may send, cost the store one check a second.
func TestHealthIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	errs := concurrently(50, func(int) error { return m.Health(t.Context()).Err() })
	requireNoErrors(t, errs)
	n := w.store.count("swap health")
	require.NoError(t, m.Health(t.Context()).Err())
	require.Equal(t, n, w.store.count("swap health"))
	w.advance(time.Second)
	require.NoError(t, m.Health(t.Context()).Err())
	require.Greater(t, w.store.count("swap health"), n)
}

func TestHealthWithoutRedis(t *testing.T) {
	t.Parallel()
	redis, err := redistest.Start(redistest.Options{})
	require.NoError(t, err)
	t.Cleanup(redis.Stop)
	hybrid, err := hybridstore.New(t.Context(), hybridstore.Config{Redis: redisstore.Config{URL: redis.URL(), OpTimeout: 3 * time.Second}})
	require.NoError(t, err)
	t.Cleanup(hybrid.Close)
	direct, err := redisstore.New(t.Context(), redisstore.Config{URL: redis.URL()})
	require.NoError(t, err)
	t.Cleanup(direct.Close)
	clock := testclock.New(time.Now())
	manager := func(s store.SessionStore) *session.Manager {
		m, err := session.New(session.Config{Store: s, SealKeys: [][]byte{sealKey}, Now: clock.Now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		return m
	}
	onHybrid, onRedis := manager(hybrid), manager(direct)
	require.NoError(t, onHybrid.Health(t.Context()).Err())
	require.NoError(t, onRedis.Health(t.Context()).Err())

	redis.Kill()
	require.Eventually(t, func() bool { return !hybrid.IsRedisConnected() }, time.Minute, 10*time.Millisecond)
	clock.Advance(2 * time.Minute) // the finding is old, and a new stamp is due
	require.NoError(t, onHybrid.Health(t.Context()).Err(), "it works from memory")
	requireStoreError(t, onRedis.Health(t.Context()).Store)

	require.NoError(t, redis.Restart())
	require.Eventually(t, func() bool {
		clock.Advance(time.Second)
		return hybrid.IsRedisConnected() && onHybrid.Health(t.Context()).Err() == nil && onRedis.Health(t.Context()).Err() == nil
	}, time.Minute, 50*time.Millisecond)
}
