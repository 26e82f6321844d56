package session_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A session lives 24 hours after its last use.
func TestSlidingExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	for i := range 5 {
		w.advance(23 * time.Hour)
		requireWorks(t, []*session.Manager{m, peer}[i%2], alice, id)
	}
	info := requireStatus(t, peer, id, session.StatusConnected)
	require.Equal(t, w.clock.Now().Add(24*time.Hour).UTC(), info.ExpiresAt.UTC())
	require.Equal(t, w.clock.Now().UTC(), info.LastUsed.UTC())

	w.advance(24*time.Hour - time.Second)
	requireStatus(t, peer, id, session.StatusConnected) // looking is not using
	w.advance(time.Second)
	requireUnknown(t, m, alice, id)
	requireUnknown(t, peer, alice, id)
	require.Empty(t, w.store.live("session"))
}

// Use is written once per TouchInterval, by whichever call comes first, and
// otherwise a warm call writes nothing.
func TestTouchIsWrittenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	id := w.connected(t, replicas...)
	requireWorks(t, replicas[0], alice, id)
	writes := func() (int, int) { return w.store.count("swap session"), w.store.count("swap owner") }
	sessions, owners := writes()
	use := func() {
		w.store.set(nil, together("get", "session", 40)) // all see that it is due
		requireNoErrors(t, concurrently(40, func(i int) error { return call(t, replicas[i%2], id) }))
		w.store.heal()
	}
	use()
	w.advance(5*time.Minute - time.Second)
	use()
	gotSessions, gotOwners := writes()
	require.Equal(t, sessions, gotSessions, "before the interval is over")
	require.Equal(t, owners, gotOwners)

	for round := range 3 {
		w.advance(5 * time.Minute)
		before := requireStatus(t, replicas[0], id, session.StatusConnected).ExpiresAt
		use()
		require.Positive(t, round+1)
		require.Equal(t, sessions, w.store.count("swap session"), "use changes nothing in the record")
		require.Equal(t, owners, w.store.count("swap owner"))
		after := requireStatus(t, replicas[1], id, session.StatusConnected).ExpiresAt
		require.True(t, after.After(before))
	}
	locks := w.store.count("lock session")
	use()
	require.Equal(t, locks, w.store.count("lock session"), "a warm call takes no lock")
}

// together holds the first n operations back until they are all there.
func together(op, kind string, n int) func(op, key string) error {
	var mu sync.Mutex
	all := make(chan struct{})
	return func(gotOp, key string) error {
		if gotOp != op || kindOf(key) != kind {
			return nil
		}
		mu.Lock()
		if n--; n == 0 {
			close(all)
		}
		wait := n >= 0
		mu.Unlock()
		if wait {
			<-all
		}
		return nil
	}
}

// A store that cannot be written to stops no session that works.
func TestTouchFailsQuietly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	id := w.connected(t, m)
	w.advance(10 * time.Minute)
	w.store.fail("swap", "", -1)
	requireWorks(t, m, alice, id)
}

// Connected means that the MCP server has answered.
func TestStatus_ConnectedMeansTheServerAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	info, required := w.connect(t, m, alice)
	id := info.ID.Reveal()
	require.Equal(t, session.StatusAuthorizing, info.Status)
	requireStatus(t, peer, id, session.StatusAuthorizing)

	w.mcp.SetOutage(authtest.StatusOutage(503))
	done, err := peer.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err, "the authorization is complete")
	require.Equal(t, session.StatusFailed, done.Status)
	require.Contains(t, done.Reason, "did not answer")
	require.Equal(t, required.AttemptID, done.AttemptID)
	done.AttemptID = ""
	require.Equal(t, done, requireStatus(t, m, id, session.StatusFailed))

	source, err := m.TokenSource(t.Context(), alice, id)
	require.NoError(t, err)
	_, err = source.Token()
	require.NoError(t, err)
	requireStatus(t, m, id, session.StatusFailed) // a token is no answer

	w.mcp.SetOutage(nil)
	requireWorks(t, m, alice, id)
	require.Empty(t, requireStatus(t, peer, id, session.StatusConnected).Reason)
	require.Equal(t, 1, w.as.Counts().Authorizations, "without asking the user again")
}

// A server that accepts no token is not connected, and says why.
func TestStatus_ServerThatRefusesEveryTokenIsNotConnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	w.mcp.RejectNext(100)
	done, err := m.FinishAuth(t.Context(), alice, "", resp)
	require.NoError(t, err)
	require.Equal(t, session.StatusFailed, done.Status)
	require.Contains(t, done.Reason, "does not accept")
	require.Equal(t, info.Key, done.Key)
	w.mcp.RejectNext(0)
	requireWorks(t, m, alice, info.ID.Reveal())
	requireStatus(t, m, info.ID.Reveal(), session.StatusConnected)
}

// A server that asks for a token only at tools/call.
func TestLazyServer_CallOfAConnectedSessionAsksTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	m, peer := w.manager(t), w.manager(t)
	info, err := m.Connect(t.Context(), alice, w.params())
	require.NoError(t, err)
	id := info.ID.Reveal()
	require.Equal(t, session.StatusConnected, info.Status)
	_, err = peer.ListTools(t.Context(), alice, id)
	require.NoError(t, err)
	required := requireAuthorization(t, call(t, m, id))
	requireStatus(t, peer, id, session.StatusAuthorizing)
	_, err = peer.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	requireWorks(t, m, alice, id)
	requireWorks(t, peer, alice, id)
}

// Status transitions of a session that must be authorized again.
func TestStatusAfterRevocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	w.as.RevokeAll()
	required := requireAuthorization(t, call(t, m, id))
	requireStatus(t, peer, id, session.StatusAuthorizationRequired)
	w.advance(11 * time.Minute)
	requireStatus(t, peer, id, session.StatusAuthorizationRequired)
	again := requireAuthorization(t, call(t, peer, id))
	require.NotEqual(t, required.AuthURL, again.AuthURL)
	_, err := m.FinishAuth(t.Context(), alice, id, w.deny(t, again.AuthURL))
	require.Error(t, err)
	requireStatus(t, peer, id, session.StatusFailed)
	again = requireAuthorization(t, call(t, m, id))
	requireStatus(t, peer, id, session.StatusAuthorizationRequired)
	_, err = peer.FinishAuth(t.Context(), alice, id, w.approve(t, again.AuthURL))
	require.NoError(t, err)
	requireStatus(t, m, id, session.StatusConnected)
}

// A call that found out that the user must authorize, but records it only after
// the user has, does not make the session look broken again.
func TestLateNoteDoesNotUndoAnAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	id := w.connected(t, m)
	w.as.RevokeAll()
	first := requireAuthorization(t, call(t, peer, id))
	resp := w.approve(t, first.AuthURL)
	// m has begun an attempt of its own and is about to note it.
	finished, ready := false, false
	w.store.set(func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && ready && !finished {
			finished = true
			_, err := peer.FinishAuth(t.Context(), alice, id, resp)
			return err
		}
		return nil
	}, func(op, key string) error {
		ready = ready || op == "swap" && kindOf(key) == "attempt"
		return nil
	})
	w.advance(time.Second) // m's attempt is the later one
	requireAuthorization(t, call(t, m, id))
	require.True(t, finished)
	w.store.heal()
	requireStatus(t, m, id, session.StatusConnected)
	requireWorks(t, m, alice, id)
}

// Connect that fails leaves nothing behind.
func TestFailedConnectLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		spoil  func(*world)
		params func(*world) session.ConnectParams
		want   any
	}{
		"MCP server away":      {spoil: func(w *world) { w.mcp.SetOutage(authtest.StatusOutage(503)) }, want: new(*oauthclient.TemporaryError)},
		"metadata away":        {spoil: func(w *world) { w.as.SetOutage(authtest.EndpointMetadata, authtest.StatusOutage(500)) }, want: new(*oauthclient.TemporaryError)},
		"registration away":    {spoil: func(w *world) { w.as.SetOutage(authtest.EndpointRegister, authtest.StatusOutage(500)) }, want: new(*oauthclient.TemporaryError)},
		"no MCP server at all": {params: func(w *world) session.ConnectParams { return withServer(w, w.as.URL()+"/nothing") }, want: new(*oauthclient.ServerError)},
		"not a URL":            {params: func(w *world) session.ConnectParams { return withServer(w, "::") }, want: new(*session.InputError)},
		"a relative URL":       {params: func(w *world) session.ConnectParams { return withServer(w, "/mcp") }, want: new(*session.InputError)},
		"another scheme":       {params: func(w *world) session.ConnectParams { return withServer(w, "file:///etc/passwd") }, want: new(*session.InputError)},
		"a user in the URL":    {params: func(w *world) session.ConnectParams { return withServer(w, "https://u:p@mcp.example") }, want: new(*session.InputError)},
		"an endless URL": {params: func(w *world) session.ConnectParams {
			return withServer(w, "https://mcp.example/"+string(make([]byte, 3000)))
		}, want: new(*session.InputError)},
		"no callback URL": {params: func(w *world) session.ConnectParams { return session.ConnectParams{ServerURL: w.mcp.URL()} }, want: new(*session.InputError)},
		"a fragment in the callback": {params: func(w *world) session.ConnectParams {
			return session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callbackURL + "#x"}
		}, want: new(*session.InputError)},
		"a script for callback": {params: func(w *world) session.ConnectParams {
			return session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: "javascript:alert(1)"}
		}, want: new(*session.InputError)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			m := w.manager(t)
			if row.spoil != nil {
				row.spoil(w)
			}
			params := w.params()
			if row.params != nil {
				params = row.params(w)
			}
			info, err := m.Connect(t.Context(), alice, params)
			require.ErrorAs(t, err, row.want)
			require.Equal(t, session.Info{}, info)
			require.Empty(t, w.store.live("session"))
			require.Empty(t, w.store.live("owner"))
			require.Empty(t, w.store.live("attempt"))
		})
	}
}

func withServer(w *world, serverURL string) session.ConnectParams {
	p := w.params()
	p.ServerURL = serverURL
	return p
}

func TestConnectDescribesTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t)
	info, _ := w.connect(t, m, alice)
	now := w.clock.Now().Round(0)
	require.Equal(t, w.mcp.URL(), info.ServerURL)
	require.Equal(t, w.mcp.Origin(), "http://"+info.ServerName)
	require.Equal(t, callbackURL, info.CallbackURL)
	require.Equal(t, "alice", info.Owner)
	require.Equal(t, info.ID.Reveal()[:26], info.Key)
	require.True(t, info.CreatedAt.Equal(now) && info.LastUsed.Equal(now) && info.ExpiresAt.Equal(now.Add(11*time.Minute)), "until the user has authorized")
	params := w.params()
	params.ServerName = "Tools"
	info, err := m.Connect(t.Context(), alice, params)
	requireAuthorization(t, err)
	require.Equal(t, "Tools", info.ServerName)
}

// However a user spells a server, the session has one spelling of it, which
// policies get and clients are kept for.
func TestConnect_ServerURLIsNormalized(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var asked sync.Map
	m := w.manager(t, func(c *session.Config) {
		c.Client.PolicyFor = func(serverURL string) oauthclient.ServerPolicy {
			asked.Store(serverURL, true)
			return oauthclient.ServerPolicy{}
		}
	})
	info, err := m.Connect(t.Context(), alice, withServer(w, strings.Replace(w.mcp.URL(), "http:", "HTTP:", 1)+"?"))
	required := requireAuthorization(t, err)
	require.Equal(t, w.mcp.URL(), info.ServerURL)
	_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	requireWorks(t, m, alice, info.ID.Reveal())
	asked.Range(func(serverURL, _ any) bool {
		require.Equal(t, w.mcp.URL(), serverURL)
		return true
	})
}
