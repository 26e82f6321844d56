package oauthclient_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestRegistrationSecretExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{ClientSecretTTL: 24 * time.Hour, AssignAuthMethod: authtest.AuthBasic}, mcptest.Options{})
	c := w.client()
	w.finish(c, w.begin(c))
	require.True(t, w.clock.Now().Add(24*time.Hour).Equal(w.stored().Registration.SecretExpiry))

	w.clock.Advance(23 * time.Hour)
	another := func(cfg *oauthclient.Config) { cfg.Credentials = nil }
	w.begin(w.client(another))
	require.Equal(t, 1, w.as.Counts().Registrations)
	w.clock.Advance(51 * time.Minute) // less than an attempt's time is left
	w.begin(w.client(another))
	require.Equal(t, 2, w.as.Counts().Registrations)
}

// An expired secret at refresh is a dead client.
func TestRegistration_SecretExpiredAtRefreshIsADeadClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{ClientSecretTTL: 30 * time.Minute, AssignAuthMethod: authtest.AuthBasic}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(time.Hour)
	required := requireAuthorization(t, w.call(c))
	require.Equal(t, 2, w.as.Counts().Registrations)
	w.finish(c, required)
	require.NoError(t, w.call(c))
}

// A registration answer may hold any value in a member that the client ignores or
// that is optional.
func TestRegistration_OddAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"members of odd types":     `{"client_id":"by-server","redirect_uris":"x","client_id_issued_at":"now","contacts":{},"scope":[]}`,
		"optional of odd types":    `{"client_id":"by-server","client_secret":null,"client_secret_expires_at":{},"token_endpoint_auth_method":7}`,
		"byte order mark":          "\xef\xbb\xbf" + `{"client_id":"by-server"}`,
		"an expiry without secret": `{"client_id":"by-server","client_secret_expires_at":"1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.as.SetOutage(authtest.EndpointRegister, authtest.Body(http.StatusCreated, "application/json", body))
			require.Equal(t, "by-server", query(t, w.begin(w.client())).Get("client_id"))
		})
	}
}

func TestBadRegistrationAnswers(t *testing.T) {
	t.Parallel()
	json := func(status int, body string) http.HandlerFunc { return authtest.Body(status, "application/json", body) }
	rows := []struct {
		name   string
		answer http.HandlerFunc
		means  string
		code   string // of the AuthorizationError
	}{
		{"malformed", authtest.MalformedJSON(), unusable, ""},
		{"HTML", authtest.Body(200, "text/html", "<html>"), unusable, ""},
		{"empty", json(201, ""), unusable, ""},
		{"no client_id", json(201, `{"client_secret":"x"}`), unusable, ""},
		{"client_id of another type", json(201, `{"client_id":7}`), unusable, ""},
		{"list", json(201, `[]`), unusable, ""},
		{"too large", json(201, `{"client_id":"`+strings.Repeat("x", 2<<20)+`"}`), unusable, ""},
		{"500", authtest.StatusOutage(500), temporary, ""},
		{"429", authtest.StatusOutage(429), temporary, ""},
		{"cut", authtest.Abort(), temporary, ""},
		{"refused", authtest.OAuthError(400, "invalid_redirect_uri", "no"), refused, "invalid_redirect_uri"},
		{"refused with a control character", json(400, `{"error":"invalid\u0000\u202e_x","error_description":"a\nb"}`), refused, "invalid  _x"},
		{"refused without JSON", authtest.Body(400, "text/plain", "registration is closed"), refused, "registration_refused"},
		{"redirected", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, refused, "registration_refused"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.as.SetOutage(authtest.EndpointRegister, row.answer)
			c := w.client()
			err := c.Connect(t.Context())
			switch row.means {
			case temporary:
				requireTemporary(t, err)
			case unusable:
				requireServerError(t, err, "registering the client")
			default:
				var refused *oauthclient.AuthorizationError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, row.code, refused.Code)
				require.NotContains(t, refused.Description, "\n")
			}
			require.Len(t, w.as.Requests(authtest.EndpointRegister), 1)
			require.Empty(t, w.as.Requests(authtest.EndpointOther), "a redirected POST is not followed")
			w.as.SetOutage(authtest.EndpointRegister, nil)
			w.finish(c, w.begin(c))
		})
	}
}

func TestOddRegistrationAnswers(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, body string
		method     string
		expires    bool
	}{
		{"public although asked otherwise", `{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}`, "none", false},
		{"secret without method", `{"client_id":"c","client_secret":"s"}`, "client_secret_basic", false},
		{"expiry as a string", `{"client_id":"c","client_secret":"s","client_secret_expires_at":"1900000000"}`, "client_secret_basic", true},
		{"expiry 0", `{"client_id":"c","client_secret":"s","client_secret_expires_at":0}`, "client_secret_basic", false},
		{"expiry null", `{"client_id":"c","client_secret":"s","client_secret_expires_at":null}`, "client_secret_basic", false},
		{"expiry without a secret", `{"client_id":"c","client_secret_expires_at":1}`, "none", false},
		{"absurd expiry", `{"client_id":"c","client_secret":"s","client_secret_expires_at":1e300}`, "client_secret_basic", true},
		{"expiry of another type", `{"client_id":"c","client_secret":"s","client_secret_expires_at":{}}`, "client_secret_basic", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.as.SetOutage(authtest.EndpointRegister, authtest.Body(201, "application/json", row.body))
			var attempt oauthclient.Attempt
			store := &attempts{now: w.clock.Now, created: func(a oauthclient.Attempt) { attempt = a }}
			w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Attempts = store }))
			require.Equal(t, "c", attempt.Registration.ClientID)
			require.Equal(t, row.method, attempt.Registration.TokenEndpointAuthMethod)
			require.Equal(t, row.expires, !attempt.Registration.SecretExpiry.IsZero())
			data, err := attempt.MarshalBinary() // a time beyond the year 9999 could not be stored
			require.NoError(t, err)
			require.NoError(t, new(oauthclient.Attempt).UnmarshalBinary(data))
		})
	}
	t.Run("a method that no client can use", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		w.as.SetOutage(authtest.EndpointRegister, authtest.Body(201, "application/json", `{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"private_key_jwt"}`))
		var discovery *oauthclient.DiscoveryError
		require.ErrorAs(t, w.client().Connect(t.Context()), &discovery)
	})
}

// Evicted clients: the server says so at refresh.
func TestRegistration_DeadClientAtRefreshIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	dead := w.stored().Registration.ClientID
	w.as.DropClients()
	w.clock.Advance(2 * time.Hour)
	required := requireAuthorization(t, w.call(c))
	require.Equal(t, 2, w.as.Counts().Registrations)
	require.NotEqual(t, dead, query(t, required).Get("client_id"))
	require.False(t, w.stored().RefreshToken.IsZero(), "the server may find its client again")
	w.finish(c, required)
	require.NoError(t, w.call(c))
}

// … or when the code is exchanged.
func TestRegistration_DeadClientAtExchangeIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	required := w.begin(c)
	resp := w.approve(required)
	w.as.DropClients()
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.FinishAuth(t.Context(), resp), &refused)
	require.Equal(t, "invalid_client", refused.Code)
	again := w.begin(c)
	require.Equal(t, 2, w.as.Counts().Registrations)
	w.finish(c, again)
	require.NoError(t, w.call(c))
}

// A user can forge a callback. Its error about the client drops no registration
// that other users need.
func TestRegistration_ForgedCallbackErrorDropsNothing(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"invalid_client", "unauthorized_client"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{Iss: authtest.IssAbsent}, mcptest.Options{})
			c := w.client()
			for range 10 {
				state := query(t, w.begin(c)).Get("state")
				err := c.FinishAuth(t.Context(), oauthclient.AuthorizationResponse{State: oauthclient.NewSecret(state), Error: code})
				var refused *oauthclient.AuthorizationError
				require.ErrorAs(t, err, &refused)
			}
			w.finish(c, w.begin(c))
			require.Equal(t, 1, w.as.Counts().Registrations)
		})
	}
}

// The trap: many servers show a dead client only in the browser, and no callback
// ever comes. Asking for a new client gets out of it at once.
func TestRegistration_DeadClientOnlyInTheBrowserIsReplacedOnRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{UnknownClientJSON: true}, mcptest.Options{})
	w.begin(w.client())
	w.as.DropClients()
	c := w.client()
	_, err := w.as.Approve(t.Context(), w.begin(c).AuthURL)
	require.ErrorContains(t, err, "422", "the user sees an error page")
	w.finish(c, requireAuthorization(t, c.Provider().Reauthorize(t.Context(), true)))
	require.NoError(t, w.call(c))
	require.Equal(t, 2, w.as.Counts().Registrations)
}

// A new client on a new connection heeds the server's challenge: its scopes, and
// metadata at a place that only the challenge names.
func TestReauthorize_NewConnectionHeedsTheChallenge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{
		Challenge: mcptest.Challenge{Scope: "read"},
		Metadata:  mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtCustom}, CustomPath: "/metadata"},
	})
	required := requireAuthorization(t, w.client().Provider().Reauthorize(t.Context(), true))
	require.Equal(t, oauthclient.ReasonFirstTime, required.Reason)
	require.Equal(t, []string{"read"}, required.Scopes)
}

// However often users ask for a new client, and however many: there is one in 10
// minutes, and all get that one.
func TestRegistration_OneReplacementInTenMinutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.begin(w.client())
	register := func() string {
		c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })
		return query(t, requireAuthorization(t, c.Provider().Reauthorize(t.Context(), true))).Get("client_id")
	}
	first := register()
	for range 9 {
		require.Equal(t, first, register())
		w.clock.Advance(time.Minute)
	}
	require.Equal(t, first, query(t, w.begin(w.client())).Get("client_id"))
	require.Equal(t, 2, w.as.Counts().Registrations)
	w.clock.Advance(time.Minute)
	require.NotEqual(t, first, register())
	require.Equal(t, 3, w.as.Counts().Registrations)
}

func TestRegistration_FirstClientMadeOnRequestCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	for range 10 {
		c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })
		requireAuthorization(t, c.Provider().Reauthorize(t.Context(), true))
	}
	require.Equal(t, 1, w.as.Counts().Registrations)
}

// Fifty users press "the sign-in page shows an error" at once.
func TestRegistration_FiftyRequestsReplaceOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.begin(w.client())
	clients := make(chan *oauthclient.MCPOAuthClient, 50)
	for range 50 {
		clients <- w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })
	}
	for _, err := range together(t, 50, func() {}, func(ctx context.Context) error { return (<-clients).Provider().Reauthorize(ctx, true) }) {
		requireAuthorization(t, err)
	}
	require.Equal(t, 2, w.as.Counts().Registrations)
}

// A token endpoint that accepts no client at all does not fill the server with
// clients.
func TestRegistration_TokenEndpointThatKnowsNoClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client()
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(401, "invalid_client", "?"))
	for range 5 {
		require.Error(t, c.FinishAuth(t.Context(), w.approve(w.begin(c))))
	}
	require.Equal(t, 2, w.as.Counts().Registrations)
}

// Servers answer invalid_client when they cannot fetch a metadata document for a
// moment, or when a secret was changed: no user's tokens are lost by that.
func TestRegistration_InvalidClientKeepsTheTokensOfOtherClients(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*world) func(*oauthclient.Config){
		"metadata document": func(*world) func(*oauthclient.Config) {
			return func(cfg *oauthclient.Config) { cfg.ClientMetadataURL = documentURL }
		},
		"pre-registered": func(w *world) func(*oauthclient.Config) {
			return func(cfg *oauthclient.Config) {
				cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "known client/1"}}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{ClientIDMetadataDocuments: true, Clients: []authtest.Client{known(authtest.AuthNone)}}, mcptest.Options{})
			log := new(testlog.Buffer)
			c := w.connected(configure(w), logTo(log))
			before := w.stored()
			w.as.FailNextWith(authtest.EndpointToken, 1, authtest.OAuthError(401, "invalid_client", "the document cannot be fetched"))
			w.clock.Advance(2 * time.Hour)
			requireAuthorization(t, w.call(c))
			require.True(t, before.RefreshToken.Equal(w.stored().RefreshToken))
			require.Equal(t, before.Registration, w.stored().Registration)
			require.Contains(t, log.String(), "the document cannot be fetched")
			require.Contains(t, log.String(), "does not accept the client")
			w.clock.Advance(time.Second)
			require.NoError(t, w.call(c))
			require.Zero(t, w.as.Counts().Registrations)
		})
	}
}

func TestReauthorizeWithFreshRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	token := w.stored().AccessToken
	same := requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false))
	require.Equal(t, 1, w.as.Counts().Registrations)
	other := requireAuthorization(t, c.Provider().Reauthorize(t.Context(), true))
	require.Equal(t, 2, w.as.Counts().Registrations)
	require.NotEqual(t, query(t, same).Get("client_id"), query(t, other).Get("client_id"))
	require.True(t, token.Equal(w.stored().AccessToken), "the connection goes on until the user is back")
	require.NoError(t, w.call(c))
	w.finish(c, other)
	require.NoError(t, w.call(c))
	require.False(t, token.Equal(w.stored().AccessToken))
}

// Of many calls that find the client dead, one registers again.
func TestDeadClientIsReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var clients []*oauthclient.MCPOAuthClient
	for i := range 5 {
		clients = append(clients, w.connected(func(cfg *oauthclient.Config) {
			cfg.Credentials = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
		}))
		require.Equal(t, 1, w.as.Counts().Registrations, fmt.Sprint("client ", i))
	}
	w.as.DropClients()
	w.clock.Advance(2 * time.Hour)
	for _, c := range clients {
		requireAuthorization(t, w.call(c))
	}
	require.Equal(t, 2, w.as.Counts().Registrations)
}
