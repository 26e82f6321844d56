package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// silent is a grant without a browser.
type silent struct {
	grant oauthclient.Grant
	kind  string // the grant_type at the authorization server
	user  string // whom the token is for
}

// silentWorld has a client "svc" that cannot register, and the grant with a name.
// Another server is both the platform of workloads and the identity provider.
func silentWorld(t *testing.T, name string, bound bool) (*world, silent) {
	t.Helper()
	now := testclock.New(time.Now())
	other := authtest.New(authtest.Options{Now: now.Now, IDJAGClient: "svc", Clients: []authtest.Client{{ID: "host", Secret: "host-secret"}}})
	t.Cleanup(other.Close)
	w := newWorldAt(t, now, authtest.Options{
		DPoP: bound, NoRegistration: true, AssertionKeys: other.IdentityKeys(), Clients: []authtest.Client{{ID: "svc", Secret: "service-secret"}},
	}, mcptest.Options{DPoP: bound})
	return w, map[string]silent{
		"client credentials": {oauthclient.ClientCredentials{}, "client_credentials", "svc"},
		"JWT bearer": {oauthclient.JWTBearer{Assertion: func(_ context.Context, issuer string) (oauthclient.Secret, error) {
			return oauthclient.NewSecret(other.Assertion("job-7", issuer, time.Minute)), nil
		}}, grantJWTBearer, "job-7"},
		"ID-JAG": {oauthclient.EnterpriseManaged{
			TokenEndpoint: other.EndpointURL(authtest.EndpointToken),
			Client:        oauthclient.PreregisteredClient{ClientID: "host", ClientSecret: oauthclient.NewSecret("host-secret")},
			IDToken: func(_ context.Context, owner string) (oauthclient.Secret, error) {
				return oauthclient.NewSecret(other.IDToken(owner, "host")), nil
			},
		}, grantJWTBearer, alice.Owner},
	}[name]
}

const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// A session without a browser works on every replica at once, across a restart,
// and its token is got once for all of them. Bound tokens make no difference.
func TestSessionWithoutABrowser(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"client credentials", "JWT bearer", "ID-JAG"} {
		for scheme, bound := range map[string]bool{"Bearer": false, "DPoP": true} {
			t.Run(name+", "+scheme, func(t *testing.T) {
				t.Parallel()
				w, row := silentWorld(t, name, bound)
				service := func(c *session.Config) {
					c.Client.GrantFor = func(string) oauthclient.Grant { return row.grant }
					c.Client.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "svc", ClientSecret: oauthclient.NewSecret("service-secret")}}
				}
				first, second := w.manager(t, service), w.manager(t, service)
				info, err := first.Connect(t.Context(), alice, session.ConnectParams{ServerURL: w.mcp.URL()})
				require.NoError(t, err)
				require.Equal(t, session.StatusConnected, info.Status)
				id := info.ID.Reveal()
				for _, m := range []*session.Manager{second, first, w.manager(t, service)} {
					requireWorks(t, m, alice, id)
				}
				require.Len(t, w.as.TokenRequests(row.kind), 1)

				w.advance(2 * time.Hour)
				require.NoError(t, first.Close())
				replicas := []*session.Manager{second, w.manager(t, service)}
				requireNoErrors(t, concurrently(10, func(i int) error { return call(t, replicas[i%2], id) }))
				require.Len(t, w.as.TokenRequests(row.kind), 2)
				tokens := w.mcp.Tokens()
				require.Len(t, tokens, 2)
				token, err := w.as.Verify(tokens[1])
				require.NoError(t, err)
				require.Equal(t, row.user, token.User)
				for _, req := range w.mcp.Requests() {
					require.True(t, req.Token == "" || req.Header.Get("Authorization") == scheme+" "+req.Token)
				}

				_, err = second.Connect(t.Context(), alice, session.ConnectParams{ServerURL: w.mcp.URL(), FreshRegistration: true})
				require.NoError(t, err)
				require.NoError(t, second.RemoveClient(t.Context(), alice, id))
				require.Equal(t, 1, w.as.Counts().Revocations)
			})
		}
	}
}
