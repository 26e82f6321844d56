package oauthclient_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

const callbackURL = "https://app.example/oauth/callback"

func newClock() *testclock.Clock { return testclock.New(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)) }

// world is an authorization server, an MCP server that it protects, and what
// the clients of one connection share.
type world struct {
	t     *testing.T
	clock *testclock.Clock
	as    *authtest.Server
	mcp   *mcptest.Server
	http  *http.Client
	creds oauthclient.CredentialStore
	regs  oauthclient.RegistrationStore
	// attempts is shared, too; nil gives each client a store of its own.
	attempts oauthclient.AttemptStore
}

func newWorld(t *testing.T, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	w := &world{
		t: t, clock: newClock(), http: &http.Client{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})},
		creds: oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{}), regs: oauthclient.NewMemoryRegistrationStore(),
	}
	if as.Now == nil {
		as.Now = w.clock.Now
	}
	w.as = authtest.New(as)
	t.Cleanup(w.as.Close)
	mcp.Auth = w.as
	w.mcp = mcptest.New(mcp)
	t.Cleanup(w.mcp.Close)
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

// config is the configuration of a client in this world.
func (w *world) config(change ...func(*oauthclient.Config)) oauthclient.Config {
	cfg := oauthclient.Config{
		ServerURL: w.mcp.URL(), CallbackURL: callbackURL, Shared: oauthclient.Shared{Transport: w.http.Transport},
		Credentials: w.creds, Registrations: w.regs, Attempts: w.attempts, Now: w.clock.Now,
	}
	for _, fn := range change {
		fn(&cfg)
	}
	return cfg
}

// client makes a client; several of one world share credentials and
// registrations, like the replicas of a host.
func (w *world) client(change ...func(*oauthclient.Config)) *oauthclient.MCPOAuthClient {
	w.t.Helper()
	c, err := oauthclient.New(w.config(change...))
	require.NoError(w.t, err)
	return c
}

// policy is a change of the configuration to one policy for every server.
func policy(p oauthclient.ServerPolicy) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.PolicyFor = func(string) oauthclient.ServerPolicy { return p }
	}
}

// begin connects and returns the authorization that is asked for.
func (w *world) begin(c *oauthclient.MCPOAuthClient) *oauthclient.AuthorizationRequiredError {
	w.t.Helper()
	return requireAuthorization(w.t, c.Connect(w.t.Context()))
}

// approve plays the browser of a user who agrees.
func (w *world) approve(required *oauthclient.AuthorizationRequiredError) oauthclient.AuthorizationResponse {
	w.t.Helper()
	callback, err := w.as.Approve(context.Background(), required.AuthURL)
	require.NoError(w.t, err)
	return parseCallback(w.t, callback)
}

// finish completes an authorization.
func (w *world) finish(c *oauthclient.MCPOAuthClient, required *oauthclient.AuthorizationRequiredError) {
	w.t.Helper()
	require.NoError(w.t, c.FinishAuth(w.t.Context(), w.approve(required)))
}

// connected returns a client that a user has authorized.
func (w *world) connected(change ...func(*oauthclient.Config)) *oauthclient.MCPOAuthClient {
	w.t.Helper()
	c := w.client(change...)
	w.finish(c, w.begin(c))
	require.NoError(w.t, c.Connect(w.t.Context()))
	return c
}

// call calls a tool that needs nothing.
func (w *world) call(c *oauthclient.MCPOAuthClient) error {
	_, err := c.CallTool(w.t.Context(), "echo", nil)
	return err
}

// stored returns the credentials in the store, without the connection data.
func (w *world) stored() oauthclient.Credentials {
	w.t.Helper()
	creds, err := w.creds.Load(w.t.Context())
	require.NoError(w.t, err)
	creds.Connection = oauthclient.Connection{}
	return creds
}

// edit changes the credentials in the store.
func (w *world) edit(fn func(*oauthclient.Credentials)) {
	w.t.Helper()
	require.NoError(w.t, w.creds.Update(w.t.Context(), func(c *oauthclient.Credentials) error {
		fn(c)
		return nil
	}))
}

func requireAuthorization(t *testing.T, err error) *oauthclient.AuthorizationRequiredError {
	t.Helper()
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, err, &required)
	require.NotEmpty(t, required.AuthURL)
	return required
}

func requireTemporary(t *testing.T, err error) *oauthclient.TemporaryError {
	t.Helper()
	var temporary *oauthclient.TemporaryError
	require.ErrorAs(t, err, &temporary)
	return temporary
}

// requireServerError requires an unusable answer to a request of op.
func requireServerError(t *testing.T, err error, op string) *oauthclient.ServerError {
	t.Helper()
	var answer *oauthclient.ServerError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, op, answer.Op)
	return answer
}

func parseCallback(t *testing.T, callback string) oauthclient.AuthorizationResponse {
	t.Helper()
	u, err := url.Parse(callback)
	require.NoError(t, err)
	return oauthclient.ParseAuthorizationResponse(u.Query())
}

// query returns the parameters of an authorization URL.
func query(t *testing.T, required *oauthclient.AuthorizationRequiredError) url.Values {
	t.Helper()
	u, err := url.Parse(required.AuthURL)
	require.NoError(t, err)
	return u.Query()
}

// observedContext tells when it is waited for: a caller that waits for another
// caller's work has asked for the Done channel.
type observedContext struct {
	context.Context
	once sync.Once
	wait *sync.WaitGroup
}

func (c *observedContext) Done() <-chan struct{} {
	c.once.Do(c.wait.Done)
	return c.Context.Done()
}

// together runs fn n times at once and calls release, which must let them go
// on, when all have begun to wait for something.
func together(t *testing.T, n int, release func(), fn func(ctx context.Context) error) []error {
	t.Helper()
	var waiting, done sync.WaitGroup
	waiting.Add(n)
	errs := make([]error, n)
	for i := range n {
		done.Go(func() {
			errs[i] = fn(&observedContext{Context: t.Context(), wait: &waiting})
		})
	}
	waiting.Wait()
	release()
	done.Wait()
	return errs
}

// logTo is a change of the configuration to a log.
func logTo(b *testlog.Buffer) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}
