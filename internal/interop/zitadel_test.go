package interop_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// shortLived is the storage of the example server, with access tokens that are
// announced to live for 10 seconds.
type shortLived struct{ *storage.Storage }

// CreateAccessAndRefreshTokens implements [op.Storage].
func (s shortLived) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, refreshToken string) (string, string, time.Time, error) {
	accessTokenID, refreshToken, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, request, refreshToken)
	return accessTokenID, refreshToken, time.Now().Add(10 * time.Second), err
}

// The OpenID provider of zitadel/oidc as its example server runs it. It registers
// no clients, and knows no resources: the audience of a token is the client.
func TestZitadel(t *testing.T) {
	t.Parallel()
	const clientID, clientSecret = "web", "web-secret"
	server := newWire(t)
	h := exampleServer(t, settings{config: map[string]any{"clients": []map[string]string{
		{"issuer": server.url, "clientId": clientID, "clientSecret": clientSecret},
	}}})
	start := func() {
		store := storage.NewStorageWithClients(storage.NewUserStore(server.url), map[string]*storage.Client{
			clientID: storage.WebClient(clientID, clientSecret, h.callback()),
		})
		provider := httptest.NewServer(exampleop.SetupServer(server.url, shortLived{store}, slog.New(slog.DiscardHandler), false))
		t.Cleanup(provider.Close)
		server.forward(provider.URL)
	}
	start()
	srv := newMCPServer(t, server.url, introspection(t, server.url+"/oauth/introspect", clientID, clientSecret), func(o *mcptest.Options) {
		o.SkipAudienceCheck = true
		o.RequiredScopes = []string{"openid"}
		o.ToolScopes = map[string][]string{"admin": {storage.CustomScope}}
	})
	s := &stack{
		name: "zitadel/oidc " + moduleVersion(t, "go.mod", "github.com/zitadel/oidc/v3") + ", client registered by hand", server: server,
		mcpURL: srv.URL(), resource: srv.URL(), reject: func(string) { srv.RejectNext(1) },
		form:    url.Values{"username": {"test-user@127.0.0.1"}, "password": {"verysecure"}},
		restart: start,
		whoami:  "whoami", want: "id1", admin: "admin", scope: storage.CustomScope,
		expires: true,
	}
	s.journey(t, h)
}
