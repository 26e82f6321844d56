package session_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

const callbackURL = "https://app.example/api/mcp/auth/callback"

var sealKey = []byte("0123456789abcdef0123456789abcdef")

// alice is the usual caller.
var alice = session.Caller{Owner: "alice", Binding: "browser-a"}

// world is an authorization server, a protected MCP server and a store.
type world struct {
	as    *authtest.Server
	mcp   *mcptest.Server
	store store.SessionStore
}

func newWorld(t *testing.T, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	w := &world{as: authtest.New(as), store: memstore.New(memstore.Config{})}
	t.Cleanup(w.as.Close)
	mcp.Auth = w.as
	w.mcp = mcptest.New(mcp)
	t.Cleanup(w.mcp.Close)
	return w
}

// manager starts a replica on the world's store.
func (w *world) manager(t *testing.T, change ...func(*session.Config)) *session.Manager {
	t.Helper()
	cfg := session.Config{Store: w.store, SealKeys: [][]byte{sealKey}}
	cfg.Client.HTTPClient = oauthclient.NewHTTPClient(oauthclient.NetworkPolicy{AllowLoopback: true})
	for _, fn := range change {
		fn(&cfg)
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// connect begins a session and returns the authorization it asks for.
func (w *world) connect(t *testing.T, m *session.Manager, caller session.Caller) (session.Info, *oauthclient.AuthorizationRequiredError) {
	t.Helper()
	info, err := m.Connect(t.Context(), caller, session.ConnectParams{ServerURL: w.mcp.URL(), CallbackURL: callbackURL})
	return info, requireAuthorization(t, err)
}

func requireAuthorization(t *testing.T, err error) *oauthclient.AuthorizationRequiredError {
	t.Helper()
	var required *oauthclient.AuthorizationRequiredError
	require.ErrorAs(t, err, &required)
	return required
}

// approve plays the browser and returns what comes back.
func (w *world) approve(t *testing.T, authURL string) oauthclient.AuthorizationResponse {
	t.Helper()
	callback, err := w.as.Approve(context.Background(), authURL)
	require.NoError(t, err)
	return parseCallback(t, callback)
}

func parseCallback(t *testing.T, callback string) oauthclient.AuthorizationResponse {
	t.Helper()
	u, err := url.Parse(callback)
	require.NoError(t, err)
	return oauthclient.ParseAuthorizationResponse(u.Query())
}

// connected returns a session that alice has authorized, begun on the first
// replica and finished on the last.
func (w *world) connected(t *testing.T, replicas ...*session.Manager) string {
	t.Helper()
	info, required := w.connect(t, replicas[0], alice)
	done, err := replicas[len(replicas)-1].FinishAuth(t.Context(), alice, "", w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status, done.Reason)
	return info.ID.Reveal()
}

var errAny = errors.New("any")
