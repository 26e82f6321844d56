package oauthclient_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A clock that was a day ahead when the server refused, and is right again, makes
// the pause after the refusal no longer.
func TestRefusalByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{}, mcptest.Options{})
	w.as.SetOutage(authtest.EndpointToken, authtest.OAuthError(401, "invalid_client", "no"))
	w.clock.Advance(24 * time.Hour)
	require.Error(t, w.client(service(w, oauthclient.ClientCredentials{})).Connect(t.Context()))
	w.clock.Advance(-24 * time.Hour)
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.clock.Advance(time.Minute)
	require.NoError(t, w.call(w.client(service(w, oauthclient.ClientCredentials{}))))
}

// The same for a server that was in trouble, on the replica that met it.
func TestTroubleByAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.clock.Advance(24 * time.Hour)
	w.as.SetOutage(authtest.EndpointToken, authtest.StatusOutage(503))
	require.Error(t, w.call(c))
	w.clock.Advance(-24 * time.Hour)
	w.as.SetOutage(authtest.EndpointToken, nil)
	w.as.ExpireAccessTokens()
	w.clock.Advance(2 * time.Minute)
	require.NoError(t, w.call(c))
}
