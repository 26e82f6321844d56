package session_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// The store goes away before the attempt of a callback is taken, at any step. The
// attempt has not ended: the same callback finishes it when the store is back.
func TestOutage_BeforeAnAttemptIsTakenIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]int32{ // the first operation on the attempt that fails
		"reading, to find the session":   1,
		"reading, to check the response": 2,
		"reading, to take the attempt":   3,
		"writing, to take the attempt":   4,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var told trail
			var authorized atomic.Int32
			m := w.manager(t, func(c *session.Config) {
				c.OnAuthorizationFailed = func(context.Context, session.Info, error) { t.Error("the attempt is pending") }
				c.OnAuthorized = func(context.Context, session.Info) { authorized.Add(1) }
				c.Audit = told.add
			})
			info, required := w.connect(t, m, alice)
			id, resp := info.ID.Reveal(), w.approve(t, required.AuthURL)
			var operations atomic.Int32
			w.store.set(func(_, key string) error {
				if kindOf(key) == "attempt" && operations.Add(1) >= from {
					return errOutage
				}
				return nil
			}, nil)
			failed, err := m.FinishAuth(t.Context(), alice, "", resp)
			requireStoreError(t, err)
			require.Zero(t, failed)
			w.store.heal()
			requireAttempt(t, m, id, required.AttemptID, session.AttemptInfo{Status: session.AttemptPending})
			requireStatus(t, m, id, session.StatusAuthorizing)
			_, err = m.FinishAuth(t.Context(), alice, "", resp)
			require.NoError(t, err)
			require.EqualValues(t, 1, authorized.Load())
			require.Len(t, told.events, 2, "the connect and the authorization")
		})
	}
}

// A browser sends its callback twice. The second one meets an outage and records
// nothing: the first one has taken the attempt and finishes it.
func TestOutage_OfASecondCallbackIsNoFailureOfTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, func(c *session.Config) {
		c.OnAuthorizationFailed = func(context.Context, session.Info, error) { t.Error("the first callback has the attempt") }
	})
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	taken, reads := make(chan struct{}), 0
	var first <-chan error
	var release func()
	w.store.set(func(op, key string) error {
		if kindOf(key) != "attempt" || op != "get" {
			return nil
		}
		if reads++; reads != 2 { // the second read of the second callback
			return nil
		}
		w.store.heal()
		first, release = w.finishHeld(t.Context(), t, w.manager(t), resp)
		close(taken)
		return errOutage
	}, nil)
	_, err := m.FinishAuth(t.Context(), alice, "", resp)
	<-taken
	requireStoreError(t, err)
	release()
	require.NoError(t, <-first)
	requireAttempt(t, m, info.ID.Reveal(), required.AttemptID, session.AttemptInfo{Status: session.AttemptSucceeded})
}
