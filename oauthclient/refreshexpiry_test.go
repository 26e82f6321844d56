package oauthclient_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// The end of a refresh token is known where the server states its life, by
// whatever name, and unknown again when another token comes without.
func TestRefreshTokenExpiry(t *testing.T) {
	t.Parallel()
	const life = 2 * time.Hour
	for name, answer := range map[string]map[string]any{
		"GitHub, Microsoft": {"refresh_token_expires_in": 7200},
		"Keycloak":          {"refresh_expires_in": 7200},
		"Intuit":            {"x_refresh_token_expires_in": "7200"},
		"unlimited":         {"refresh_expires_in": 0},
		"absurd":            {"refresh_token_expires_in": 1e300},
		"malformed":         {"refresh_token_expires_in": "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var silent atomic.Bool
			w := newWorld(t, authtest.Options{EditToken: func(doc map[string]any) {
				for name, value := range answer {
					if !silent.Load() {
						doc[name] = value
					}
				}
			}}, mcptest.Options{})
			c := w.connected()
			want := map[string]time.Duration{"unlimited": 0, "malformed": 0, "absurd": 10 * 365 * 24 * time.Hour}
			expect, special := want[name]
			if !special {
				expect = life
			}
			requireLife := func(expect time.Duration) {
				t.Helper()
				if expect == 0 {
					require.Zero(t, w.stored().RefreshExpiry)
					return
				}
				require.Equal(t, w.clock.Now().Add(expect), w.stored().RefreshExpiry)
			}
			requireLife(expect)
			w.clock.Advance(61 * time.Minute)
			require.NoError(t, w.call(c))
			requireLife(expect)
			silent.Store(true)
			w.clock.Advance(61 * time.Minute)
			require.NoError(t, w.call(c))
			requireLife(0)
		})
	}
}

// A server that keeps the refresh token may prolong it, and its end stays known
// if it says nothing.
func TestRefreshTokenExpiryWithoutRotation(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	w := newWorld(t, authtest.Options{NoRotation: true, EditToken: func(doc map[string]any) {
		if !silent.Load() {
			doc["refresh_token_expires_in"] = 86400
		}
	}}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(61 * time.Minute)
	require.NoError(t, w.call(c))
	until := w.clock.Now().Add(24 * time.Hour)
	require.Equal(t, until, w.stored().RefreshExpiry)
	silent.Store(true)
	w.clock.Advance(61 * time.Minute)
	require.NoError(t, w.call(c))
	require.Equal(t, until, w.stored().RefreshExpiry)
}

// Refresh replaces tokens that are not due, unless another process was faster, and
// never asks a user.
func TestRefreshBeforeItIsDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	seen := w.stored()
	require.NoError(t, c.Provider().Refresh(t.Context(), seen))
	require.NotEqual(t, seen.AccessToken.Reveal(), w.stored().AccessToken.Reveal())
	require.Equal(t, w.clock.Now(), w.stored().Issued())
	require.NoError(t, c.Provider().Refresh(t.Context(), seen), "done already")
	require.Equal(t, 1, w.as.Counts().Refreshes)

	w.as.FailNext(authtest.EndpointToken, 1, 503)
	requireTemporary(t, c.Provider().Refresh(t.Context(), w.stored()))
	require.False(t, w.stored().Lost())
	w.clock.Advance(2 * time.Second)

	w.as.RevokeAll()
	err := c.Provider().Refresh(t.Context(), w.stored())
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "invalid_grant", refused.Code)
	require.True(t, w.stored().Lost())
	require.Error(t, c.Provider().Refresh(t.Context(), w.stored()), "nothing to refresh with")
	require.Len(t, w.as.TokenRequests("refresh_token"), 3)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}
