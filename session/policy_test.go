package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

func requireRefused(t *testing.T, err error) *session.RefusedError {
	t.Helper()
	var refused *session.RefusedError
	require.ErrorAs(t, err, &refused)
	return refused
}

// A server that the host does not allow is not asked for anything, at connect and
// at each use, on every replica. The session can be seen and removed.
func TestHostAllowsServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var closed atomic.Bool
	errBlocked := errors.New("on the block list of tenant 7")
	policy := func(c *session.Config) {
		c.AllowServer = func(_ context.Context, caller session.Caller, serverURL string) error {
			if closed.Load() && caller.Owner == "alice" && serverURL == w.mcp.URL() {
				return errBlocked
			}
			return nil
		}
	}
	first, second := w.manager(t, policy), w.manager(t, policy)
	id := w.connected(t, first)
	info, pending := w.connect(t, first, alice)
	response := w.approve(t, pending.AuthURL)
	source, err := first.TokenSource(t.Context(), alice, id)
	require.NoError(t, err)

	closed.Store(true)
	asked, rows := len(w.mcp.Requests()), countKind(w, "session")
	_, err = first.Connect(t.Context(), alice, w.params())
	require.ErrorIs(t, requireRefused(t, err).Err, errBlocked)
	require.NotErrorIs(t, err, errBlocked, "what the host's error wraps is none of the session's errors")
	require.Equal(t, rows, countKind(w, "session"))
	_, err = second.FinishAuth(t.Context(), alice, "", response)
	requireRefused(t, err)
	require.Len(t, w.as.TokenRequests("authorization_code"), 1, "the code is not sent")
	for name, use := range map[string]func(m *session.Manager) error{
		"tools": func(m *session.Manager) error { _, err := m.ListTools(t.Context(), alice, id); return err },
		"page": func(m *session.Manager) error {
			_, err := m.ListPage(t.Context(), alice, id, oauthclient.ListTools, "")
			return err
		},
		"call": func(m *session.Manager) error { return call(t, m, id) },
		"prompts": func(m *session.Manager) error {
			_, err := m.ListPrompts(t.Context(), alice, id)
			return err
		},
		"server": func(m *session.Manager) error { _, err := m.Server(t.Context(), alice, id); return err },
		"client": func(m *session.Manager) error { _, err := m.GetClient(t.Context(), alice, id); return err },
		"tokens": func(m *session.Manager) error { _, err := m.TokenSource(t.Context(), alice, id); return err },
		"token":  func(*session.Manager) error { _, err := source.Token(); return err },
	} {
		for _, m := range []*session.Manager{first, second} {
			requireRefused(t, use(m))
		}
		require.Len(t, w.mcp.Requests(), asked, name)
	}
	requireStatus(t, second, id, session.StatusConnected)

	closed.Store(false)
	requireWorks(t, second, alice, id)
	_, err = second.FinishAuth(t.Context(), alice, "", response)
	require.NoError(t, err, "the attempt was not spent")
	closed.Store(true)
	require.NoError(t, second.RemoveClient(t.Context(), alice, id))
	require.NoError(t, second.RemoveClient(t.Context(), alice, info.ID.Reveal()))
}

// toolNames returns the names of tools.
func toolNames(tools []*oauthclient.Tool) (names []string) {
	for _, tool := range tools {
		names = append(names, tool.Name)
	}
	return names
}

// A tool that the filter leaves out is in no list and cannot be called, on a
// replica that has listed nothing, too. The filter holds as of the call.
func TestToolFilterHoldsAtTheCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{PageSize: 3})
	var strict atomic.Bool
	policy := func(c *session.Config) {
		c.ToolFilter = func(_ context.Context, info session.Info, tool *oauthclient.Tool) bool {
			require.Equal(t, "alice", info.Owner)
			require.NotEmpty(t, tool.Decode().Description)
			return tool.Name != "admin" && !(strict.Load() && tool.Name == "echo")
		}
	}
	first, second := w.manager(t, policy), w.manager(t, policy)
	id := w.connected(t, first)
	tools, err := first.ListTools(t.Context(), alice, id)
	require.NoError(t, err)
	require.Equal(t, []string{"add", "echo", "fail", "protocol_error", "rich", "slow", "whoami"}, toolNames(tools))
	page, err := second.ListPage(t.Context(), alice, id, oauthclient.ListTools, "")
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	require.NotEmpty(t, page.NextCursor)

	requireWorks(t, second, alice, id)
	for _, hidden := range []string{"admin", "no_such_tool", "Echo"} {
		_, err = second.CallTool(t.Context(), alice, id, hidden, nil)
		requireRefused(t, err)
	}
	strict.Store(true) // between the list and the call
	for _, m := range []*session.Manager{first, second} {
		_, err = m.CallTool(t.Context(), alice, id, "echo", nil)
		requireRefused(t, err)
		_, err = m.CallToolAsking(t.Context(), alice, id, "echo", nil, session.Ask{Form: true}, nil)
		requireRefused(t, err)
	}
	require.Equal(t, 1, w.mcp.Count("tools/call"))
}

// A description that the filter judges is not older than a minute, and is asked
// for no more often than that.
func TestToolFilterSeesAFreshDescription(t *testing.T) {
	t.Parallel()
	var hinted atomic.Bool
	w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
		if method != "tools/list" {
			return nil
		}
		tools := `{"name":"echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`
		if hinted.Load() {
			tools += `,{"name":"echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`
		}
		return &mcptest.RawReply{Result: json.RawMessage(`{"tools":[` + tools + `],"resultType":"complete"}`)}
	}})
	m := w.manager(t, func(c *session.Config) {
		c.ToolFilter = func(_ context.Context, _ session.Info, tool *oauthclient.Tool) bool {
			return tool.Decode().Annotations.ReadOnlyHint
		}
	})
	id := w.connected(t, m)
	requireWorks(t, m, alice, id)
	lists := w.mcp.Count("tools/list")
	requireWorks(t, m, alice, id)
	require.Equal(t, lists, w.mcp.Count("tools/list"))

	hinted.Store(true) // two tools of one name, of which the second is not allowed
	w.advance(time.Minute)
	_, err := m.CallTool(t.Context(), alice, id, "echo", nil)
	requireRefused(t, err)
	require.Equal(t, 2, w.mcp.Count("tools/call"))
}

// The host sees each call as it is sent, and refuses it before it is sent.
func TestBeforeCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var seen []string
	policy := func(c *session.Config) {
		c.BeforeCall = func(_ context.Context, info session.Info, tool string, args json.RawMessage) error {
			seen = append(seen, info.ServerName+" "+tool+" "+string(args))
			if tool == "add" {
				return &session.RefusedError{Text: "Ask a colleague to add."}
			}
			return nil
		}
	}
	m := w.manager(t, policy)
	id := w.connected(t, w.manager(t), m)
	server := requireStatus(t, m, id, session.StatusConnected).ServerName

	_, err := m.CallTool(t.Context(), alice, id, "echo", json.RawMessage(`{"n": 12345678901234567890}`))
	require.NoError(t, err)
	require.Contains(t, string(w.mcp.RPC("tools/call")[0].Params), `{"n": 12345678901234567890}`)
	_, err = m.CallTool(t.Context(), alice, id, "echo", nil)
	require.NoError(t, err)
	_, err = m.CallTool(t.Context(), alice, id, "add", map[string]int{"a": 1})
	require.Equal(t, "Ask a colleague to add.", requireRefused(t, err).Text)
	require.Equal(t, []string{server + ` echo {"n": 12345678901234567890}`, server + " echo {}", server + ` add {"a":1}`}, seen)

	for name, args := range map[string]string{
		"twice":       `{"path":"/tmp","path":"/etc"}`,
		"escaped":     `{"path":"/tmp","p\u0061th":"/etc"}`,
		"in a value":  `{"x":[{"a":{}},{"b":1,"c":[{}],"b":2}]}`,
		"after a map": `{"x":{"y":1},"x":2}`,
	} {
		_, err = m.CallTool(t.Context(), alice, id, "echo", json.RawMessage(args))
		var input *session.InputError
		require.ErrorAs(t, err, &input, name)
	}
	_, err = m.CallTool(t.Context(), alice, id, "echo", json.RawMessage(`{"a":{"a":{"a":"a"}},"b":["a","a",{"a":1}]}`))
	require.NoError(t, err)
	require.Equal(t, 3, w.mcp.Count("tools/call"))
}

// A caller who leaves while the host decides has been refused nothing.
func TestBeforeCallOfACallerWhoLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	m := w.manager(t, func(c *session.Config) {
		c.BeforeCall = func(ctx context.Context, _ session.Info, _ string, _ json.RawMessage) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
	})
	id := w.connected(t, m)
	_, err := m.CallTool(ctx, alice, id, "echo", nil)
	require.ErrorIs(t, err, context.Canceled)
}
