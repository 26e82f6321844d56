package authtest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// sign makes a JWT.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	require.NoError(t, err)
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(payload)
	require.NoError(t, err)
	out, err := signed.CompactSerialize()
	require.NoError(t, err)
	return out
}

// unsigned makes a JWT with the algorithm none.
func unsigned(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	header["alg"] = "none"
	first, err := json.Marshal(header)
	require.NoError(t, err)
	second, err := json.Marshal(claims)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(first) + "." + base64.RawURLEncoding.EncodeToString(second) + "."
}

func public(key any) jose.JSONWebKey {
	if private, ok := key.(crypto.Signer); ok {
		return jose.JSONWebKey{Key: private.Public()}
	}
	return jose.JSONWebKey{Key: key}
}

func proofHeader(key any) map[jose.HeaderKey]any {
	return map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt", "jwk": public(key)}
}

// proofClaims are those of a good proof.
func proofClaims(now time.Time, method, target, token string) map[string]any {
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": target, "iat": now.Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return claims
}

func with(claims map[string]any, name string, value any) map[string]any {
	claims[name] = value
	return claims
}

func without(claims map[string]any, name string) map[string]any {
	delete(claims, name)
	return claims
}

// Each row is what RFC 9449 section 4.3 has a server refuse.
func TestVerifyProof(t *testing.T) {
	t.Parallel()
	const target, token = "https://mcp.example/mcp", "the access token"
	clock := newClock()
	key, other := newKey(t), newKey(t)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	good := func() map[string]any { return proofClaims(clock.Now(), "POST", target, token) }
	es256 := func(claims map[string]any) []string {
		return []string{sign(t, jose.ES256, key, proofHeader(key), claims)}
	}
	rows := map[string]struct {
		proofs []string
		want   string
	}{
		"none":               {nil, "exactly one"},
		"two":                {append(es256(good()), es256(good())...), "exactly one"},
		"no JWT":             {[]string{"proof"}, "no JWT"},
		"unsigned":           {[]string{unsigned(t, map[string]any{"typ": "dpop+jwt", "jwk": public(key)}, good())}, "no JWT"},
		"another algorithm":  {[]string{sign(t, jose.RS256, rs, proofHeader(rs), good())}, "no JWT"},
		"a shared secret":    {[]string{sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), proofHeader(key), good())}, "no JWT"},
		"another type":       {[]string{sign(t, jose.ES256, key, map[jose.HeaderKey]any{jose.HeaderType: "JWT", "jwk": public(key)}, good())}, "type"},
		"no key":             {[]string{sign(t, jose.ES256, key, map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt"}, good())}, "no public key"},
		"a private key":      {[]string{sign(t, jose.ES256, key, map[jose.HeaderKey]any{jose.HeaderType: "dpop+jwt", "jwk": jose.JSONWebKey{Key: key}}, good())}, "no JWT"},
		"another key":        {[]string{sign(t, jose.ES256, key, proofHeader(other), good())}, "signature"},
		"wrong htm":          {es256(with(good(), "htm", "GET")), "htm"},
		"wrong htu":          {es256(with(good(), "htu", "https://attacker.example/mcp")), "htu"},
		"no ath":             {es256(without(good(), "ath")), "ath"},
		"wrong ath":          {es256(proofClaims(clock.Now(), "POST", target, "another token")), "ath"},
		"expired":            {es256(with(good(), "iat", clock.Now().Add(-2*time.Minute).Unix())), "expired"},
		"of the future":      {es256(with(good(), "iat", clock.Now().Add(2*time.Minute).Unix())), "expired"},
		"without iat":        {es256(without(good(), "iat")), "expired"},
		"without jti":        {es256(without(good(), "jti")), "used before"},
		"a nonce of its own": {es256(with(good(), "nonce", "made up")), "nonce"},
	}
	as := newServer(t, authtest.Options{DPoP: true, Now: clock.Now})
	verify := func(proofs ...string) (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
		require.NoError(t, err)
		r.Header["Dpop"] = proofs
		return as.VerifyProof(r, target, token)
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := verify(row.proofs...)
			require.ErrorContains(t, err, row.want)
		})
	}
	once := es256(good())
	thumbprint, err := verify(once...)
	require.NoError(t, err)
	require.Len(t, thumbprint, 43)
	_, err = verify(once...)
	require.ErrorContains(t, err, "used before", "replayed")
}

func TestProofNonces(t *testing.T) {
	t.Parallel()
	const target = "https://mcp.example/mcp"
	key := newKey(t)
	for name, options := range map[string]authtest.Options{"shared": {DPoP: true}, "of one use": {DPoP: true, SingleUseNonces: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			as := newServer(t, options)
			as.RotateNonce()
			verify := func(nonce string) error {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, nil)
				require.NoError(t, err)
				r.Header.Set("DPoP", sign(t, jose.ES256, key, proofHeader(key), with(proofClaims(time.Now(), "POST", target, ""), "nonce", nonce)))
				_, err = as.VerifyProof(r, target, "")
				return err
			}
			require.ErrorIs(t, verify(""), authtest.ErrNonce)
			first := as.Nonce()
			require.NoError(t, verify(first))
			if options.SingleUseNonces {
				require.ErrorIs(t, verify(first), authtest.ErrNonce)
				return
			}
			require.NoError(t, verify(first))
			as.RotateNonce()
			require.ErrorIs(t, verify(first), authtest.ErrNonce)
			as.DropNonce()
			require.NoError(t, verify(""))
		})
	}
}

// proved posts a token request with a proof by a key.
func (c *client) proved(key *ecdsa.PrivateKey, form url.Values) (int, map[string]any) {
	c.t.Helper()
	endpoint := c.as.EndpointURL(authtest.EndpointToken)
	form.Set("client_id", c.id)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != nil {
		req.Header.Set("DPoP", sign(c.t, jose.ES256, key, proofHeader(key), proofClaims(time.Now(), "POST", endpoint, "")))
	}
	return c.send(req)
}

// Codes, access tokens and the refresh tokens of public clients are bound to a
// key (RFC 9449 sections 5 and 10).
func TestBoundTokens(t *testing.T) {
	t.Parallel()
	as := newServer(t, authtest.Options{DPoP: true})
	c := newClient(t, as)
	key, other := newKey(t), newKey(t)
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	require.NoError(t, err)
	thumbprint := base64.RawURLEncoding.EncodeToString(sum)
	exchange := func(key *ecdsa.PrivateKey) (int, map[string]any) {
		return c.proved(key, url.Values{
			"grant_type": {"authorization_code"}, "code": {c.approve("dpop_jkt", thumbprint).Get("code")}, "redirect_uri": {redirectURI},
			"code_verifier": {c.verifier}, "resource": {resource},
		})
	}
	for _, wrong := range []*ecdsa.PrivateKey{nil, other} {
		status, answer := exchange(wrong)
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, "invalid_grant", answer["error"])
	}
	status, answer := exchange(key)
	require.Equal(t, http.StatusOK, status, answer)
	require.Equal(t, "DPoP", answer["token_type"])
	info, err := as.Verify(answer["access_token"].(string))
	require.NoError(t, err)
	require.Equal(t, thumbprint, info.Thumbprint)

	refresh := func(key *ecdsa.PrivateKey) (int, map[string]any) {
		return c.proved(key, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {answer["refresh_token"].(string)}, "resource": {resource}})
	}
	for _, wrong := range []*ecdsa.PrivateKey{nil, other} {
		status, refused := refresh(wrong)
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, "invalid_grant", refused["error"])
	}
	status, answer = refresh(key)
	require.Equal(t, http.StatusOK, status, answer)
	as.RotateNonce()
	status, answer = c.proved(key, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"any"}})
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "use_dpop_nonce", answer["error"])
}
