package oauthclient_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// signers are a key of each kind that a client may have.
func signers(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return map[string]crypto.Signer{"ES256": ec, "RS256": rs, "EdDSA": ed}
}

// remoteSigner is a key whose private half is elsewhere, as in a KMS.
type remoteSigner struct {
	crypto.Signer
	err error
}

func (s remoteSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Signer.Sign(r, digest, opts)
}

// keySet is the public half of keys.
func keySet(t *testing.T, keys ...oauthclient.ClientKey) (set jose.JSONWebKeySet) {
	t.Helper()
	data, err := oauthclient.Shared{ClientKeys: keys}.ClientKeySet()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &set))
	return set
}

// keyed is a world with a client "app" that authenticates with one of keys.
func keyed(t *testing.T, known jose.JSONWebKeySet, as authtest.Options) *world {
	t.Helper()
	as.NoRegistration, as.AuthMethods = true, []string{authtest.AuthPrivateKeyJWT}
	as.Clients = []authtest.Client{{ID: "app", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: known, RedirectURIs: []string{callbackURL}}}
	return newWorld(t, as, mcptest.Options{})
}

// withKeys is a change of the configuration to the client "app" with keys.
func withKeys(w *world, keys ...oauthclient.ClientKey) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.ClientKeys = keys
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: w.as.Issuer(), ClientID: "app", TokenEndpointAuthMethod: "private_key_jwt"}}
	}
}

// The fake verifies signature, iss, sub, aud and exp, and takes each jti once.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	for alg, signer := range signers(t) {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key := oauthclient.NewClientKey("", remoteSigner{Signer: signer})
			w := keyed(t, keySet(t, key), authtest.Options{})
			c := w.connected(withKeys(w, key))
			w.clock.Advance(time.Hour)
			require.NoError(t, w.call(c))
			require.NoError(t, c.Disconnect(t.Context()))
			require.Equal(t, 1, w.as.Counts().Refreshes)
			require.NotZero(t, w.as.Counts().Revocations)
			for _, req := range w.as.Requests(authtest.EndpointToken) {
				require.Empty(t, req.Header.Get("Authorization"))
				require.False(t, req.Form.Has("client_secret"))
				token, err := jose.ParseSignedCompact(req.Get("client_assertion"), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
				require.NoError(t, err)
				require.Equal(t, keySet(t, key).Keys[0].KeyID, token.Signatures[0].Header.KeyID)
			}
		})
	}
}

// A server that verifies one algorithm gets a signature of that one, and a
// replica that has rolled its keys goes on with the tokens of before.
func TestPrivateKeyJWT_KeyRing(t *testing.T) {
	t.Parallel()
	all := signers(t)
	first, second := oauthclient.NewClientKey("first", all["ES256"]), oauthclient.NewClientKey("second", all["EdDSA"])
	w := keyed(t, keySet(t, first, second), authtest.Options{EditMetadata: func(doc map[string]any) {
		doc["token_endpoint_auth_signing_alg_values_supported"] = []string{"EdDSA", "RS256"}
	}})
	w.connected(withKeys(w, first, second))
	kid := func() string {
		requests := w.as.Requests(authtest.EndpointToken)
		token, err := jose.ParseSignedCompact(requests[len(requests)-1].Get("client_assertion"), []jose.SignatureAlgorithm{jose.EdDSA})
		require.NoError(t, err)
		return token.Signatures[0].Header.KeyID
	}
	require.Equal(t, "second", kid())
	rolled := oauthclient.NewClientKey("third", signers(t)["EdDSA"])
	w.as.AddClient(authtest.Client{ID: "app", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: keySet(t, rolled), RedirectURIs: []string{callbackURL}})
	w.clock.Advance(time.Hour)
	require.NoError(t, w.call(w.client(withKeys(w, first, rolled))))
	require.Equal(t, "third", kid())
}

func TestPrivateKeyJWT_Refused(t *testing.T) {
	t.Parallel()
	key, other := oauthclient.NewClientKey("k", signers(t)["ES256"]), oauthclient.NewClientKey("k", signers(t)["ES256"])
	t.Run("another key", func(t *testing.T) {
		t.Parallel()
		w := keyed(t, keySet(t, other), authtest.Options{})
		c := w.client(withKeys(w, key))
		var refused *oauthclient.AuthorizationError
		require.ErrorAs(t, c.FinishAuth(t.Context(), w.approve(w.begin(c))), &refused)
		require.Equal(t, "invalid_client", refused.Code)
	})
	t.Run("another audience", func(t *testing.T) {
		t.Parallel()
		w := keyed(t, keySet(t, key), authtest.Options{})
		c := w.client(withKeys(w, key), policy(oauthclient.ServerPolicy{ClientAssertionAudience: "https://other.example/token"}))
		var refused *oauthclient.AuthorizationError
		require.ErrorAs(t, c.FinishAuth(t.Context(), w.approve(w.begin(c))), &refused)
		require.Contains(t, refused.Description, "is for")
	})
	t.Run("no algorithm in common", func(t *testing.T) {
		t.Parallel()
		w := keyed(t, keySet(t, key), authtest.Options{EditMetadata: func(doc map[string]any) {
			doc["token_endpoint_auth_signing_alg_values_supported"] = []string{"HS256"}
		}})
		var discovery *oauthclient.DiscoveryError
		require.ErrorAs(t, w.client(withKeys(w, key)).Connect(t.Context()), &discovery)
	})
	t.Run("a KMS that is away", func(t *testing.T) {
		t.Parallel()
		w := keyed(t, keySet(t, key), authtest.Options{})
		broken := oauthclient.NewClientKey("k", remoteSigner{signers(t)["ES256"], errors.New("secret-of-the-kms")})
		c := w.client(withKeys(w, broken))
		err := c.FinishAuth(t.Context(), w.approve(w.begin(c)))
		requireTemporary(t, err)
		require.NotContains(t, err.Error(), "secret-of-the-kms")
		require.Empty(t, w.as.Requests(authtest.EndpointToken))
	})
}

func TestClientKeys_Invalid(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rows := map[string]struct {
		shared oauthclient.Shared
		want   string
	}{
		"no signer":     {oauthclient.Shared{ClientKeys: []oauthclient.ClientKey{{}}}, "ClientKeys[0]: has no signer"},
		"another curve": {oauthclient.Shared{ClientKeys: []oauthclient.ClientKey{oauthclient.NewClientKey("", p384)}}, "ClientKeys[0]: is an ECDSA key on another curve"},
		"no keys": {oauthclient.Shared{PreregisteredClients: []oauthclient.PreregisteredClient{{
			Issuer: "https://as.example", ClientID: "app", TokenEndpointAuthMethod: "private_key_jwt",
		}}}, "needs ClientKeys"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := row.shared.Prepare()
			require.ErrorContains(t, err, row.want)
		})
	}
}
