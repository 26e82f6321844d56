package chaos_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// alice is who calls where there is one user.
var alice = session.Caller{Owner: "alice", Binding: "browser-a"}

// session makes a session of alice's, begun on one replica and finished on
// another.
func (w *world) session(t testing.TB, first, last *loadtest.Replica) (id string) {
	t.Helper()
	info, err := first.Manager.Connect(t.Context(), alice, session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callback})
	w.reauthorize(t, last, info.ID.Reveal(), err)
	return info.ID.Reveal()
}

// reauthorize does what an error asks for, and finishes on a replica.
func (w *world) reauthorize(t testing.TB, r *loadtest.Replica, id string, err error) {
	t.Helper()
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, err, &required)
	back, err := w.as.Approve(t.Context(), required.AuthURL)
	require.NoError(t, err)
	done, err := r.Manager.FinishAuth(t.Context(), alice, id, response(t, back))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status, done.Reason)
}

// response is what the callback that a browser is sent to says.
func response(t testing.TB, back string) oauthclient.AuthorizationResponse {
	t.Helper()
	target, err := url.Parse(back)
	require.NoError(t, err)
	return oauthclient.ParseAuthorizationResponse(target.Query())
}

func echo(t testing.TB, r *loadtest.Replica, id string) error {
	_, err := r.Manager.CallTool(t.Context(), alice, id, "echo", nil)
	return err
}

// endings are the ways in which a token ends.
var endings = map[string]func(w *world){
	"due":     func(w *world) { w.clock.advance(59*time.Minute + 10*time.Second) },
	"expired": func(w *world) { w.clock.advance(61 * time.Minute) },
	"revoked": func(w *world) { w.clock.advance(2 * time.Minute); w.as.ExpireAccessTokens() },
}

// Two replicas refresh a rotating token at the same moment.
func TestRefresh_OnceAtTheSameMomentOnTwoReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		testRefreshes(t, b, pick(50, 1000), 1)
	})
}

// The same with a whole page of calls on each replica: one grant among all.
func TestRefresh_OnceForAllCallsOfTwoReplicas(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		testRefreshes(t, b, pick(20, 100), 50)
	})
}

// testRefreshes ends a token in turn in every way, in each round, and has two
// replicas call at once, each as often as told.
func testRefreshes(t *testing.T, b backend, rounds, callsPerReplica int) {
	t.Helper()
	random := newRandom(t)
	redis := redistest.Run(t, redistest.Options{})
	w := newWorld(t, authtest.Options{}, mcptest.Options{DiscardRequests: true, JSONResponse: true})
	replicas := w.replicas(t, b, redis.URL())
	id := w.session(t, replicas[0], replicas[1])
	names := []string{"due", "expired", "revoked"}
	for round := 1; round <= rounds; round++ {
		name := names[random.IntN(len(names))]
		endings[name](w)
		requireNoErrors(t, concurrently(2*callsPerReplica, func(i int) error { return echo(t, replicas[i%2], id) }))
		require.Equal(t, round, w.as.Counts().Refreshes, "round %d: %s", round, name)
	}
	require.Len(t, w.as.TokenRequests("refresh_token"), rounds, "also none that was refused")
	require.Zero(t, w.as.Counts().ReuseDetected)
	require.Equal(t, 1, w.as.Counts().Authorizations)
}
