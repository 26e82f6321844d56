package oauthclient_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A bearer token must not leave for another host, whatever the server says.
func TestRedirectToAnotherOriginIsRefused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int64
			other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
			t.Cleanup(other.Close)
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, other.URL+"/mcp", status) })
			var server *oauthclient.ServerError
			require.ErrorAs(t, w.call(c), &server)
			require.Contains(t, server.Reason, "redirects")
			w.edit(func(creds *oauthclient.Credentials) { creds.Connection = oauthclient.Connection{} })
			require.ErrorAs(t, c.Connect(t.Context()), &server, "at connect as well")
			require.Zero(t, hits.Load())
		})
	}
}

func TestRedirectWithinTheOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
		w.mcp.SetOutage(nil)
		http.Redirect(rw, r, w.mcp.URL(), http.StatusTemporaryRedirect)
	})
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.mcp.Executed("echo"))
	w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.mcp.URL(), http.StatusTemporaryRedirect)
	})
	var server *oauthclient.ServerError
	require.ErrorAs(t, w.call(c), &server, "but not for ever")
}

// Metadata may be redirected (many sites redirect to a canonical host); codes,
// tokens and client secrets, which travel in a POST, may not.
func TestRedirectsOfTheAuthorizationServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	var bodies atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			bodies.Add(1)
		}
		http.Redirect(rw, r, w.as.URL()+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(other.Close)
	away := func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}
	c := w.client()
	w.as.FailNextWith(authtest.EndpointMetadata, 1, away)
	resp := w.approve(w.begin(c))
	require.Len(t, w.as.Requests(authtest.EndpointMetadata), 2)
	w.as.FailNextWith(authtest.EndpointToken, 1, away)
	requireServerError(t, c.FinishAuth(t.Context(), resp), "exchanging the code")
	w.finish(c, w.begin(c))
	w.as.SetOutage(authtest.EndpointRevoke, away)
	require.NoError(t, c.Disconnect(t.Context()))
	require.Zero(t, bodies.Load())

	w.as.SetOutage(authtest.EndpointMetadata, away)
	var discovery *oauthclient.DiscoveryError
	require.ErrorAs(t, w.client(func(cfg *oauthclient.Config) { cfg.Credentials = nil }).Connect(t.Context()), &discovery, "an endless redirect ends")
}
