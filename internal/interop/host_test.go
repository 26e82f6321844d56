package interop_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// settings are the options that examples/server has no variables for.
type settings struct {
	public           string // the URL that browsers use; empty for that of the wire
	metadataDocument bool   // whether the client is a Client ID Metadata Document

	clientID, clientSecret string // of a client registered by hand
	issuer                 string // of that client
}

// documentPath is where a host publishes its Client ID Metadata Document.
const documentPath = "/api/mcp/client-metadata.json"

// hostWith runs a host of its own. This is the only file that depends on the
// library's Go API; the tests use the HTTP API.
func hostWith(t *testing.T, s settings) *host {
	t.Helper()
	output := new(buffer)
	h := newHost(t, newWire(t), output)
	if s.public != "" {
		h.public = s.public
		h.user.client.Transport = published{public: s.public, at: h.url}
	}
	clientMetadataURL := ""
	if s.metadataDocument {
		clientMetadataURL = h.public + documentPath
	}
	var preregistered []oauthclient.PreregisteredClient
	if s.clientID != "" {
		preregistered = []oauthclient.PreregisteredClient{{Issuer: s.issuer, ClientID: s.clientID, ClientSecret: oauthclient.NewSecret(s.clientSecret)}}
	}
	logger := slog.New(slog.NewTextHandler(output, nil))
	manager, err := session.New(session.Config{
		Store: memstore.New(memstore.Config{}),
		Client: oauthclient.Shared{
			Transport:            oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			ClientMetadataURL:    clientMetadataURL,
			PreregisteredClients: preregistered,
		},
		Logger: logger,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = manager.Close() })
	handler, err := httpapi.New(manager, httpapi.Config{PublicURL: h.public, Logger: logger})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the host:\n%s", output)
		}
	})
	h.forward(server.URL)
	return h
}
