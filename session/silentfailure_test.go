package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// forService is a world with a manager whose host acts for itself.
func forService(t *testing.T) (*world, *session.Manager) {
	t.Helper()
	w := newWorld(t, authtest.Options{Clients: []authtest.Client{{ID: "svc", Secret: "service-secret"}}}, mcptest.Options{})
	return w, w.manager(t, func(c *session.Config) {
		c.Client.Grant = oauthclient.ClientCredentials{}
		c.Client.PreregisteredClients = []oauthclient.PreregisteredClient{{ClientID: "svc", ClientSecret: oauthclient.NewSecret("service-secret"), Issuer: w.as.Issuer()}}
	})
}

// The server goes away between the token and the first answer with it.
func TestConnect_RevokesTheTokenOfAGrantWithoutAUser(t *testing.T) {
	t.Parallel()
	w, m := forService(t)
	w.store.set(nil, func(op, key string) error {
		if op == "swap" && kindOf(key) == "session" && len(w.as.TokenRequests("client_credentials")) == 1 {
			w.mcp.SetOutage(authtest.StatusOutage(503))
		}
		return nil
	})
	_, err := m.Connect(t.Context(), alice, w.params())
	require.Error(t, err)
	require.Len(t, w.as.TokenRequests("client_credentials"), 1)
	require.Empty(t, w.store.live("session"))
	require.Equal(t, 1, w.as.Counts().Revocations, "the token is stored nowhere")
}

// The caller leaves while the token is on its way.
func TestConnect_RevokesTheTokenThatComesAfterTheCallerHasLeft(t *testing.T) {
	t.Parallel()
	w, m := forService(t)
	release := w.as.Block(authtest.EndpointToken)
	t.Cleanup(release)
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := m.Connect(ctx, alice, w.params())
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(w.as.TokenRequests("client_credentials")) == 1 }, time.Minute, time.Millisecond)
	locks := w.store.count("lock session")
	leave()
	require.Eventually(t, func() bool { return w.store.count("lock session") > locks || len(w.store.live("session")) == 0 }, time.Minute, time.Millisecond)
	release()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Empty(t, w.store.live("session"))
	require.Equal(t, 1, w.as.Counts().Revocations, "the token is stored nowhere")
}
