package oauthclient_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Headers are in every request, of the SDK's client on the same transport, too.
func TestHeaders(t *testing.T) {
	t.Parallel()
	srv := mcptest.New(mcptest.Options{Stateful: true})
	t.Cleanup(srv.Close)
	cfg := oauthclient.Config{ServerURL: srv.URL(), HeadersAuthenticate: true}
	cfg.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	_, err := oauthclient.New(cfg)
	require.ErrorContains(t, err, "Config.HeadersAuthenticate: needs Headers")
	cfg.Headers = func(context.Context) (http.Header, error) { return http.Header{"authorization": {"Basic abc"}}, nil }
	client, err := oauthclient.New(cfg) // without a callback URL
	require.NoError(t, err)
	_, err = client.CallTool(t.Context(), "echo", nil)
	require.NoError(t, err)
	sdk, err := mcp.NewClient(&mcp.Implementation{Name: "x", Version: "1"}, nil).Connect(t.Context(), client.Transport(), nil)
	require.NoError(t, err)
	_, err = sdk.ListTools(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, sdk.Close())
	require.NoError(t, client.Disconnect(t.Context()))
	require.NotEmpty(t, srv.Requests())
	for _, r := range srv.Requests() {
		require.Equal(t, "Basic abc", r.Header.Get("Authorization"), r.Method)
	}
}
