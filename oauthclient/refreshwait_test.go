package oauthclient_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// slowLock is a store whose exclusive Update has to be waited for.
type slowLock struct {
	oauthclient.CredentialStore
	wait time.Duration
}

func (s slowLock) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	select {
	case <-time.After(s.wait):
		return s.CredentialStore.Update(ctx, fn)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowTokenEndpoint answers a refresh late, and after it has rotated the token.
type slowTokenEndpoint struct{ after time.Duration }

func (s slowTokenEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.after):
		body := `{"access_token":"new","refresh_token":"rotated","expires_in":3600}`
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// An answer that is cut off after the server has spent the refresh token logs
// the user out, so the wait for the lock must leave the request its time.
func TestRefresh_WaitForTheLockDoesNotShortenTheTokenRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
			AccessToken: oauthclient.NewSecret("old"), RefreshToken: oauthclient.NewSecret("first"),
			Expiry: time.Now().Add(-time.Hour), RefreshAfter: time.Now().Add(-time.Hour), Issuer: "https://as.example", TokenEndpoint: "https://as.example/token",
		})
		p, err := oauthclient.NewOAuthProvider(oauthclient.Config{
			ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL, Credentials: slowLock{store, 29 * time.Second},
			Shared: oauthclient.Shared{Transport: slowTokenEndpoint{14 * time.Second}, InsecureTransport: true, RequestTimeout: 15 * time.Second},
		})
		require.NoError(t, err)
		token, err := p.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "new", token.AccessToken)
		stored, err := store.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, "rotated", stored.RefreshToken.Reveal())
	})
}

// The request keeps its own time limit.
func TestRefresh_RequestTimeoutCountsFromTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := oauthclient.NewOAuthProvider(oauthclient.Config{
			ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL,
			Credentials: slowLock{oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
				RefreshToken: oauthclient.NewSecret("first"), Issuer: "https://as.example", TokenEndpoint: "https://as.example/token",
			}), 5 * time.Second},
			Shared: oauthclient.Shared{Transport: slowTokenEndpoint{time.Hour}, InsecureTransport: true, RequestTimeout: 15 * time.Second},
		})
		require.NoError(t, err)
		began := time.Now()
		_, err = p.Token(t.Context())
		require.True(t, requireTemporary(t, err).Timeout)
		require.Equal(t, 20*time.Second, time.Since(began))
	})
}
