package oauthclient_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// traced is what a host puts around a transport.
type traced struct{ http.RoundTripper }

func (t traced) Unwrap() http.RoundTripper { return t.RoundTripper }

// A transport that loses the network policy is a mistake in the config, and so is
// a mistake in the policy.
func TestTransportsWithoutAPolicy(t *testing.T) {
	t.Parallel()
	guarded := oauthclient.NewTransport(oauthclient.NetworkPolicy{})
	for name, c := range map[string]struct {
		transport http.RoundTripper
		want      string
	}{
		"the host's own":      {http.DefaultTransport, "has no NetworkPolicy"},
		"hidden":              {struct{ http.RoundTripper }{guarded}, "has no NetworkPolicy"},
		"wrapped own":         {traced{http.DefaultTransport}, "has no NetworkPolicy"},
		"a network":           {oauthclient.NewTransport(oauthclient.NetworkPolicy{DenyNetworks: []netip.Prefix{{}}}), "NetworkPolicy.DenyNetworks[0]"},
		"a proxy, wrapped":    {traced{oauthclient.NewTransport(oauthclient.NetworkPolicy{TrustedProxy: &url.URL{Scheme: "socks5", Host: "p"}})}, "NetworkPolicy.TrustedProxy"},
		"wrapped":             {traced{traced{guarded}}, ""},
		"the default":         {nil, ""},
		"one of NewTransport": {guarded, ""},
	} {
		cfg := oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL, Shared: oauthclient.Shared{Transport: c.transport}}
		_, err := oauthclient.New(cfg)
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, "oauthclient: Config.Transport: ", name)
		require.ErrorContains(t, err, c.want, name)
	}
	_, err := oauthclient.New(oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL, Shared: oauthclient.Shared{Transport: http.DefaultTransport, InsecureTransport: true}})
	require.NoError(t, err)
}

// What is put around a transport keeps its checks, of what only the browser visits
// too.
func TestWrappedTransportKeepsEveryCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) {
		doc["authorization_endpoint"] = "https://10.0.0.1/authorize"
	}}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.Transport = traced{w.http.Transport} })
	require.ErrorIs(t, c.Connect(t.Context()), oauthclient.ErrForbiddenAddress)
	denied := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true, DenyNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	asked := len(w.mcp.Requests())
	c = w.client(func(cfg *oauthclient.Config) { cfg.Transport = traced{denied} })
	require.ErrorIs(t, c.Connect(t.Context()), oauthclient.ErrForbiddenAddress)
	require.Len(t, w.mcp.Requests(), asked)
}
