package oauthclient_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestRefresh_AheadOfExpiry(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name      string
		ttl       time.Duration
		ahead     time.Duration
		quiet     time.Duration // no refresh until then
		refreshed time.Duration // a refresh by then
	}{
		{"one minute ahead by default", time.Hour, 0, 59*time.Minute - time.Second, 59 * time.Minute},
		{"as configured", time.Hour, 10 * time.Minute, 50*time.Minute - time.Second, 50 * time.Minute},
		{"a fifth of a short life", 100 * time.Second, 0, 79 * time.Second, 80 * time.Second},
		{"long after expiry", time.Hour, 0, 0, 48 * time.Hour},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{AccessTokenTTL: row.ttl}, mcptest.Options{})
			c := w.connected(func(cfg *oauthclient.Config) { cfg.RefreshAhead = row.ahead })
			w.clock.Advance(row.quiet)
			require.NoError(t, w.call(c))
			require.Zero(t, w.as.Counts().Refreshes)
			w.clock.Advance(row.refreshed - row.quiet)
			require.NoError(t, w.call(c))
			require.Equal(t, 1, w.as.Counts().Refreshes)
			for _, req := range w.mcp.Requests() {
				require.False(t, req.Token != "" && req.Status == http.StatusUnauthorized, "no token was sent that the server refused")
			}
		})
	}
}

// A relative expiry is worthless after a restart.
func TestRefresh_AbsoluteExpirySurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	data, err := w.stored().MarshalBinary()
	require.NoError(t, err)
	w.clock.Advance(2 * time.Hour)
	var restored oauthclient.Credentials
	require.NoError(t, restored.UnmarshalBinary(data))
	w.mcp.Reset()
	c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = oauthclient.NewMemoryCredentialStore(restored) })
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.NotContains(t, w.mcp.Tokens(), restored.AccessToken.Reveal(), "the token that is over was not even tried")
}

func TestRefresh_OnceForAllCalls(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 5} {
		t.Run(map[int]string{1: "one process", 5: "replicas with a shared store"}[replicas], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			clients := []*oauthclient.MCPOAuthClient{w.connected()}
			for len(clients) < replicas {
				c := w.client()
				require.NoError(t, c.Connect(t.Context()))
				clients = append(clients, c)
			}
			w.clock.Advance(2 * time.Hour)
			var next atomic.Int64
			errs := together(t, 50, w.as.Block(authtest.EndpointToken), func(ctx context.Context) error {
				_, err := clients[int(next.Add(1))%replicas].CallTool(ctx, "echo", nil)
				return err
			})
			for _, err := range errs {
				require.NoError(t, err)
			}
			require.Len(t, w.as.TokenRequests("refresh_token"), 1)
			require.Zero(t, w.as.Counts().ReuseDetected)
			require.Equal(t, 50, w.mcp.Executed("echo"))
			require.Len(t, w.mcp.Tokens(), 2)
		})
	}
}

// The loser of a race between replicas must not undo what the winner did.
func TestRefresh_LoserKeepsTheWinnersTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	slow, fast := w.connected(), w.client()
	require.NoError(t, fast.Connect(t.Context()))
	w.clock.Advance(2 * time.Hour)
	// The slow replica has read the credentials and is about to update.
	gate := &gatedStore{CredentialStore: w.creds, reached: make(chan struct{}), release: make(chan struct{})}
	late := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = gate })
	done := make(chan error)
	go func() {
		_, err := late.CallTool(t.Context(), "echo", nil)
		done <- err
	}()
	<-gate.reached
	require.NoError(t, w.call(fast))
	winner := w.stored()
	close(gate.release)
	require.NoError(t, <-done)
	require.NoError(t, w.call(slow))
	require.Equal(t, winner, w.stored())
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
}

// gatedStore holds the first Update.
type gatedStore struct {
	oauthclient.CredentialStore
	reached, release chan struct{}
	used             atomic.Bool
}

func (s *gatedStore) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	if !s.used.Swap(true) {
		close(s.reached)
		<-s.release
	}
	return s.CredentialStore.Update(ctx, fn)
}

// A lease that ran out: the write is refused, because another process has
// written in the meantime. What that one wrote counts.
func TestRefresh_LostLeaseUsesTheWinnersTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	w.clock.Advance(2 * time.Hour)
	store := &lostLease{CredentialStore: w.creds, winner: func() {
		w.edit(func(c *oauthclient.Credentials) {
			c.AccessToken, c.RefreshAfter = oauthclient.NewSecret(w.as.Issue("alice", w.mcp.URL())), w.clock.Now().Add(time.Hour)
		})
	}}
	c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = store })
	require.NoError(t, w.call(c))
	w.clock.Advance(2 * time.Hour)
	store.winner = func() {}
	var storage *oauthclient.StorageError
	require.ErrorAs(t, w.call(c), &storage, "without a winner it is an outage")
}

// lostLease runs fn, but stores nothing.
type lostLease struct {
	oauthclient.CredentialStore
	winner func()
}

func (s *lostLease) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	creds, err := s.Load(ctx)
	if err == nil {
		err = fn(&creds)
	}
	if err != nil {
		return err
	}
	s.winner()
	return errors.New("the record has changed")
}

// The caller that asked for the refresh may be gone before it is over. The result
// must be kept, because the old refresh token is spent.
func TestRefresh_OutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(2 * time.Hour)
	release := w.as.Block(authtest.EndpointToken)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := c.CallTool(ctx, "echo", nil)
		done <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("refresh_token")) == 1 }, 30*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	release()
	require.NoError(t, w.call(c))
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	require.Zero(t, w.as.Counts().ReuseDetected)
}

func TestRefresh_OmittedRefreshTokenIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRotation: true}, mcptest.Options{})
	c := w.connected()
	refreshToken := w.stored().RefreshToken
	for range 3 {
		w.clock.Advance(2 * time.Hour)
		require.NoError(t, w.call(c))
		require.True(t, refreshToken.Equal(w.stored().RefreshToken))
	}
	require.Equal(t, 3, w.as.Counts().Refreshes)
}

func TestRotatedRefreshTokenIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	for range 3 {
		w.clock.Advance(2 * time.Hour)
		require.NoError(t, w.call(c))
		require.True(t, w.as.RefreshTokenValid(w.stored().RefreshToken.Reveal()))
	}
	require.Zero(t, w.as.Counts().ReuseDetected)
}

func TestFinalErrorAfterExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.as.RevokeAll()
	w.clock.Advance(2 * time.Hour)
	w.mcp.Reset()
	requireAuthorization(t, w.call(c))
	require.False(t, w.stored().Authorized())
	require.Zero(t, w.mcp.CountHTTP(http.MethodPost), "not even anonymously")
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
}

// A connection that was authorized does not become anonymous by itself, even
// where the server would take it.
func TestNoFallbackToAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	c := w.client()
	w.finish(c, requireAuthorization(t, w.call(c)))
	require.NoError(t, w.call(c))
	w.as.RevokeAll()
	w.clock.Advance(2 * time.Hour)
	w.mcp.Reset()
	_, err := c.ListTools(t.Context())
	requireAuthorization(t, err)
	require.Zero(t, w.mcp.CountHTTP(http.MethodPost))
}

// Many calls during an outage do not each ask again.
func TestBackoffAfterAFailedRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.as.SetOutage(authtest.EndpointToken, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "30")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	w.clock.Advance(2 * time.Hour)
	for range 5 {
		temporary := requireTemporary(t, w.call(c))
		require.Equal(t, 30*time.Second, temporary.RetryAfter)
		require.Equal(t, http.StatusTooManyRequests, temporary.StatusCode)
	}
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	w.clock.Advance(29 * time.Second)
	requireTemporary(t, w.call(c))
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.clock.Advance(time.Second)
	require.NoError(t, w.call(c))
}

// A user who authorizes again need not wait for an outage's back-off to end.
func TestNewAuthorizationEndsTheBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(2 * time.Hour)
	w.as.FailNext(authtest.EndpointToken, 1, 503)
	requireTemporary(t, w.call(c))
	w.finish(c, requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false)))
	w.as.ExpireAccessTokens()
	require.NoError(t, w.call(c), "a forced refresh works at once")
}

func TestRefreshTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	c := w.client(func(cfg *oauthclient.Config) { cfg.RequestTimeout = 5 * time.Millisecond })
	release := w.as.Block(authtest.EndpointToken)
	defer release()
	w.clock.Advance(2 * time.Hour)
	require.True(t, requireTemporary(t, w.call(c)).Timeout)
	require.True(t, w.stored().Authorized())
}

// The caller's own deadline counts as well.
func TestRefreshCallerDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	release := w.as.Block(authtest.EndpointToken)
	defer release()
	w.clock.Advance(2 * time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err := c.CallTool(ctx, "echo", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
