package session_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// named returns the name of a session's tool.
func named(t *testing.T, all session.OwnerTools, key, tool string) string {
	t.Helper()
	for _, named := range all.Tools {
		if named.Session.Key == key && named.Tool.Name == tool {
			return named.Name
		}
	}
	require.Failf(t, "no such tool", "%s of %s", tool, key)
	return ""
}

// deadline is a context whose deadline passes when so many tools have arrived.
type deadline struct {
	context.Context
	mu   sync.Mutex
	left int
	done chan struct{}
}

// after sets the number of tools, and lets the context begin again.
func (d *deadline) after(t *testing.T, tools int) {
	t.Helper()
	d.Context, d.left, d.done = t.Context(), tools, make(chan struct{})
}

func (d *deadline) arrived() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left--; d.left == 0 {
		close(d.done)
	}
}

func (d *deadline) Done() <-chan struct{} { return d.done }

func (d *deadline) Err() error {
	select {
	case <-d.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A chat back end gets the tools of all sessions at once, and what the rest of
// them needs. What its model calls by name is called, on another replica.
func TestToolsOfAnOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	const weird = "repo.search 检索"
	open := mcptest.New(mcptest.Options{Raw: mcptest.RawTools(mcptest.ExoticResult, `{"name":"echo","inputSchema":{"type":"object"}}`,
		`{"name":"`+weird+`","inputSchema":{"type":"object"}}`, `{"name":"echo","description":"again","inputSchema":{"type":"object"}}`)})
	t.Cleanup(open.Close)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	var over deadline
	count := func(c *session.Config) { // sees each tool that arrived
		c.ToolFilter = func(context.Context, session.Info, *oauthclient.Tool) bool { over.arrived(); return true }
	}
	first, second := w.manager(t, count), w.manager(t, count)

	mail := w.connected(t, first)[:26]
	w.advance(time.Second)
	exotic, err := first.Connect(t.Context(), alice, withServer(w, open.URL()))
	require.NoError(t, err)
	unfinished, _ := w.connect(t, first, alice)
	slow := session.GenerateSessionID() // its server answers nothing
	client, err := oauthclient.New(oauthclient.Config{ServerURL: hanging.URL, CallbackURL: callbackURL, Credentials: oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
		AccessToken: oauthclient.NewSecret("token"), Issuer: w.as.Issuer(),
	})})
	require.NoError(t, err)
	require.NoError(t, first.SetClient(t.Context(), alice, slow, client))
	w.connectedAs(t, session.Caller{Owner: "bob"}, first)

	attempts := countKind(w, "attempt")
	for _, m := range []*session.Manager{first, second} {
		over.after(t, len(mcptest.Tools())+3)
		all, err := m.Tools(&over, alice)
		require.NoError(t, err)
		names := make(map[string]bool)
		for _, tool := range all.Tools {
			require.False(t, names[tool.Name], tool.Name)
			require.Regexp(t, modelName, tool.Name)
			names[tool.Name] = true
		}
		require.Len(t, all.Tools, len(mcptest.Tools())+2)
		require.Equal(t, mail, all.Tools[0].Session.Key, "oldest first")
		require.Len(t, all.NeedUser, 1)
		require.Equal(t, unfinished.Key, all.NeedUser[0].Key)
		require.Len(t, all.Failed, 1)
		require.Equal(t, slow[:26], all.Failed[0].Session.Key)
		var temporary *oauthclient.TemporaryError
		require.ErrorAs(t, all.Failed[0].Err, &temporary)
		require.True(t, temporary.Timeout)

		for _, replica := range []*session.Manager{first, second, w.manager(t)} { // the last has seen nothing
			for _, c := range []struct{ key, tool string }{{mail, "echo"}, {exotic.Key, "echo"}, {exotic.Key, weird}} {
				info, tool, err := replica.ResolveTool(t.Context(), alice, named(t, all, c.key, c.tool))
				require.NoError(t, err)
				require.Equal(t, c.tool, tool)
				require.Equal(t, c.key, info.Key)
				_, err = replica.CallTool(t.Context(), alice, info.ID.Reveal(), tool, nil)
				require.NoError(t, err)
			}
		}
	}
	require.Equal(t, attempts, countKind(w, "attempt"), "asking for tools begins no authorization")
}

// A session that needs its user again is said to, and its tools keep their names
// afterwards.
func TestToolsOfASessionThatNeedsItsUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.manager(t), w.manager(t)
	id := w.connected(t, first)
	before, err := first.Tools(t.Context(), alice)
	require.NoError(t, err)
	w.as.RevokeAll()
	for range 2 {
		all, err := second.Tools(t.Context(), alice)
		require.NoError(t, err)
		require.Empty(t, all.Tools)
		require.Empty(t, all.Failed)
		require.Len(t, all.NeedUser, 1)
	}
	_, err = second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id})
	_, err = first.FinishAuth(t.Context(), alice, "", w.approve(t, requireAuthorization(t, err).AuthURL))
	require.NoError(t, err)
	after, err := second.Tools(t.Context(), alice)
	require.NoError(t, err)
	require.NotEmpty(t, after.Tools)
	for i, tool := range after.Tools {
		require.Equal(t, before.Tools[i].Name, tool.Name)
	}
}

// A name that is no tool of the caller's is one mistake, whatever it is.
func TestResolveToolOfStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: func(method string, _ json.RawMessage) *mcptest.RawReply {
		if method != "tools/list" {
			return nil
		}
		return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"complete","tools":[{"name":"a.b","inputSchema":{"type":"object"}}]}`)}
	}})
	m := w.manager(t)
	id := w.connected(t, m)
	all, err := m.Tools(t.Context(), alice)
	require.NoError(t, err)
	name := all.Tools[0].Name
	mark := name[len(name)-10:]
	for _, c := range []struct{ owner, name string }{
		{"bob", name}, {"", name}, {"alice", ""}, {"alice", mark}, {"alice", "_" + mark}, {"alice", "echo"}, {"alice", "echo_aaaaaaaaaa"},
		{"alice", "no_such_aaaaaaaa-" + mark}, {"alice", name + "x"}, {"alice", "echo_" + id[:10]}, {"alice", "检索" + "_" + mark + "检"},
	} {
		_, _, err := m.ResolveTool(t.Context(), session.Caller{Owner: c.owner}, c.name)
		var input *session.InputError
		require.ErrorAs(t, err, &input, "%q", c.name)
		require.Equal(t, session.InputError{Field: "name", Reason: "is no tool of this user"}, *input)
	}
	nobody, err := m.Tools(t.Context(), session.Caller{})
	require.NoError(t, err)
	require.Equal(t, session.OwnerTools{}, nobody)
}
