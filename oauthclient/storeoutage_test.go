package oauthclient_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A refresh ahead of expiry that the store prevents does not stop calls: the
// token at hand is still valid.
func TestStoreOutageAheadOfExpiryKeepsTheTokenInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{AccessTokenTTL: time.Hour}, mcptest.Options{})
	store := &failingStore{CredentialStore: w.creds}
	c := w.connected(func(cfg *oauthclient.Config) { cfg.Credentials = store })
	var away error = context.DeadlineExceeded
	store.update.Store(&away)
	w.clock.Advance(time.Hour - 30*time.Second)
	require.NoError(t, w.call(c))
	require.Zero(t, w.as.Counts().Refreshes)

	w.clock.Advance(time.Minute)
	var storage *oauthclient.StorageError
	require.ErrorAs(t, w.call(c), &storage, "a time limit of the store's own is the store's failure")
}

// Tokens that cannot be stored are of no use, so they are revoked.
func TestTokensThatCannotBeStoredAreRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	store := &failingStore{CredentialStore: w.creds}
	c := w.client(func(cfg *oauthclient.Config) { cfg.Credentials = store })
	required := w.begin(c)
	var away error = context.DeadlineExceeded
	store.update.Store(&away)
	var storage *oauthclient.StorageError
	require.ErrorAs(t, c.FinishAuth(t.Context(), w.approve(required)), &storage)
	require.Equal(t, 1, w.as.Counts().Exchanges)
	require.Equal(t, 2, w.as.Counts().Revocations, "the refresh token and the access token")
}
