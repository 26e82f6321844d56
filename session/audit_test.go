package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// trail is what a host was told.
type trail struct {
	mu     sync.Mutex
	events []session.AuditEvent
}

func (tr *trail) add(_ context.Context, e session.AuditEvent) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, e)
}

func TestAuditOfAJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Configure: func(s *mcp.Server) {
		mcp.AddTool(s, &mcp.Tool{Name: "broken"}, func(context.Context, *mcp.CallToolRequest, map[string]any) (*mcp.CallToolResult, any, error) {
			return nil, nil, errors.New("it is broken")
		})
	}})
	var told trail
	m := w.manager(t, func(c *session.Config) { c.Audit = told.add })
	params := w.params()
	params.ServerURL += "?api_key=sk-canary"
	info, err := m.Connect(t.Context(), alice, params)
	required := requireAuthorization(t, err)
	response := w.approve(t, required.AuthURL)
	id, key := info.ID.Reveal(), info.Key

	_, err = m.FinishAuth(t.Context(), session.Caller{Owner: "alice", Binding: "another browser"}, "", response)
	require.ErrorIs(t, err, oauthclient.ErrInvalidCallback)
	_, err = m.FinishAuth(t.Context(), alice, "", response)
	require.NoError(t, err)
	_, err = m.CallTool(t.Context(), alice, id, "echo", map[string]any{"argument": "canary"})
	require.NoError(t, err)
	_, err = m.CallTool(t.Context(), alice, id, "broken", nil)
	require.NoError(t, err)
	_, err = m.CallTool(t.Context(), session.Caller{Owner: "mallory"}, id, "echo", nil)
	require.ErrorIs(t, err, session.ErrNotFound)
	require.NoError(t, m.RemoveClient(t.Context(), alice, id))
	_, err = m.CallTool(t.Context(), alice, id, "echo", nil) // of a session that is gone: nothing was done
	require.ErrorIs(t, err, session.ErrNotFound)

	_, required = w.connect(t, m, alice)
	denied, err := m.FinishAuth(t.Context(), alice, "", w.deny(t, required.AuthURL))
	require.Error(t, err)

	_, err = m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: "https://u:canary@nowhere.example/", CallbackURL: callbackURL})
	require.Error(t, err)

	now, server := w.clock.Now(), oauthclient.ServerHost(w.mcp.URL())
	event := func(action session.AuditAction, key, server, tool, failure string) session.AuditEvent {
		return session.AuditEvent{Time: now, Action: action, Owner: "alice", SessionKey: key, Server: server, Tool: tool, ErrorType: failure}
	}
	foreign := event(session.AuditRefuse, key, server, "", "session_not_found")
	foreign.Owner, foreign.SessionOwner = "mallory", "alice"
	require.Equal(t, []session.AuditEvent{
		event(session.AuditConnect, key, server, "", "authorization_required"),
		event(session.AuditRefuse, key, "", "", "invalid_callback"),
		event(session.AuditAuthorize, key, server, "", ""),
		event(session.AuditCallTool, key, server, "echo", ""),
		event(session.AuditCallTool, key, server, "broken", "tool_error"),
		foreign,
		event(session.AuditDisconnect, key, server, "", ""),
		event(session.AuditConnect, denied.Key, server, "", "authorization_required"),
		event(session.AuditAuthorize, denied.Key, server, "", "access_denied"),
		event(session.AuditConnect, "", "nowhere.example", "", "invalid_input"),
	}, told.events)

	var log testlog.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("audit", "event", foreign)
	for _, text := range []string{log.String(), fmt.Sprintf("%+v %#v", told.events, told.events)} {
		require.NotContains(t, text, "canary")
		require.NotContains(t, text, id)
		require.NotContains(t, text, id[26:])
	}
	require.Contains(t, log.String(), "session_owner=alice")
}

func TestAuditOfPolicyAndOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var told trail
	allowed := true
	m := w.manager(t, func(c *session.Config) {
		c.Audit = told.add
		c.AllowServer = func(context.Context, session.Caller, string) error {
			if allowed {
				return nil
			}
			return errors.New("not any more")
		}
	})
	id := w.connected(t, m)
	allowed = false
	_, err := m.CallTool(t.Context(), alice, id, "echo", nil)
	require.Error(t, err)
	_, err = m.Connect(t.Context(), alice, w.params())
	require.Error(t, err)
	allowed = true
	require.NoError(t, m.RemoveOwner(t.Context(), "alice"))

	told.events = told.events[2:] // connect, authorize
	require.Len(t, told.events, 4)
	for i, want := range []struct {
		action             session.AuditAction
		owner, whose, fail string
	}{
		{session.AuditCallTool, "alice", "", "refused"},
		{session.AuditConnect, "alice", "", "refused"},
		{session.AuditDisconnect, "alice", "", ""},
		{session.AuditRemoveOwner, "", "alice", ""},
	} {
		got := told.events[i]
		require.Equal(t, want.action, got.Action)
		require.Equal(t, want.owner, got.Owner, got.Action)
		require.Equal(t, want.whose, got.SessionOwner, got.Action)
		require.Equal(t, want.fail, got.ErrorType, got.Action)
	}
}
