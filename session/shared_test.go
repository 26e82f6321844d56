package session_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// There is no registration per process, user or login.
func TestRegistration_OneForAllUsersAndReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	ids := make([]string, 20)
	callers := make([]session.Caller, 20)
	urls := make([]string, 20)
	requireNoErrors(t, concurrently(20, func(i int) error {
		callers[i] = session.Caller{Owner: "user-" + string(rune('a'+i)), Binding: "b"}
		info, err := replicas[i%2].Connect(t.Context(), callers[i], w.params())
		if required, ok := err.(*oauthclient.AuthorizationRequiredError); ok { //nolint:errorlint // exactly that
			ids[i], urls[i] = info.ID.Reveal(), required.AuthURL
			return nil
		}
		return err
	}))
	require.Equal(t, 1, w.as.Counts().Registrations)
	require.Len(t, w.as.Requests(authtest.EndpointRegister), 1)
	for i := range ids {
		_, err := replicas[(i+1)%2].FinishAuth(t.Context(), callers[i], ids[i], w.approve(t, urls[i]))
		require.NoError(t, err)
		requireWorks(t, replicas[i%2], callers[i], ids[i])
	}
	require.Equal(t, 1, w.as.Counts().Registrations)
	require.Len(t, w.store.live("client"), 1)
}

// A client that the server has forgotten is replaced, once for all.
func TestRegistration_DeadClientIsReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	replicas := []*session.Manager{w.manager(t), w.manager(t)}
	var ids []string
	for range 6 {
		ids = append(ids, w.connected(t, replicas...))
	}
	w.as.DropClients()
	w.as.ExpireAccessTokens()
	urls := make([]string, len(ids))
	requireNoErrors(t, concurrently(len(ids), func(i int) error {
		err := call(t, replicas[i%2], ids[i])
		if required, ok := err.(*oauthclient.AuthorizationRequiredError); ok { //nolint:errorlint // exactly that
			urls[i] = required.AuthURL
			return nil
		}
		return err
	}))
	for i, id := range ids {
		_, err := replicas[i%2].FinishAuth(t.Context(), alice, id, w.approve(t, urls[i]))
		require.NoError(t, err)
		requireWorks(t, replicas[(i+1)%2], alice, id)
	}
	require.Equal(t, 2, w.as.Counts().Registrations)
}

// The server tells only the browser that it no longer knows the client, so
// no callback ever comes.
func TestRegistration_DeadClientThatOnlyTheBrowserSeesIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m, peer := w.manager(t), w.manager(t)
	w.connected(t, m)
	w.as.DropClients()
	_, required := w.connect(t, m, alice)
	_, err := w.as.Approve(t.Context(), required.AuthURL)
	require.Error(t, err, "an error page")

	params := w.params()
	params.FreshRegistration = true
	info, err := peer.Connect(t.Context(), alice, params)
	required = requireAuthorization(t, err)
	require.Equal(t, session.StatusAuthorizing, info.Status)
	_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, 2, w.as.Counts().Registrations)

	for range 5 {
		_, err = peer.Connect(t.Context(), alice, params)
		requireAuthorization(t, err)
	}
	require.Equal(t, 2, w.as.Counts().Registrations, "one new client in 10 minutes")
	w.as.DropClients()
	w.advance(10 * time.Minute)
	_, err = peer.Connect(t.Context(), alice, params)
	_, err = m.FinishAuth(t.Context(), alice, "", w.approve(t, requireAuthorization(t, err).AuthURL))
	require.NoError(t, err)
	require.Equal(t, 3, w.as.Counts().Registrations)
}

// hooks records what a Manager tells its host.
type hooks struct {
	mu         sync.Mutex
	authorized []session.Info
	required   map[string]int // by attempt
	infos      []session.Info
}

func (h *hooks) attach(c *session.Config) {
	h.required = make(map[string]int)
	c.OnAuthorized = func(_ context.Context, info session.Info) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.authorized = append(h.authorized, info)
	}
	c.OnAuthorizationRequired = func(_ context.Context, info session.Info, required *oauthclient.AuthorizationRequiredError) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.infos = append(h.infos, info)
		h.required[required.AttemptID]++
	}
}

// A tool call needs authorization in the middle of a conversation. The host
// is told once, on the replica that noticed, and once when the user is back,
// on the replica with the callback.
func TestHooks_TellOfTheDemandAndOfTheReturn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var onA, onB hooks
	a, b := w.manager(t, onA.attach), w.manager(t, onB.attach)
	id := w.connected(t, a, b)
	require.Len(t, onA.required, 1, "at connect")
	require.Empty(t, onA.authorized)
	require.Empty(t, onB.required)
	require.Len(t, onB.authorized, 1)
	require.Equal(t, id, onB.authorized[0].ID.Reveal())
	require.Equal(t, session.StatusConnected, onB.authorized[0].Status)

	w.as.RevokeAll()
	var urls sync.Map
	for _, err := range concurrently(50, func(int) error { return call(t, a, id) }) {
		urls.Store(requireAuthorization(t, err).AuthURL, true)
	}
	require.Len(t, onA.infos, 2)
	require.Equal(t, session.StatusAuthorizationRequired, onA.infos[1].Status)
	var authURL string
	n := 0
	urls.Range(func(key, _ any) bool { authURL = key.(string); n++; return true })
	require.Equal(t, 1, n, "one URL for all calls")
	_, err := a.FinishAuth(t.Context(), alice, id, w.approve(t, authURL))
	require.NoError(t, err)
	require.Len(t, onA.authorized, 1)
	require.Len(t, onB.authorized, 1)
}

// Once per attempt, also while two replicas have one each.
func TestHooks_OncePerAttemptOnTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var onA, onB hooks
	replicas := []*session.Manager{w.manager(t, onA.attach), w.manager(t, onB.attach)}
	id := w.connected(t, replicas...)
	w.as.RevokeAll()
	writes := w.store.count("swap session")
	for range 5 {
		for _, err := range concurrently(20, func(i int) error { return call(t, replicas[i%2], id) }) {
			requireAuthorization(t, err)
		}
	}
	require.Len(t, onA.infos, 2, "one at connect, one now")
	require.Len(t, onB.infos, 1)
	for _, h := range []*hooks{&onA, &onB} {
		for attempt, n := range h.required {
			require.Equal(t, 1, n, attempt)
		}
	}
	require.Less(t, w.store.count("swap session")-writes, 50, "the replicas do not overwrite each other's attempt again and again")
}

// A hook that a refused or failed callback must not fire.
func TestHooksAreSilentOnFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var h hooks
	m := w.manager(t, h.attach)
	_, required := w.connect(t, m, alice)
	resp := w.approve(t, required.AuthURL)
	_, err := m.FinishAuth(t.Context(), bob, "", resp)
	require.Error(t, err)
	w.as.FailNext(authtest.EndpointToken, 1, 500)
	_, err = m.FinishAuth(t.Context(), alice, "", resp)
	require.Error(t, err)
	require.Empty(t, h.authorized)
	w.mcp.SetOutage(authtest.StatusOutage(500))
	_, err = m.Connect(t.Context(), alice, w.params())
	require.Error(t, err)
	require.Len(t, h.infos, 1)
}

func TestTokenSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var h hooks
	m, peer := w.manager(t, h.attach), w.manager(t)
	id := w.connected(t, m)
	source, err := m.TokenSource(t.Context(), alice, id)
	require.NoError(t, err)
	first, err := source.Token()
	require.NoError(t, err)
	_, err = w.as.Verify(first.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "Bearer", first.Type())
	require.WithinDuration(t, w.clock.Now().Add(time.Hour), first.Expiry, time.Second)

	w.advance(61 * time.Minute)
	requireNoErrors(t, concurrently(20, func(int) error { _, err := source.Token(); return err }))
	second, err := source.Token()
	require.NoError(t, err)
	require.NotEqual(t, first.AccessToken, second.AccessToken)
	requireWorks(t, peer, alice, id)
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Equal(t, w.clock.Now().UTC(), requireStatus(t, peer, id, session.StatusConnected).LastUsed.UTC(), "it is a use")

	w.as.RevokeAll()
	w.advance(61 * time.Minute)
	_, err = source.Token()
	required := requireAuthorization(t, err)
	require.Equal(t, 1, h.required[required.AttemptID])
	requireStatus(t, peer, id, session.StatusAuthorizationRequired)
	_, err = peer.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	_, err = source.Token()
	require.NoError(t, err)

	require.NoError(t, peer.RemoveClient(t.Context(), alice, id))
	_, err = source.Token()
	require.Equal(t, session.ErrNotFound, err)
}
