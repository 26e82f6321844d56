package oauthclient_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/ports"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A refresh that brings no token costs nothing while the access token works.
func TestRefresh_FailureKeepsTheUsableToken(t *testing.T) {
	t.Parallel()
	for _, row := range badTokenAnswers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			before := w.stored()
			w.as.SetOutage(authtest.EndpointToken, row.answer)
			w.clock.Advance(time.Hour - 30*time.Second)
			for range 3 {
				require.NoError(t, w.call(c))
			}
			require.Len(t, w.as.TokenRequests("refresh_token"), 1, "many calls do not each ask")
			require.True(t, w.stored().AccessToken.Equal(before.AccessToken))
			require.Equal(t, row.means == dead, w.stored().RefreshToken.IsZero())
			require.Empty(t, w.as.Requests(authtest.EndpointOther))
		})
	}
}

// Once the access token is over, a refusal asks the user, and everything else
// is an error that keeps the tokens.
func TestRefresh_RefusalAsksTheUserOnceTheAccessTokenIsOver(t *testing.T) {
	t.Parallel()
	for _, row := range badTokenAnswers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			before := w.stored()
			w.as.SetOutage(authtest.EndpointToken, row.answer)
			w.clock.Advance(2 * time.Hour)
			w.mcp.Reset()
			err := w.call(c)
			switch row.means {
			case temporary:
				requireTemporary(t, err)
			case unusable:
				var answer *oauthclient.ServerError
				require.ErrorAs(t, err, &answer)
				require.Equal(t, "refreshing the access token", answer.Op)
			default:
				requireAuthorization(t, err)
			}
			require.Zero(t, w.mcp.CountHTTP(http.MethodPost), "no token, no request")
			require.Equal(t, row.means != dead, before.RefreshToken.Equal(w.stored().RefreshToken))
			require.Empty(t, w.as.Requests(authtest.EndpointOther))

			w.as.SetOutage(authtest.EndpointToken, nil)
			w.clock.Advance(2 * time.Second)
			if row.means == dead {
				w.finish(c, w.begin(c))
			}
			require.NoError(t, w.call(c))
			require.Equal(t, row.means != dead, w.as.Counts().Authorizations == 1, "no user was needed")
		})
	}
}

// The kept refresh token is tried again, with pauses that grow to a minute, by
// any replica.
func TestRefresh_RefusedTokenIsTriedAgainWithBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	clients := []*oauthclient.MCPOAuthClient{w.connected(), w.client()}
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(http.StatusForbidden))
	w.clock.Advance(2 * time.Hour)
	for i, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		for _, c := range clients {
			requireAuthorization(t, w.call(c))
		}
		require.Len(t, w.as.TokenRequests("refresh_token"), i+1)
		w.clock.Advance(pause*time.Second - time.Millisecond)
		for _, c := range clients {
			requireAuthorization(t, w.call(c))
		}
		require.Len(t, w.as.TokenRequests("refresh_token"), i+1)
		w.clock.Advance(time.Millisecond)
	}
	w.as.SetOutage(authtest.EndpointToken, nil)
	for _, c := range clients {
		require.NoError(t, w.call(c))
	}
	require.Equal(t, 1, w.as.Counts().Authorizations)
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(http.StatusForbidden))
	w.clock.Advance(2 * time.Hour)
	requireAuthorization(t, w.call(clients[0]))
	w.clock.Advance(time.Second)
	w.as.SetOutage(authtest.EndpointToken, nil)
	require.NoError(t, w.call(clients[1]), "a success ends the backoff")
}

// What a server said is stored with the credentials.
func TestCredentials_KeepWhatServersSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(http.StatusForbidden))
	w.clock.Advance(2 * time.Hour)
	requireAuthorization(t, w.call(c))
	data, err := w.stored().MarshalBinary()
	require.NoError(t, err)
	var restored oauthclient.Credentials
	require.NoError(t, restored.UnmarshalBinary(data))
	after := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = oauthclient.NewMemoryCredentialStore(restored) })
	requireAuthorization(t, w.call(after))
	require.Len(t, w.as.TokenRequests("refresh_token"), 1)
}

// A new grant takes the place of the refused refresh token.
func TestRefresh_NewGrantReplacesTheRefusedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	refused := w.stored().RefreshToken
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(http.StatusForbidden))
	w.clock.Advance(2 * time.Hour)
	required := requireAuthorization(t, w.call(c))
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.finish(c, required)
	require.False(t, refused.Equal(w.stored().RefreshToken))
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// A 401 shows that the access token is of no use. The refresh token is kept
// when its use is refused for another reason.
func TestRefresh_RefusalAfterA401AsksTheUserAndKeepsTheRefreshToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	c := w.connected()
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(400, "invalid_request", "?"))
	w.as.ExpireAccessTokens()
	requireAuthorization(t, w.call(c))
	requireAuthorization(t, c.Connect(t.Context()))
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.clock.Advance(time.Second)
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Authorizations)
}

// An answer without any meaning becomes a refusal if it stays: no user waits for
// ever.
func TestRefresh_UnusableAnswersAskTheUserInTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.as.SetOutage(authtest.EndpointToken, authtest.Body(200, "text/html", "<html>moved</html>"))
	w.clock.Advance(2 * time.Hour)
	for range 9 {
		var answer *oauthclient.ServerError
		require.ErrorAs(t, w.call(c), &answer)
		w.clock.Advance(time.Minute)
	}
	requireAuthorization(t, w.call(c))
	require.Len(t, w.as.TokenRequests("refresh_token"), 10)
	require.False(t, w.stored().RefreshToken.IsZero())
}

// The token endpoint has moved, and its server's metadata says where.
func TestRefresh_MovedTokenEndpointIsFoundAgain(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]http.HandlerFunc{
		"404": authtest.StatusOutage(404), "410": authtest.StatusOutage(410), "page": authtest.Body(200, "text/html", "<html>"),
		"redirect": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/moved", http.StatusPermanentRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			w.as.Handle("POST /old", old)
			w.edit(func(creds *oauthclient.Credentials) { creds.TokenEndpoint = w.as.URL() + "/old" })
			for range 2 {
				w.clock.Advance(2 * time.Hour)
				require.NoError(t, w.call(c))
			}
			require.Equal(t, w.as.EndpointURL(authtest.EndpointToken), w.stored().TokenEndpoint)
			require.Equal(t, 2, w.as.Counts().Refreshes)
			require.Equal(t, 1, w.as.Counts().Authorizations)
		})
	}
	t.Run("no connection", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		c := w.connected()
		gone, err := ports.Refused()
		require.NoError(t, err)
		w.edit(func(creds *oauthclient.Credentials) { creds.TokenEndpoint = "http://" + gone + "/token" })
		w.clock.Advance(2 * time.Hour)
		require.NoError(t, w.call(c))
	})
}

// A refresh token is not sent to where another authorization server's metadata
// points.
func TestRefresh_TokenIsNotSentToAnotherIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	other := authtest.New(authtest.Options{Now: w.clock.Now})
	t.Cleanup(other.Close)
	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{other.Issuer()}})
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(404))
	w.clock.Advance(2 * time.Hour)
	requireAuthorization(t, w.call(c))
	require.Empty(t, other.Requests(authtest.EndpointToken))
}
