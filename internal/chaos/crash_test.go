package chaos_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/session"
)

// crash is one user, a replica that is going to be killed, and one that is not.
type crash struct {
	t        *testing.T
	w        *world
	redis    *redistest.Server
	network  *redistest.Proxy // between victim and redis
	victim   *process
	survivor *loadtest.Replica
	user     *loadtest.User
}

// What a request may take on a busy machine, and how long others wait for what the
// dead have locked.
const requestTimeout, lockTTL = 5 * time.Second, 15 * time.Second

func newCrash(t *testing.T, b backend, skew time.Duration) *crash {
	t.Helper()
	c := &crash{t: t, w: newWorld(t, authtest.Options{}, mcptest.Options{JSONResponse: true})}
	c.redis = redistest.Run(t, redistest.Options{})
	c.network = redistest.RunProxy(t, c.redis.Addr())
	p := processConfig{Name: "victim", Backend: b.name, RedisURL: c.redis.URLAt(c.network.Addr()), RequestTimeout: requestTimeout, LockTTL: lockTTL, Skew: skew}
	c.victim = startProcess(t, p)
	c.survivor = c.w.replica(t, "survivor", b.givesUp().store(t, c.redis.URL()), p.change)
	c.user = c.w.newUsers(1, rand.New(rand.NewPCG(1, 2)))[0]
	return c
}

// begin asks the victim, or the survivor, for a session.
func (c *crash) begin(r *loadtest.Replica) (path string) {
	c.t.Helper()
	a := c.user.Begin(c.t.Context(), r)
	require.Equal(c.t, "requires_auth", a.Code, "%s", a.Body)
	c.user.ID = a.SessionID
	path, err := c.user.Authorize(c.t.Context(), a.AuthURL)
	require.NoError(c.t, err)
	return path
}

// connected gives the user a session that both replicas know.
func (c *crash) connected() {
	c.t.Helper()
	path := c.begin(c.victim.Replica)
	require.True(c.t, c.user.Finish(c.t.Context(), c.survivor, path).OK())
	c.requireCall(c.victim.Replica)
	c.requireCall(c.survivor)
}

// killDuring kills the victim once something has happened because of fn, which
// asks the victim for something and so gets no answer.
func (c *crash) killDuring(fn func(ctx context.Context), what string, happened func() bool) {
	c.t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); fn(context.Background()) }()
	loadtest.Eventually(c.t, what, happened)
	c.victim.kill()
	<-ended
	loadtest.Eventually(c.t, "the authorization server notices", func() bool { return c.w.as.Held() == 0 })
}

func (c *crash) requireCall(r *loadtest.Replica) {
	c.t.Helper()
	a := c.user.Call(c.t.Context(), r)
	require.Equal(c.t, "call 200", a.Outcome("call"), "%s", a.Body)
}

// eventuallyCalls requires that calls come to succeed, without the user, and
// that until then they fail in a way that says so.
func (c *crash) eventuallyCalls() {
	c.t.Helper()
	loadtest.Eventually(c.t, "a call", func() bool {
		a := c.user.Call(c.t.Context(), c.survivor)
		require.Contains(c.t, []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, a.Status, "%s", a.Body)
		return a.OK()
	})
}

func (c *crash) tokenRequests(grant string) func() bool {
	return func() bool { return len(c.w.as.TokenRequests(grant)) > 0 }
}

// A replica is killed while its user is at the authorization server.
func TestCrashBetweenConnectAndCallback(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		c := newCrash(t, b, 0)
		path := c.begin(c.victim.Replica)
		c.victim.kill()
		require.True(t, c.user.Finish(t.Context(), c.survivor, path).OK())
		c.requireCall(c.survivor)
		require.Equal(t, 1, c.w.as.Counts().Exchanges)
	})
}

// A replica is killed in the callback, with the code sent: the session is not
// stuck, and connecting again works.
func TestCrashDuringExchange(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		for name, answered := range map[string]bool{"before the answer": false, "after the answer, before it is saved": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := newCrash(t, b, 0)
				path := c.begin(c.victim.Replica)
				release := c.w.as.Block(authtest.EndpointToken)
				defer release()
				c.killDuring(func(ctx context.Context) { c.user.Finish(ctx, c.victim.Replica, path) }, "the exchange", func() bool {
					if !c.tokenRequests("authorization_code")() {
						return false
					}
					if answered {
						c.network.Silence()
						release()
					}
					return !answered || c.w.as.Counts().Exchanges == 1
				})
				release()

				a := c.user.Finish(t.Context(), c.survivor, path) // the user reloads the page
				require.Equal(t, "callback 400 invalid_callback", a.Outcome("callback"))
				a = c.user.Call(t.Context(), c.survivor)
				require.Equal(t, "call 401 requires_auth", a.Outcome("call"), "%s", a.Body)
				again, err := c.user.Authorize(t.Context(), a.AuthURL)
				require.NoError(t, err)
				require.True(t, c.user.Finish(t.Context(), c.survivor, again).OK())
				c.requireCall(c.survivor)
				require.Zero(t, c.w.as.Counts().CodesReused)
			})
		}
	})
}

// A replica is killed with the refresh request sent and not yet carried out.
// Nothing is lost: another one refreshes once the lease has ended, and not
// before. The holder's clock does not decide how long a lease lasts.
func TestCrashDuringRefreshBeforeTheAnswer(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		for name, skew := range map[string]time.Duration{"its clock is ahead": 2 * time.Minute, "its clock is behind": -2 * time.Minute} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := newCrash(t, b, skew)
				c.connected()
				c.w.as.ExpireAccessTokens()
				release := c.w.as.Block(authtest.EndpointToken)
				defer release()
				killed := time.Now() // or a little later
				c.killDuring(func(ctx context.Context) { c.user.Call(ctx, c.victim.Replica) }, "the refresh", c.tokenRequests("refresh_token"))
				require.Zero(t, c.w.as.Counts().Refreshes)
				early, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.Equal(t, "call 504 upstream_timeout", c.user.Call(early, c.survivor).Outcome("call"))
				require.Len(t, c.w.as.TokenRequests("refresh_token"), 1, "the lease has not ended")
				release()
				c.eventuallyCalls()
				require.Less(t, time.Since(killed), skew.Abs(), "the lease is over")
				counts := c.w.as.Counts()
				require.Equal(t, 1, counts.Refreshes)
				require.Zero(t, counts.ReuseDetected)
				require.Equal(t, 1, counts.Authorizations)
			})
		}
	})
}

// A replica is killed with the new tokens in its memory and nowhere else: the
// one loss that OAuth cannot prevent. It ends in a clean request to authorize.
func TestCrashDuringRefreshBeforeItIsSaved(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		c := newCrash(t, b, 0)
		c.connected()
		c.w.as.ExpireAccessTokens()
		release := c.w.as.Block(authtest.EndpointToken)
		defer release()
		c.killDuring(func(ctx context.Context) { c.user.Call(ctx, c.victim.Replica) }, "the refresh", func() bool {
			if !c.tokenRequests("refresh_token")() {
				return false
			}
			c.network.Silence()
			release()
			return c.w.as.Counts().Refreshes == 1
		})
		var a loadtest.Answer
		loadtest.Eventually(t, "a clean end", func() bool {
			a = c.user.Call(t.Context(), c.survivor)
			require.Contains(t, []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, a.Status, "%s", a.Body)
			return a.Status == http.StatusUnauthorized
		})
		require.Equal(t, "requires_auth", a.Code)
		path, err := c.user.Authorize(t.Context(), a.AuthURL)
		require.NoError(t, err)
		require.True(t, c.user.Finish(t.Context(), c.survivor, path).OK())
		c.requireCall(c.survivor)
		require.Equal(t, 1, c.w.as.Counts().ReuseDetected, "unavoidable, and the only one")
	})
}

// A replica is killed while it connects, at each step that takes time. The
// half-made session is in no user's way.
func TestCrashDuringConnect(t *testing.T) {
	onEachBackend(t, func(t *testing.T, b backend) {
		for name, row := range map[string]struct {
			block    func(w *world) (release func())
			happened func(w *world) bool
		}{
			"while it asks the MCP server": {
				func(w *world) func() { return w.mcp.Block() },
				func(w *world) bool { return len(w.mcp.Requests()) > 0 },
			},
			"while it registers, with the lease for that": {
				func(w *world) func() { return w.as.Block(authtest.EndpointRegister) },
				func(w *world) bool { return len(w.as.Requests(authtest.EndpointRegister)) > 0 },
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := newCrash(t, b, 0)
				release := row.block(c.w)
				defer release()
				c.killDuring(func(ctx context.Context) { c.user.Begin(ctx, c.victim.Replica) }, "the connect", func() bool { return row.happened(c.w) })
				release()
				var a loadtest.Answer
				loadtest.Eventually(t, "a session", func() bool {
					a = c.user.Begin(t.Context(), c.survivor)
					require.Contains(t, []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, a.Status, "%s", a.Body)
					return a.Code == "requires_auth"
				})
				c.user.ID = a.SessionID
				path, err := c.user.Authorize(t.Context(), a.AuthURL)
				require.NoError(t, err)
				require.True(t, c.user.Finish(t.Context(), c.survivor, path).OK())
				c.requireCall(c.survivor)
				require.Equal(t, 1, c.w.as.Counts().Registrations)
				c.requireNothingStuck()
			})
		}
	})
}

// requireNothingStuck requires that a session which no user finished ends.
func (c *crash) requireNothingStuck() {
	c.t.Helper()
	c.w.clock.advance(12 * time.Minute)
	infos, err := c.survivor.Manager.Sessions(c.t.Context(), session.Caller{Owner: c.user.Name})
	require.NoError(c.t, err)
	require.Len(c.t, infos, 1)
	require.Equal(c.t, session.StatusConnected, infos[0].Status)
}
