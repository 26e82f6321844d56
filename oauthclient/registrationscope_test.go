package oauthclient_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// registered returns the scopes of each registration request.
func registered(w *world) (scopes []any) {
	for _, req := range w.as.Requests(authtest.EndpointRegister) {
		scopes = append(scopes, req.JSON["scope"])
	}
	return scopes
}

// Hydra and FastMCP refuse scopes that the client did not register.
func TestRegistration_CarriesTheScopesToBeAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RegisteredScopesOnly: true, ScopesSupported: []string{"read", "admin", "offline_access"}},
		mcptest.Options{RequiredScopes: []string{"read"}})
	c := w.connected()
	require.Equal(t, []any{"read offline_access"}, registered(w))

	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	require.NoError(t, w.callAdmin(c))
	require.Equal(t, []any{"read offline_access", "read offline_access admin"}, registered(w), "made again for a further scope")
	w.connected(func(cfg *oauthclient.Config) {
		cfg.Credentials = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
	})
	require.Len(t, registered(w), 2, "a client that may do more serves who asks for less")
}

// A client made again for a further scope can die like any other: it must not
// keep its users out for 10 minutes.
func TestRegistration_ClientOfAFurtherScopeThatDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{RegisteredScopesOnly: true, ScopesSupported: []string{"read", "admin"}}, mcptest.Options{RequiredScopes: []string{"read"}})
	c := w.connected()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	require.NoError(t, w.callAdmin(c))
	require.Len(t, registered(w), 2)
	w.as.DropClients()
	w.as.ExpireAccessTokens()
	w.finish(c, requireAuthorization(t, w.callAdmin(c)))
	require.NoError(t, w.callAdmin(c))
	require.Len(t, registered(w), 3)
}

func TestRegistration_ConfiguredScopesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Challenge: mcptest.Challenge{Scope: "read"}})
	w.begin(w.client(func(cfg *oauthclient.Config) { cfg.ClientMetadata.Scope = "base" }))
	require.Equal(t, []any{"base read"}, registered(w))
}

// The MCP server chooses scopes, so they must not make clients without end.
func TestRegistration_EndlessScopesMakeNoEndlessClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	for i := range 150 {
		w.mcp.SetMetadata(mcptest.Metadata{ScopesSupported: []string{fmt.Sprint("scope", i)}})
		w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil }))
	}
	require.Equal(t, 100, w.as.Counts().Registrations)
	w.clock.Advance(10 * time.Minute)
	c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil })
	requireAuthorization(t, c.Provider().Reauthorize(t.Context(), true))
	scopes := registered(w)
	require.Equal(t, "scope149", scopes[len(scopes)-1], "a new client on request has only what is needed")
}

// A server may advertise more authentication methods than it registers.
func TestRegistration_NextAuthMethodAfterInvalidClientMetadata(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		advertised []string // nil: none
		accepted   string
		configured string
		want       []any // requests
	}{
		"public only":                {[]string{"client_secret_basic", "client_secret_post", "none"}, "none", "", []any{"client_secret_basic", "client_secret_post", "none"}},
		"not advertised":             {nil, "client_secret_post", "", []any{nil, "none", "client_secret_post"}},
		"only what is advertised":    {[]string{"client_secret_basic", "none"}, "client_secret_post", "", []any{"client_secret_basic", "none", "client_secret_basic"}},
		"what is configured is kept": {[]string{"client_secret_basic", "none"}, "client_secret_post", "client_secret_post", []any{"client_secret_post"}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{AuthMethods: []string{row.accepted}, EditMetadata: func(doc map[string]any) {
				delete(doc, "token_endpoint_auth_methods_supported")
				if row.advertised != nil {
					doc["token_endpoint_auth_methods_supported"] = row.advertised
				}
			}}, mcptest.Options{Challenge: mcptest.Challenge{Scope: "read"}})
			c := w.client(func(cfg *oauthclient.Config) { cfg.ClientMetadata.TokenEndpointAuthMethod = row.configured })
			err := c.Connect(t.Context())
			var methods []any
			for _, req := range w.as.Requests(authtest.EndpointRegister) {
				methods = append(methods, req.JSON["token_endpoint_auth_method"])
			}
			require.Equal(t, row.want, methods)
			if methods[len(methods)-1] != row.accepted {
				var refused *oauthclient.AuthorizationError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, "invalid_client_metadata", refused.Code)
				return
			}
			w.finish(c, requireAuthorization(t, err))
			require.NoError(t, w.call(c))
			require.Equal(t, row.accepted, w.stored().Registration.TokenEndpointAuthMethod)
		})
	}
}

// A server that refuses to register the scopes gets a registration without.
func TestRegistration_WithoutScopesAfterInvalidClientMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AuthMethods: []string{"none"}}, mcptest.Options{Challenge: mcptest.Challenge{Scope: "read"}})
	w.as.FailNextWith(authtest.EndpointRegister, 1, authtest.OAuthError(400, "invalid_client_metadata", "scope"))
	for range 2 {
		w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil }))
	}
	require.Equal(t, []any{"read", nil}, registered(w), "and is not asked for them again")
}

// What tells a stranger to go away tells the administrator what to do.
func TestRegistration_RefusalOfStrangersAsksForAClientByHand(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404, 405} {
		for _, body := range []string{``, `{"error":"invalid_token","error_description":"an initial access token is needed"}`} {
			t.Run(fmt.Sprint(status, strings.Contains(body, "error")), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, mcptest.Options{})
				w.as.SetOutage(authtest.EndpointRegister, authtest.Body(status, "application/json", body))
				log := new(testlog.Buffer)
				var required *oauthclient.RegistrationRequiredError
				require.ErrorAs(t, w.client(logTo(log)).Connect(t.Context()), &required)
				require.Equal(t, oauthclient.RegistrationRequiredError{Issuer: w.as.Issuer(), RedirectURI: callbackURL}, *required)
				require.Contains(t, log.String(), "issuer="+w.as.Issuer())
				require.Contains(t, log.String(), "redirect_uri="+callbackURL)
				require.Equal(t, body != "", strings.Contains(log.String(), "an initial access token is needed"))
			})
		}
	}
}

// A connection with a policy that trusts another issuer believes metadata that
// the others do not: the client that it registers is not theirs.
func TestRegistration_TrustedIssuerDoesNotPoisonTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	evil := authtest.New(authtest.Options{Now: w.clock.Now, EditMetadata: func(doc map[string]any) { doc["issuer"] = w.as.Issuer() }})
	t.Cleanup(evil.Close)
	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{evil.Issuer()}})
	trusting := w.begin(w.client(policy(oauthclient.ServerPolicy{TrustedIssuer: w.as.Issuer()})))
	require.Equal(t, 1, evil.Counts().Registrations)
	w.mcp.SetMetadata(mcptest.Metadata{})
	strict := w.begin(w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil }))
	require.NotEqual(t, query(t, trusting).Get("client_id"), query(t, strict).Get("client_id"))
	require.Equal(t, 1, w.as.Counts().Registrations)
}
