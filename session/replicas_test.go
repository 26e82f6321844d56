package session_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// Pain 5: the callback lands on another replica.
func TestPain05CallbackLandsOnAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)

	tools, err := a.ListTools(t.Context(), alice, id)
	require.NoError(t, err)
	require.NotEmpty(t, tools)
	result, err := b.CallTool(t.Context(), alice, id, "echo", map[string]any{"n": 1})
	require.NoError(t, err)
	require.False(t, result.IsError)
	require.Equal(t, 1, w.as.Counts().Registrations)

	require.NoError(t, a.RemoveClient(t.Context(), alice, id))
	_, err = b.CallTool(t.Context(), alice, id, "echo", nil)
	require.ErrorIs(t, err, session.ErrNotFound, "a session removed on one replica is gone on the other")
}

// Pain 1: a race for the refresh, whose loser would use up a rotated token.
func TestPain01RefreshHappensOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a, b)
	w.as.ExpireAccessTokens()

	var wg sync.WaitGroup
	for _, m := range []*session.Manager{a, b} {
		for range 50 {
			wg.Go(func() {
				_, err := m.CallTool(t.Context(), alice, id, "echo", nil)
				require.NoError(t, err)
			})
		}
	}
	wg.Wait()
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Zero(t, w.as.Counts().ReuseDetected)
}
