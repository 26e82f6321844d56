package session_test

import (
	"context"
	"errors"
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

// An attempt is finished once, however many callbacks race for it.
func TestAttemptIsFinishedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	info, required := w.connect(t, replicas[0], alice)
	resp := w.approve(t, required.AuthURL)
	succeeded := 0
	for _, err := range concurrently(20, func(i int) error {
		_, err := replicas[i%2].FinishAuth(t.Context(), alice, "", resp)
		return err
	}) {
		if err == nil {
			succeeded++
			continue
		}
		require.Equal(t, oauthclient.ErrInvalidCallback, err)
	}
	require.Equal(t, 1, succeeded)
	require.Len(t, w.as.TokenRequests("authorization_code"), 1)
	for _, m := range replicas {
		_, err := m.FinishAuth(t.Context(), alice, "", resp)
		require.Equal(t, oauthclient.ErrInvalidCallback, err, "replayed")
		requireWorks(t, m, alice, info.ID.Reveal())
	}
	require.Zero(t, w.as.Counts().CodesReused)
}

func TestAttemptExpires(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		after time.Duration
		ok    bool
	}{
		"a second before": {10*time.Minute - time.Second, true},
		"to the second":   {10 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t)
			info, required := w.connect(t, m, alice)
			require.Equal(t, w.clock.Now().Add(10*time.Minute), required.Expires)
			resp := w.approve(t, required.AuthURL)
			w.advance(row.after)
			_, err := m.FinishAuth(t.Context(), alice, "", resp)
			if row.ok {
				require.NoError(t, err)
				return
			}
			require.Equal(t, oauthclient.ErrInvalidCallback, err)
			require.Empty(t, w.as.TokenRequests("authorization_code"))
			requireStatus(t, m, info.ID.Reveal(), session.StatusExpired)
			again := requireAuthorization(t, call(t, m, info.ID.Reveal()))
			require.NotEqual(t, required.AuthURL, again.AuthURL)
			requireStatus(t, m, info.ID.Reveal(), session.StatusAuthorizing)
			_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, again.AuthURL))
			require.NoError(t, err)
		})
	}
}

// beginTwo begins two attempts for one session, as two tabs do that reach two
// replicas.
func beginTwo(t *testing.T, w *world) (id string, a, b *session.Manager, first, second *oauthclient.AuthorizationRequiredError) {
	t.Helper()
	a, b = w.manager(t), w.manager(t)
	info, first := w.connect(t, a, alice)
	w.advance(time.Second)
	second = requireAuthorization(t, call(t, b, info.ID.Reveal()))
	require.NotEqual(t, first.AttemptID, second.AttemptID)
	return info.ID.Reveal(), a, b, first, second
}

// Overlapping attempts do not overwrite each other's state.
func TestAttempts_EitherOfTwoTabsFinishesFirst(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]bool{"the first tab first": false, "the second tab first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			id, a, b, first, second := beginTwo(t, w)
			if swap {
				first, second = second, first
			}
			_, err := b.FinishAuth(t.Context(), alice, id, w.approve(t, first.AuthURL))
			require.NoError(t, err)
			requireWorks(t, a, alice, id)
			done, err := a.FinishAuth(t.Context(), alice, id, w.approve(t, second.AuthURL))
			require.NoError(t, err, "a late second success is harmless")
			require.Equal(t, session.StatusConnected, done.Status)
			requireWorks(t, a, alice, id)
			requireWorks(t, b, alice, id)
		})
	}
}

// A stale tab, in which the user says no or whose code is refused, ends
// nothing that works.
func TestAttempts_StaleTabEndsNothingThatWorks(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*world, *testing.T, string) oauthclient.AuthorizationResponse{
		"denied": func(w *world, t *testing.T, authURL string) oauthclient.AuthorizationResponse {
			return w.deny(t, authURL)
		},
		"code refused": func(w *world, t *testing.T, authURL string) oauthclient.AuthorizationResponse {
			resp := w.approve(t, authURL)
			w.as.FailNextWith(authtest.EndpointToken, 1, authtest.OAuthError(400, "invalid_grant", "stale"))
			return resp
		},
		"server away": func(w *world, t *testing.T, authURL string) oauthclient.AuthorizationResponse {
			resp := w.approve(t, authURL)
			w.as.FailNext(authtest.EndpointToken, 1, 503)
			return resp
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			id, a, b, first, second := beginTwo(t, w)
			_, err := a.FinishAuth(t.Context(), alice, id, w.approve(t, second.AuthURL))
			require.NoError(t, err)
			_, err = b.FinishAuth(t.Context(), alice, id, fail(w, t, first.AuthURL))
			require.Error(t, err)
			requireStatus(t, a, id, session.StatusConnected)
			requireWorks(t, a, alice, id)
			requireWorks(t, b, alice, id)
		})
	}
}

// The failure comes first, then the other tab.
func TestAttempts_FailedTabDoesNotEndTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	id, a, b, first, second := beginTwo(t, w)
	_, err := a.FinishAuth(t.Context(), alice, id, w.deny(t, first.AuthURL))
	require.ErrorContains(t, err, "access_denied")
	requireStatus(t, b, id, session.StatusFailed)
	done, err := b.FinishAuth(t.Context(), alice, id, w.approve(t, second.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status)
	require.Empty(t, done.Reason)
}

// However an attempt fails, the status says so with a reason, and a retry
// gives a fresh URL that works.
func TestAttempts_FailureHasAReasonAndARetryWorks(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(*world)
		deny   bool
		reason string
	}{
		"denied":                 {before: func(*world) {}, deny: true, reason: "Access was denied."},
		"server away":            {before: func(w *world) { w.as.FailNext(authtest.EndpointToken, 1, 503) }, reason: "The authorization server could not be reached. Connect again."},
		"connection cut":         {before: func(w *world) { w.as.FailNextWith(authtest.EndpointToken, 1, authtest.Abort()) }, reason: "The authorization server could not be reached. Connect again."},
		"answer lost":            {before: func(w *world) { w.as.DropNext(authtest.EndpointToken, 1) }, reason: "The authorization server could not be reached. Connect again."},
		"no token in the answer": {before: func(w *world) { w.as.FailNextWith(authtest.EndpointToken, 1, authtest.MalformedJSON()) }, reason: "The authorization server's answer cannot be used. Connect again."},
		"code refused":           {before: func(w *world) { w.as.RevokeAll() }, reason: "The authorization server refused (invalid_grant)."},
		"client forgotten":       {before: func(w *world) { w.as.DropClients() }, reason: "The authorization server does not accept this application. Connect again."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m, peer := w.manager(t), w.manager(t)
			info, required := w.connect(t, m, alice)
			id := info.ID.Reveal()
			var resp oauthclient.AuthorizationResponse
			if row.deny {
				resp = w.deny(t, required.AuthURL)
			} else {
				resp = w.approve(t, required.AuthURL)
			}
			row.before(w)
			_, err := peer.FinishAuth(t.Context(), alice, id, resp)
			require.Error(t, err)
			require.Equal(t, row.reason, requireStatus(t, m, id, session.StatusFailed).Reason)
			_, err = m.FinishAuth(t.Context(), alice, id, resp)
			require.Equal(t, oauthclient.ErrInvalidCallback, err, "the attempt is used up")

			again := requireAuthorization(t, call(t, m, id))
			require.NotEqual(t, required.AuthURL, again.AuthURL)
			require.Empty(t, requireStatus(t, peer, id, session.StatusAuthorizing).Reason)
			_, err = m.FinishAuth(t.Context(), alice, id, w.approve(t, again.AuthURL))
			require.NoError(t, err)
			requireWorks(t, peer, alice, id)
		})
	}
}

// A mix-up attack (RFC 9207): the code goes nowhere, and the attempt lives on.
func TestWrongIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	for _, iss := range []string{authtest.WrongIssuer, "", w.as.Issuer() + "/"} {
		wrong := resp
		wrong.Iss = iss
		_, err := m.FinishAuth(t.Context(), alice, "", wrong)
		require.Equal(t, oauthclient.ErrInvalidCallback, err, iss)
	}
	require.Empty(t, w.as.TokenRequests("authorization_code"))
	requireStatus(t, m, info.ID.Reveal(), session.StatusAuthorizing)
	_, err := m.FinishAuth(t.Context(), alice, "", resp)
	require.NoError(t, err)
}

// The browser may leave while the code is being exchanged. What came of it is
// recorded all the same.
func TestBrowserLeavesDuringCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	ctx, leave := context.WithCancel(t.Context())
	done, release := w.finishHeld(ctx, t, m, resp)
	leave()
	release()
	if err := <-done; err != nil {
		require.True(t, errors.Is(err, context.Canceled))
	}
	requireStatus(t, m, info.ID.Reveal(), session.StatusConnected)
	requireWorks(t, w.manager(t), alice, info.ID.Reveal())
}

// A session that is removed takes its pending attempts with it.
func TestCallbackOfARemovedSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	require.NoError(t, m.RemoveClient(t.Context(), alice, info.ID.Reveal()))
	_, err := m.FinishAuth(t.Context(), alice, "", resp)
	require.Equal(t, oauthclient.ErrInvalidCallback, err)
	require.Empty(t, w.as.TokenRequests("authorization_code"))
	require.Empty(t, w.store.live("session"))
}

// Removed while its code is being exchanged, a session stays removed.
func TestRemovalDuringCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	done, release := w.finishHeld(t.Context(), t, m, resp)
	require.NoError(t, peer.RemoveClient(t.Context(), alice, info.ID.Reveal()))
	release()
	require.Equal(t, oauthclient.ErrInvalidCallback, <-done)
	require.Equal(t, 1, w.as.Counts().Exchanges)
	require.Equal(t, 2, w.as.Counts().Revocations, "no token is left behind")
	require.Empty(t, w.store.live("session"))
	require.Empty(t, w.store.live("owner"))
	requireUnknown(t, m, alice, info.ID.Reveal())
}

// finishHeld begins to finish an attempt of alice, and returns when the code is at the
// token endpoint, which answers after release. done gets what FinishAuth returned.
func (w *world) finishHeld(ctx context.Context, t *testing.T, m *session.Manager, resp oauthclient.AuthorizationResponse) (done <-chan error, release func()) {
	t.Helper()
	release = w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	finished := make(chan error, 1)
	go func() {
		_, err := m.FinishAuth(ctx, alice, "", resp)
		finished <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("authorization_code")) == 1 }, 30*time.Second, time.Millisecond)
	return finished, release
}

func requireAttempt(t *testing.T, m *session.Manager, id, attemptID string, want session.AttemptInfo) {
	t.Helper()
	got, err := m.Attempt(t.Context(), alice, id, attemptID)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Who waits for a step-up must not take another tab's use of the session, which
// makes it connected, for its end; nor the end of another session's attempt.
func TestAttemptTellsWhatTheSessionCannot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{ToolScopes: map[string][]string{"admin": {"admin"}}})
	a, b := w.manager(t), w.manager(t)
	id, other := w.connected(t, a), w.connected(t, a)
	stepUp := func() *oauthclient.AuthorizationRequiredError {
		_, err := a.CallTool(t.Context(), alice, id, "admin", nil)
		return requireAuthorization(t, err)
	}

	denied := stepUp()
	requireAttempt(t, b, id, denied.AttemptID, session.AttemptInfo{Status: session.AttemptPending})
	requireAttempt(t, b, other, denied.AttemptID, session.AttemptInfo{Status: session.AttemptExpired})
	requireWorks(t, b, alice, id)
	requireStatus(t, b, id, session.StatusConnected)
	requireAttempt(t, b, id, denied.AttemptID, session.AttemptInfo{Status: session.AttemptPending})
	_, err := b.FinishAuth(t.Context(), alice, "", w.deny(t, denied.AuthURL))
	require.Error(t, err)
	requireAttempt(t, a, id, denied.AttemptID, session.AttemptInfo{Status: session.AttemptFailed, Code: "access_denied", Reason: "Access was denied."})

	granted := stepUp()
	require.NotEqual(t, denied.AttemptID, granted.AttemptID)
	_, err = b.FinishAuth(t.Context(), alice, "", w.approve(t, granted.AuthURL))
	require.NoError(t, err)
	requireAttempt(t, a, id, granted.AttemptID, session.AttemptInfo{Status: session.AttemptSucceeded})
	requireStatus(t, a, id, session.StatusConnected)

	_, err = a.Attempt(t.Context(), session.Caller{Owner: "bob"}, id, granted.AttemptID)
	require.Equal(t, session.ErrNotFound, err)
	w.advance(10 * time.Minute)
	requireAttempt(t, a, id, granted.AttemptID, session.AttemptInfo{Status: session.AttemptExpired})
	requireAttempt(t, a, id, "unknown", session.AttemptInfo{Status: session.AttemptExpired})
}

// A callback that is refused changes nothing but what the waiting page learns, and
// that once.
func TestRefusedCallbackIsNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	attempt := func() session.AttemptInfo {
		t.Helper()
		got, err := m.Attempt(t.Context(), alice, info.ID.Reveal(), required.AttemptID)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, session.AttemptInfo{Status: session.AttemptPending}, attempt())
	peer.CallbackRefused(t.Context(), oauthclient.AuthorizationResponse{State: oauthclient.Secret{}})
	require.Equal(t, session.AttemptInfo{Status: session.AttemptPending}, attempt())
	peer.CallbackRefused(t.Context(), resp)
	require.Equal(t, session.AttemptInfo{Status: session.AttemptPending, Refused: true}, attempt())
	requireStatus(t, m, info.ID.Reveal(), session.StatusAuthorizing)
	swaps := w.store.count("swap attempt")
	peer.CallbackRefused(t.Context(), resp)
	require.Equal(t, swaps, w.store.count("swap attempt"))

	_, err := m.FinishAuth(t.Context(), alice, "", resp)
	require.NoError(t, err)
	require.Equal(t, session.AttemptInfo{Status: session.AttemptSucceeded}, attempt())
	peer.CallbackRefused(t.Context(), resp)
	require.Equal(t, session.AttemptInfo{Status: session.AttemptSucceeded}, attempt())
}

// The right callback arrives while the refusal of another one is being noted.
func TestRefusedCallbackDoesNotGetInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	_, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	var noted atomic.Bool
	w.store.set(func(op, key string) error {
		if op == "swap" && strings.HasPrefix(key, "attempt:") && noted.CompareAndSwap(false, true) {
			peer.CallbackRefused(t.Context(), resp)
		}
		return nil
	}, nil)
	_, err := m.FinishAuth(t.Context(), alice, "", resp)
	require.NoError(t, err)
}
