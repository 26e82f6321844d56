package oauthclient_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Addresses that a server on the internet must not make us visit.
var forbidden = []string{
	"https://127.0.0.1/", "https://127.1.2.3/", "https://[::1]/", "https://0.0.0.0/", "https://[::]/",
	"https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/", "https://[fd00::1]/",
	"https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[fd00:ec2::254]/",
	"https://[::ffff:127.0.0.1]/", "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::7f00:1]/",
	"https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "https://198.18.0.1/",
	"https://localhost/",
}

func get(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	resp, err := client.Get(url)
	if err == nil {
		_ = resp.Body.Close()
	}
	return err
}

func TestNetworkPolicyZeroValue(t *testing.T) {
	t.Parallel()
	client := &http.Client{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{})}
	for _, url := range forbidden {
		err := get(t, client, url)
		require.ErrorIs(t, err, oauthclient.ErrForbiddenAddress, url)
	}
	for _, url := range []string{"http://example.com/", "http://127.0.0.1/", "http://localhost/"} {
		require.ErrorIs(t, get(t, client, url), oauthclient.ErrForbiddenAddress, url)
	}
}

// AllowLoopback relaxes http and loopback, and nothing else.
func TestNetworkPolicyAllowLoopback(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	client := &http.Client{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})}
	t.Cleanup(client.CloseIdleConnections)
	require.NoError(t, get(t, client, plain.URL))
	require.NoError(t, get(t, client, strings.Replace(plain.URL, "127.0.0.1", "localhost", 1)))
	for _, url := range forbidden {
		if strings.Contains(url, "//127.") || strings.Contains(url, "//[::1]") || strings.Contains(url, "localhost") || strings.Contains(url, "ffff:127") {
			continue
		}
		require.ErrorIs(t, get(t, client, url), oauthclient.ErrForbiddenAddress, url)
		require.ErrorIs(t, get(t, client, strings.Replace(url, "https:", "http:", 1)), oauthclient.ErrForbiddenAddress, url)
	}
	require.ErrorIs(t, get(t, client, "http://example.com/"), oauthclient.ErrForbiddenAddress)
}

func TestNetworkPolicyAllowNetworks(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it will not like us
	secure.StartTLS()
	t.Cleanup(secure.Close)
	client := &http.Client{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, AllowAnyPort: true})}
	require.ErrorContains(t, get(t, client, secure.URL), "certificate", "it was reached")
	require.ErrorIs(t, get(t, client, "http://127.0.0.1/"), oauthclient.ErrForbiddenAddress, "https is still required")
	require.ErrorIs(t, get(t, client, "https://10.0.0.1/"), oauthclient.ErrForbiddenAddress, "another network")
}

// The guard covers every kind of request, at the place where it is made.
func TestNetworkPolicy_ForbiddenAddressesFromServersAreNotDialed(t *testing.T) {
	t.Parallel()
	const target = "https://169.254.169.254/latest/meta-data/"
	rows := []struct {
		name string
		aim  func(w *world)
	}{
		{"resource metadata", func(w *world) { w.challenge(`Bearer resource_metadata="` + target + `"`) }},
		{"resource metadata by redirect", func(w *world) {
			w.mcp.SetMetadataOutage(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, target, http.StatusFound) })
		}},
		{"authorization server", func(w *world) {
			w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{"https://169.254.169.254"}})
		}},
		{"registration endpoint", func(w *world) {
			w.as.SetEditMetadata(func(doc map[string]any) { doc["registration_endpoint"] = target })
		}},
		{"plain http authorization server", func(w *world) {
			w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{"http://as.example"}})
		}},
		{"authorization server on another port", func(w *world) {
			w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{"https://as.example:6379"}})
		}},
		{"authorization endpoint", func(w *world) {
			w.as.SetEditMetadata(func(doc map[string]any) { doc["authorization_endpoint"] = target })
		}},
		{"authorization server metadata by redirect", func(w *world) {
			w.as.SetOutage(authtest.EndpointMetadata, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, target, http.StatusFound) })
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			row.aim(w)
			err := w.client().Connect(t.Context())
			require.ErrorIs(t, err, oauthclient.ErrForbiddenAddress)
			var temporary *oauthclient.TemporaryError
			require.NotErrorAs(t, err, &temporary, "trying again would not help")
			require.Empty(t, w.as.Requests(authtest.EndpointAuthorize))
		})
	}
	t.Run("token endpoint", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc["token_endpoint"] = target }}, mcptest.Options{})
		c := w.client()
		require.ErrorIs(t, c.FinishAuth(t.Context(), w.approve(w.begin(c))), oauthclient.ErrForbiddenAddress)
	})
	t.Run("token endpoint at refresh", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{}, mcptest.Options{})
		c := w.connected()
		w.edit(func(c *oauthclient.Credentials) { c.TokenEndpoint = target })
		w.clock.Advance(2 * time.Hour)
		require.ErrorIs(t, w.call(c), oauthclient.ErrForbiddenAddress)
		require.True(t, w.stored().Authorized())
	})
	t.Run("revocation endpoint", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc["revocation_endpoint"] = target }}, mcptest.Options{})
		c := w.connected()
		require.NoError(t, c.Disconnect(t.Context()))
		require.False(t, w.stored().Authorized())
	})
	for i, server := range []string{"https://10.0.0.1/mcp", "http://mcp.example/mcp"} {
		t.Run(fmt.Sprint("MCP server ", i), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client(func(cfg *oauthclient.Config) { cfg.ServerURL = server })
			require.ErrorIs(t, c.Connect(t.Context()), oauthclient.ErrForbiddenAddress)
		})
	}
}
