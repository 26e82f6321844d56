package oauthclient_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// serviceWorld has a client "svc" with a secret, and no browser anywhere.
func serviceWorld(t *testing.T, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	as.NoRegistration, as.OmitPKCEMethods = true, true
	as.EditMetadata = func(doc map[string]any) { delete(doc, "authorization_endpoint") }
	as.Clients = []authtest.Client{{ID: "svc", Secret: "service-secret-1234"}, {ID: "workload", AuthMethod: authtest.AuthNone}}
	return newWorld(t, as, mcp)
}

// service is a change of the configuration to a grant as the client "svc".
func service(w *world, g oauthclient.Grant) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.CallbackURL, cfg.Grant = "", g
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "svc", ClientSecret: oauthclient.NewSecret("service-secret-1234")}}
	}
}

func (w *world) grants(kind string) int { return len(w.as.TokenRequests(kind)) }

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.client(service(w, oauthclient.ClientCredentials{})), w.client(service(w, oauthclient.ClientCredentials{}))
	require.NoError(t, first.Connect(t.Context()))
	require.NoError(t, w.call(second))
	require.Equal(t, 1, w.grants("client_credentials"), "both replicas use one token")
	require.Equal(t, w.mcp.URL(), w.as.TokenRequests("client_credentials")[0].Get("resource"))
	require.True(t, w.stored().RefreshToken.IsZero())

	w.clock.Advance(time.Hour - 30*time.Second)
	require.NoError(t, w.call(first))
	require.Equal(t, 2, w.grants("client_credentials"), "the grant runs again ahead of expiry")
	w.as.ExpireAccessTokens()
	require.NoError(t, w.call(second))
	require.Equal(t, 3, w.grants("client_credentials"), "and after a 401")
	require.NoError(t, w.call(first))
	require.Equal(t, 3, w.grants("client_credentials"))
	require.NoError(t, first.Disconnect(t.Context()))
	require.Equal(t, 1, w.as.Counts().Revocations)
}

func TestClientCredentials_StepUp(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{}, mcptest.Options{ToolScopes: map[string][]string{"echo": {"admin"}}})
	c := w.client(service(w, oauthclient.ClientCredentials{}))
	require.NoError(t, w.call(c))
	requests := w.as.TokenRequests("client_credentials")
	require.Equal(t, "admin", requests[len(requests)-1].Get("scope"))
}

// A refusal is remembered by all replicas, with backoff, and ends.
func TestClientCredentials_Refused(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(service(w, oauthclient.ClientCredentials{}))
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(401, "invalid_client", "no"))
	var refused *oauthclient.AuthorizationError
	require.ErrorAs(t, c.Connect(t.Context()), &refused)
	require.Equal(t, "invalid_client", refused.Code)
	require.ErrorAs(t, w.call(w.client(service(w, oauthclient.ClientCredentials{}))), &refused)
	require.Equal(t, 1, w.grants("client_credentials"), "no replica asks again at once")
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.clock.Advance(time.Minute)
	require.NoError(t, w.call(c))
	require.Equal(t, 2, w.grants("client_credentials"))

	w.clock.Advance(time.Hour - 30*time.Second)
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(400, "unauthorized_client", "no"))
	require.NoError(t, w.call(c), "the token is good for 30 seconds more")
}

// A server that rejects every token is asked twice, not for ever.
func TestClientCredentials_TokenRejected(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{}, mcptest.Options{Verify: func(string) (authtest.Info, error) { return authtest.Info{}, errors.New("no") }})
	c := w.client(service(w, oauthclient.ClientCredentials{}))
	var rejected *oauthclient.TokenRejectedError
	require.ErrorAs(t, c.Connect(t.Context()), &rejected)
	require.LessOrEqual(t, w.grants("client_credentials"), 2)
	require.ErrorAs(t, w.call(c), &rejected)
	require.LessOrEqual(t, w.grants("client_credentials"), 2)
}

func TestGrants_NeedARegisteredClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.CallbackURL, cfg.Grant = "", oauthclient.ClientCredentials{} })
	var required *oauthclient.RegistrationRequiredError
	require.ErrorAs(t, c.Connect(t.Context()), &required)
	require.Zero(t, w.as.Counts().Registrations)
}

const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// The platform is another server that signs for its workloads.
func TestJWTBearer(t *testing.T) {
	t.Parallel()
	clock := newClock()
	platform := authtest.New(authtest.Options{Now: clock.Now})
	t.Cleanup(platform.Close)
	w := serviceWorld(t, authtest.Options{AssertionKeys: platform.IdentityKeys(), Now: clock.Now}, mcptest.Options{})
	w.clock = clock
	as := func(assertion func(context.Context, string) (oauthclient.Secret, error)) func(*oauthclient.Config) {
		return func(cfg *oauthclient.Config) {
			cfg.CallbackURL, cfg.Grant = "", oauthclient.JWTBearer{Assertion: assertion}
			cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "workload"}}
		}
	}
	fresh := func(_ context.Context, issuer string) (oauthclient.Secret, error) {
		return oauthclient.NewSecret(platform.Assertion("job-7", issuer, time.Minute)), nil
	}
	c := w.client(as(fresh))
	require.NoError(t, c.Connect(t.Context()))
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(w.client(as(fresh))), "a restart later")
	require.Equal(t, 2, w.grants(grantJWTBearer))

	replayed, err := fresh(t.Context(), w.as.Issuer())
	require.NoError(t, err)
	rows := map[string]struct {
		assertion oauthclient.Secret
		err       error
		times     int
	}{
		"wrong audience":     {assertion: oauthclient.NewSecret(platform.Assertion("job-7", "https://other.example", time.Minute))},
		"expired":            {assertion: oauthclient.NewSecret(platform.Assertion("job-7", w.as.Issuer(), -time.Minute))},
		"another platform's": {assertion: oauthclient.NewSecret(w.as.Assertion("job-7", w.as.Issuer(), time.Minute))},
		"replayed":           {assertion: replayed, times: 1},
		"none":               {err: errors.New("the platform is away")},
	}
	for name, row := range rows {
		w.creds = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
		c := w.client(as(func(context.Context, string) (oauthclient.Secret, error) { return row.assertion, row.err }))
		before := w.grants(grantJWTBearer)
		for range row.times {
			require.NoError(t, c.Connect(t.Context()), name)
			w.clock.Advance(2 * time.Hour)
			w.creds = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
			c = w.client(as(func(context.Context, string) (oauthclient.Secret, error) { return row.assertion, row.err }))
		}
		err := c.Connect(t.Context())
		require.Error(t, err, name)
		if row.err != nil {
			require.ErrorIs(t, err, row.err, name)
			require.Equal(t, before, w.grants(grantJWTBearer), name)
			continue
		}
		var refused *oauthclient.AuthorizationError
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, "invalid_grant", refused.Code, name)
		require.Equal(t, before+1+row.times, w.grants(grantJWTBearer), "%s: asked once", name)
	}
}

// The ID token of each user becomes a token of that user, and nothing else is
// stored.
func TestEnterpriseManaged(t *testing.T) {
	t.Parallel()
	clock := newClock()
	idp := authtest.New(authtest.Options{Now: clock.Now, IDJAGClient: "svc", Clients: []authtest.Client{{ID: "host", Secret: "host-secret-at-idp"}}})
	t.Cleanup(idp.Close)
	w := serviceWorld(t, authtest.Options{AssertionKeys: idp.IdentityKeys(), Now: clock.Now}, mcptest.Options{})
	w.clock = clock
	grant := oauthclient.EnterpriseManaged{
		TokenEndpoint: idp.EndpointURL(authtest.EndpointToken), Client: oauthclient.PreregisteredClient{ClientID: "host", ClientSecret: oauthclient.NewSecret("host-secret-at-idp")},
		IDToken: func(_ context.Context, owner string) (oauthclient.Secret, error) {
			if owner == "" {
				return oauthclient.Secret{}, errors.New("sign in first")
			}
			return oauthclient.NewSecret(idp.IDToken(owner, "host")), nil
		},
	}
	for _, owner := range []string{"alice", "bob"} {
		w.creds = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
		mine := func(cfg *oauthclient.Config) { cfg.Owner = owner }
		require.NoError(t, w.client(service(w, grant), mine).Connect(t.Context()))
		require.NoError(t, w.call(w.client(service(w, grant), mine)), "the second replica uses the same token")
		info, err := w.as.Verify(w.stored().AccessToken.Reveal())
		require.NoError(t, err)
		require.Equal(t, owner, info.User)
		stored, err := w.stored().MarshalBinary()
		require.NoError(t, err)
		requests := w.as.TokenRequests(grantJWTBearer)
		require.NotContains(t, string(stored), requests[len(requests)-1].Get("assertion"))
		w.clock.Advance(2 * time.Hour)
		require.NoError(t, w.call(w.client(service(w, grant), mine)))
	}
	require.Len(t, idp.TokenRequests("urn:ietf:params:oauth:grant-type:token-exchange"), 4)
	require.Len(t, w.as.TokenRequests(grantJWTBearer), 4)

	w.creds = oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{})
	var missing *oauthclient.AssertionError
	require.ErrorAs(t, w.client(service(w, grant)).Connect(t.Context()), &missing)
}

// All mistakes in a grant are named when the client is made.
func TestGrants_Invalid(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		grant oauthclient.Grant
		want  []string
	}{
		"JWT bearer": {oauthclient.JWTBearer{}, []string{"JWTBearer.Assertion is required"}},
		"ID-JAG": {oauthclient.EnterpriseManaged{TokenEndpoint: "http://idp.example/token", Client: oauthclient.PreregisteredClient{TokenEndpointAuthMethod: "magic"}}, []string{
			"EnterpriseManaged.TokenEndpoint must be an https URL", "EnterpriseManaged.Client.ClientID is required", `"magic"`, "EnterpriseManaged.IDToken is required",
		}},
	}
	for name, row := range rows {
		for field, shared := range map[string]oauthclient.Shared{"Grant": {Grant: row.grant}, "GrantFor": {GrantFor: func(string) oauthclient.Grant { return row.grant }}} {
			t.Run(name+", "+field, func(t *testing.T) {
				t.Parallel()
				_, err := oauthclient.New(oauthclient.Config{ServerURL: "https://mcp.example/mcp", Shared: shared})
				for _, text := range row.want {
					require.ErrorContains(t, err, text)
				}
			})
		}
	}
}
