package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A hook may use the session that it is called about, also while a call agrees on a
// connection with the MCP server. For that the hook's call would have to wait, and so
// for itself, until a time-out.
func TestHooks_MayUseTheirSession(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		hook   func(c *session.Config, use func(context.Context, session.Info))
		before func(w *world) // the first call after the callback, which has not reached the MCP server; nil for the connect
		works  bool
	}{
		"OnAuthorizationRequired, at connect": {
			hook: func(c *session.Config, use func(context.Context, session.Info)) {
				c.OnAuthorizationRequired = func(ctx context.Context, info session.Info, _ *oauthclient.AuthorizationRequiredError) {
					use(ctx, info)
				}
			},
		},
		"OnAuthorizationRequired, later": {
			hook: func(c *session.Config, use func(context.Context, session.Info)) {
				c.OnAuthorizationRequired = func(ctx context.Context, info session.Info, _ *oauthclient.AuthorizationRequiredError) {
					use(ctx, info)
				}
			},
			before: func(w *world) { w.as.RevokeAll() },
		},
		"OnRefreshed": {
			hook:   func(c *session.Config, use func(context.Context, session.Info)) { c.OnRefreshed = use },
			before: func(w *world) { w.advance(61 * time.Minute) },
			works:  true,
		},
		"OnConnectionLost, refused": {
			hook: func(c *session.Config, use func(context.Context, session.Info)) {
				c.OnConnectionLost = func(ctx context.Context, info session.Info, _ session.LostReason) { use(ctx, info) }
			},
			before: func(w *world) { w.as.RevokeAll(); w.advance(61 * time.Minute) },
		},
		"OnConnectionLost, by GrantTTL": {
			hook: func(c *session.Config, use func(context.Context, session.Info)) {
				c.GrantTTL = time.Hour
				c.OnConnectionLost = func(ctx context.Context, info session.Info, _ session.LostReason) { use(ctx, info) }
			},
			before: func(w *world) { w.advance(61 * time.Minute) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			var m *session.Manager
			armed, calls := row.before == nil, 0
			var inHook error
			m = w.manager(t, func(c *session.Config) {
				row.hook(c, func(ctx context.Context, info session.Info) {
					if armed {
						armed = false
						calls++
						_, inHook = m.CallTool(ctx, alice, info.ID.Reveal(), "echo", nil)
					}
				})
			})
			info, err := m.Connect(t.Context(), alice, w.params())
			if row.before != nil {
				w.mcp.SetOutage(authtest.StatusOutage(503))
				_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, requireAuthorization(t, err).AuthURL))
				require.NoError(t, err)
				w.mcp.SetOutage(nil)
				row.before(w)
				armed = true
				err = call(t, m, info.ID.Reveal())
			}
			require.Equal(t, 1, calls, "the hook was called before the error is returned")
			if row.works {
				require.NoError(t, err)
				require.NoError(t, inHook)
				return
			}
			requireAuthorization(t, err)
			requireAuthorization(t, inHook)
		})
	}
}
