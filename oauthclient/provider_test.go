package oauthclient_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// sdkClient is a plain client of the SDK with nothing but the provider.
func (w *world) sdkClient(provider *oauthclient.OAuthProvider) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "plain", Version: "1"}, nil)
	session, err := client.Connect(w.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: w.mcp.URL(), OAuthHandler: provider, HTTPClient: w.http, DisableStandaloneSSE: true,
	}, nil)
	if err == nil {
		w.t.Cleanup(func() { _ = session.Close() })
	}
	return session, err
}

func callEcho(t *testing.T, session *mcp.ClientSession) error {
	t.Helper()
	_, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo"})
	return err
}

func TestProviderWithThePlainSDK(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{RequireResource: true}, wire.opts)
			var redirects atomic.Int64
			provider, err := oauthclient.NewOAuthProvider(w.config(func(cfg *oauthclient.Config) {
				cfg.OnRedirect = func(string) { redirects.Add(1) }
			}))
			require.NoError(t, err)
			_, err = w.sdkClient(provider)
			required := requireAuthorization(t, err)
			require.EqualValues(t, 1, redirects.Load(), "the SDK asks twice")
			require.Equal(t, 1, w.as.Counts().Registrations)
			require.NoError(t, provider.FinishAuth(t.Context(), w.approve(required)))
			session, err := w.sdkClient(provider)
			require.NoError(t, err)
			require.NoError(t, callEcho(t, session))

			w.clock.Advance(2 * time.Hour)
			require.NoError(t, callEcho(t, session), "refreshed when due")
			require.Equal(t, 1, w.as.Counts().Refreshes)
			w.as.ExpireAccessTokens()
			require.NoError(t, callEcho(t, session), "refreshed when rejected")
			require.Equal(t, 2, w.as.Counts().Refreshes)

			w.as.RevokeAll()
			required = requireAuthorization(t, callEcho(t, session))
			require.NoError(t, provider.FinishAuth(t.Context(), w.approve(required)))
			require.NoError(t, callEcho(t, session), "the same session goes on")
			require.Equal(t, 4, w.mcp.Executed("echo"))

			_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "admin"})
			require.Equal(t, []string{"admin"}, requireAuthorization(t, err).Scopes)
		})
	}
}

func TestProviderForbidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	provider, err := oauthclient.NewOAuthProvider(w.config())
	require.NoError(t, err)
	session, err := w.sdkClient(provider)
	require.NoError(t, err)
	w.mcp.SetOutage(authtest.StatusOutage(http.StatusForbidden))
	var server *oauthclient.ServerError
	require.ErrorAs(t, callEcho(t, session), &server)
	require.Equal(t, http.StatusForbidden, server.StatusCode)
}

func TestProviderTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	provider := c.Provider()
	source, err := provider.TokenSource(t.Context())
	require.NoError(t, err)
	require.Nil(t, source, "no source, no header")
	_, err = provider.Token(t.Context())
	w.finish(c, requireAuthorization(t, err))

	source, err = provider.TokenSource(t.Context())
	require.NoError(t, err)
	token, err := source.Token()
	require.NoError(t, err)
	require.Equal(t, w.stored().AccessToken.Reveal(), token.AccessToken)
	require.Equal(t, "Bearer", token.Type())
	require.Equal(t, w.stored().Expiry, token.Expiry)
	w.clock.Advance(2 * time.Hour)
	again, err := source.Token()
	require.NoError(t, err)
	require.NotEqual(t, token.AccessToken, again.AccessToken, "the source refreshes")

	w.as.RevokeAll()
	w.clock.Advance(2 * time.Hour)
	_, err = source.Token()
	requireAuthorization(t, err)
	source, err = provider.TokenSource(t.Context())
	require.NoError(t, err)
	require.NotNil(t, source, "requests do not become anonymous")
	_, err = source.Token()
	requireAuthorization(t, err)
	w.as.SetOutage(authtest.EndpointMetadata, authtest.StatusOutage(503))
	_, err = w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil }).Provider().Token(t.Context())
	requireTemporary(t, err)
}

// What was authorized once is not anonymous again, with the SDK's client either.
func TestTokenSource_EndedAuthorizationIsNotAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	w.connected(policy(oauthclient.ServerPolicy{ForceAuthorization: true}))
	w.as.RevokeAll()
	w.clock.Advance(2 * time.Hour)
	provider, err := oauthclient.NewOAuthProvider(w.config())
	require.NoError(t, err)
	_, err = provider.Token(t.Context())
	requireAuthorization(t, err)
	w.mcp.Reset()
	_, err = w.sdkClient(provider)
	requireAuthorization(t, err)
	require.Empty(t, w.mcp.Requests(), "nothing is sent without a token")
}

// A store that fails says nothing about the connection.
func TestCredentialStoreOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	store := &failingStore{CredentialStore: w.creds}
	c := w.connected(func(cfg *oauthclient.Config) { cfg.Credentials = store })
	broken := errors.New("redis is away")
	requireStorage := func(err error) {
		t.Helper()
		var storage *oauthclient.StorageError
		require.ErrorAs(t, err, &storage)
		require.ErrorIs(t, err, broken)
	}
	store.load.Store(&broken)
	requireStorage(w.call(c))
	requireStorage(c.Connect(t.Context()))
	_, err := c.Provider().TokenSource(t.Context())
	requireStorage(err)
	requireStorage(c.Provider().Reauthorize(t.Context(), false))
	store.load.Store(nil)
	require.NoError(t, w.call(c))

	store.update.Store(&broken)
	w.clock.Advance(2 * time.Hour)
	requireStorage(w.call(c))
	require.Zero(t, w.as.Counts().Refreshes, "a refresh token is not spent where its successor cannot be kept")
	requireStorage(c.Disconnect(t.Context()))
	store.update.Store(nil)
	require.NoError(t, c.Disconnect(t.Context()), "once more")
	require.False(t, w.stored().Authorized())
}
