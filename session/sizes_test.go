package session_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// A token that is too long is refused with its length and the name of the limit,
// at a callback and at a refresh.
func TestTokenTooLong(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"access_token", "refresh_token"} {
		t.Run(member, func(t *testing.T) {
			t.Parallel()
			var long atomic.Bool
			token := strings.Repeat("t", 16<<10+1)
			w := newWorld(t, authtest.Options{EditToken: func(answer map[string]any) {
				if long.Load() {
					answer[member] = token
				}
			}}, mcptest.Options{})
			m := w.manager(t)
			requireRefused := func(err error) {
				t.Helper()
				require.ErrorContains(t, err, "a token of 16385 bytes, MaxTokenBytes allows 16384")
				require.NotContains(t, err.Error(), token)
			}

			id := w.connected(t, m)
			_, required := w.connect(t, m, alice)
			long.Store(true)
			_, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
			requireRefused(err)

			w.advance(61 * time.Minute)
			requireRefused(call(t, m, id))

			roomy := w.manager(t, func(c *session.Config) { c.Client.MaxTokenBytes = 20 << 10 })
			_, required = w.connect(t, roomy, alice)
			_, err = roomy.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
			require.NotContains(t, errorText(err), "MaxTokenBytes")
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A record that is too large for the store is an error at once, and names the
// limit. The session goes on as it was.
func TestRecordTooLarge(t *testing.T) {
	t.Parallel()
	var large atomic.Bool
	w := newWorld(t, authtest.Options{EditToken: func(answer map[string]any) {
		if large.Load() {
			answer["scope"] = strings.Repeat("s", store.DefaultMaxValueBytes)
		}
	}}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	requireTooLarge := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, store.ErrInvalid)
		require.ErrorContains(t, err, "MaxValueBytes allows 262144")
		requireStoreError(t, err)
	}
	large.Store(true)
	_, required := w.connect(t, m, alice)
	before := w.store.count("swap session")
	_, err := m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	requireTooLarge(err)
	require.LessOrEqual(t, w.store.count("swap session"), before+2, "the tokens, which is not tried again, and the status")

	w.as.ExpireAccessTokens()
	before = w.store.count("swap session")
	requireTooLarge(call(t, m, id))
	require.Equal(t, before+1, w.store.count("swap session"), "not tried again")
	requireStatus(t, m, id, session.StatusConnected)
}

// What a caller gives to Connect has limits, too.
func TestConnectParamsTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	for name, change := range map[string]func(*session.ConnectParams){
		"server URL":   func(p *session.ConnectParams) { p.ServerURL += "?" + strings.Repeat("q", 2048) },
		"callback URL": func(p *session.ConnectParams) { p.CallbackURL += "?" + strings.Repeat("q", 2048) },
		"server name":  func(p *session.ConnectParams) { p.ServerName = strings.Repeat("n", 201) },
	} {
		params := w.params()
		change(&params)
		_, err := m.Connect(t.Context(), alice, params)
		require.ErrorAs(t, err, new(*session.InputError), name)
	}
	require.Zero(t, w.store.count("swap session"))
}
