package session_test

import (
	"crypto"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// keyOf returns the thumbprint of the key that proves a request; empty without a
// proof.
func keyOf(t *testing.T, h http.Header) string {
	t.Helper()
	if h.Get("DPoP") == "" {
		return ""
	}
	proof, err := jose.ParseSignedCompact(h.Get("DPoP"), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	sum, err := proof.Signatures[0].Protected.JSONWebKey.Thumbprint(crypto.SHA256)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(sum)
}

// requireOneKey requires that each request with a token, and each token request,
// was proved by the key with this thumbprint.
func (w *world) requireOneKey(t *testing.T, thumbprint string) {
	t.Helper()
	for _, req := range w.as.Requests(authtest.EndpointToken) {
		require.Equal(t, thumbprint, keyOf(t, req.Header))
	}
	for _, req := range w.mcp.Requests() {
		if req.Token == "" {
			continue
		}
		require.True(t, strings.HasPrefix(req.Header.Get("Authorization"), "DPoP "), "a bound token was sent as a bearer")
		require.Equal(t, thumbprint, keyOf(t, req.Header))
	}
}

// A session's tokens are bound to one key on all replicas, across a restart and
// refreshes. The user authorizes once.
func TestBoundTokensOnTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true, Stateful: true})
	before := w.manager(t)
	info, required := w.connect(t, before, alice)
	require.NoError(t, before.Close(), "a restart before the callback")
	authURL, err := url.Parse(required.AuthURL)
	require.NoError(t, err)
	thumbprint := authURL.Query().Get("dpop_jkt")
	require.NotEmpty(t, thumbprint)

	a, b := w.manager(t), w.manager(t)
	id := info.ID.Reveal()
	done, err := b.FinishAuth(t.Context(), alice, id, w.approve(t, required.AuthURL))
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, done.Status, done.Reason)
	requireWorks(t, a, alice, id)
	for range 3 {
		w.advance(2 * time.Hour)
		requireNoErrors(t, concurrently(10, func(i int) error { return call(t, []*session.Manager{a, b}[i%2], id) }))
	}
	restarted := w.manager(t)
	requireWorks(t, restarted, alice, id)
	require.Equal(t, 3, w.as.Counts().Refreshes)
	require.Equal(t, 1, w.as.Counts().Exchanges)
	w.requireOneKey(t, thumbprint)

	client, err := restarted.GetClient(t.Context(), alice, id)
	require.NoError(t, err)
	creds, err := client.Credentials(t.Context())
	require.NoError(t, err)
	key := creds.DPoPKey.Reveal()
	require.NotEmpty(t, key)
	source, err := restarted.TokenSource(t.Context(), alice, id)
	require.NoError(t, err)
	_, err = source.Token()
	require.ErrorIs(t, err, oauthclient.ErrTokenBound)
	require.NoError(t, restarted.RemoveClient(t.Context(), alice, id))
	require.Equal(t, 1, w.mcp.CountHTTP(http.MethodDelete))
	require.Positive(t, w.as.Counts().Revocations)
	w.requireOneKey(t, thumbprint)
	for _, value := range w.store.stored() {
		require.NotContains(t, string(value), key)
	}
}

// A nonce that a replica has not seen costs it one repeat, and no refresh. Warm
// calls write nothing, new nonces or not.
func TestNoncesOnTwoReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true, Stateful: true})
	w.as.RotateNonce()
	a, b := w.manager(t), w.manager(t)
	id := w.connected(t, a)
	requireWorks(t, a, alice, id)
	writes := w.store.count("swap session")
	cost := func(m *session.Manager) int {
		sent := w.mcp.CountHTTP(http.MethodPost)
		requireWorks(t, m, alice, id)
		return w.mcp.CountHTTP(http.MethodPost) - sent
	}
	require.Equal(t, 1, cost(a), "the nonce is known")
	require.Equal(t, 2, cost(b), "one repeat on a replica that has not seen it")
	require.Equal(t, 1, cost(b))
	w.as.RotateNonce()
	for _, m := range []*session.Manager{a, b} {
		require.Equal(t, 2, cost(m), "one repeat for a new nonce")
		require.Equal(t, 1, cost(m))
	}
	require.Equal(t, 2, cost(w.manager(t)), "and one after a restart")
	require.Equal(t, writes, w.store.count("swap session"))
	require.Zero(t, w.as.Counts().Refreshes)

	w.advance(2 * time.Hour)
	w.as.RotateNonce()
	require.Equal(t, 2, cost(b))
	require.Len(t, w.as.TokenRequests("refresh_token"), 2, "the repeat at the token endpoint spends no refresh token")
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Equal(t, 2, cost(a))
	require.Equal(t, 1, w.as.Counts().Exchanges)
}
