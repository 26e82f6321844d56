package session_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A caller who knows a session can call with ever another browser, and each
// gets an authorization of its own. The store does not fill up with them, and
// the session is none the worse when it is over.
func TestFloodOfAttemptsOfOneSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connectedAs(t, session.Caller{Binding: "desk"}, m)
	w.as.RevokeAll()
	before := w.mem.Len()
	var last *oauthclient.AuthorizationRequiredError
	begun := 0
	for i := range 60 {
		replica := []*session.Manager{m, peer}[i%2]
		_, err := replica.CallTool(t.Context(), session.Caller{Binding: "browser " + strconv.Itoa(i)}, id, "echo", nil)
		var limit *session.LimitError
		if begun < 20 {
			last = requireAuthorization(t, err)
			begun++
			continue
		}
		require.ErrorAs(t, err, &limit)
		require.Equal(t, session.LimitError{Limit: "MaxAttemptsPerSession", Value: 20}, *limit)
	}
	require.Equal(t, before+20, w.mem.Len())

	// The existing ones can be finished, which makes room.
	_, err := m.FinishAuth(t.Context(), session.Caller{Binding: "browser 19"}, id, w.approve(t, last.AuthURL))
	require.NoError(t, err)
	requireWorks(t, peer, session.Caller{Binding: "desk"}, id)
	w.as.RevokeAll()
	_, err = m.CallTool(t.Context(), session.Caller{Binding: "desk"}, id, "echo", nil)
	requireAuthorization(t, err)

	// And so does time.
	for i := range 19 {
		_, err = m.CallTool(t.Context(), session.Caller{Binding: "more " + strconv.Itoa(i)}, id, "echo", nil)
		requireAuthorization(t, err)
	}
	_, err = m.CallTool(t.Context(), session.Caller{Binding: "too many"}, id, "echo", nil)
	require.ErrorContains(t, err, "MaxAttemptsPerSession")
	w.advance(11 * time.Minute)
	_, err = m.CallTool(t.Context(), session.Caller{Binding: "too many"}, id, "echo", nil)
	requireAuthorization(t, err)
}

// One browser may ask as often as it likes: it is the same authorization.
func TestOneBrowserBeginsOneAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) { c.MaxAttemptsPerSession = 1 })
	info, required := w.connect(t, m, alice)
	for range 5 {
		_, err := m.CallTool(t.Context(), alice, info.ID.Reveal(), "echo", nil)
		require.Equal(t, required.AttemptID, requireAuthorization(t, err).AttemptID)
	}
	require.Equal(t, 1, countKind(w, "attempt"))
}

// countKind counts the keys of a kind that were ever written.
func countKind(w *world, kind string) int {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	seen := make(map[string]bool)
	for _, key := range w.store.keys {
		if strings.HasPrefix(key, kind+":") {
			seen[key] = true
		}
	}
	return len(seen)
}
