package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// A session without a user works on every replica at once, across a restart, and
// its token is got once for all of them.
func TestSessionWithoutAUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoRegistration: true, Clients: []authtest.Client{{ID: "svc", Secret: "service-secret"}}}, mcptest.Options{})
	service := func(c *session.Config) {
		c.Client.GrantFor = func(string) oauthclient.Grant { return oauthclient.ClientCredentials{} }
		c.Client.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "svc", ClientSecret: oauthclient.NewSecret("service-secret")}}
	}
	first, second := w.manager(t, service), w.manager(t, service)
	caller := session.Caller{Owner: "alice"}
	info, err := first.Connect(t.Context(), caller, session.ConnectParams{ServerURL: w.mcp.URL()})
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, info.Status)
	for _, m := range []*session.Manager{second, first, w.manager(t, service)} {
		_, err = m.CallTool(t.Context(), caller, info.ID.Reveal(), "echo", nil)
		require.NoError(t, err)
	}
	require.Len(t, w.as.TokenRequests("client_credentials"), 1)
	w.advance(2 * time.Hour)
	for _, m := range []*session.Manager{second, first} {
		_, err = m.CallTool(t.Context(), caller, info.ID.Reveal(), "echo", nil)
		require.NoError(t, err)
	}
	require.Len(t, w.as.TokenRequests("client_credentials"), 2)
	_, err = first.Connect(t.Context(), caller, session.ConnectParams{ServerURL: w.mcp.URL(), FreshRegistration: true})
	require.NoError(t, err)
	require.NoError(t, first.RemoveClient(t.Context(), caller, info.ID.Reveal()))
	require.Equal(t, 1, w.as.Counts().Revocations)
}
