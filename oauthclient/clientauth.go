package oauthclient

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// Client authentication methods at the token endpoint (RFC 7591 section 2,
// OpenID Connect Core section 9).
const (
	authMethodNone          = "none"
	authMethodBasic         = "client_secret_basic"
	authMethodPost          = "client_secret_post"
	authMethodPrivateKeyJWT = "private_key_jwt"
)

func checkAuthMethod(method string) error {
	if method != "" && !slices.Contains([]string{authMethodNone, authMethodBasic, authMethodPost, authMethodPrivateKeyJWT}, method) {
		return fmt.Errorf("unknown client authentication method %q", method)
	}
	return nil
}

const (
	// assertionType is the client_assertion_type of RFC 7523 section 2.2.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is how long a client assertion is good for.
	assertionLife = 2 * time.Minute
	// minRSABits is the smallest RSA key (RFC 7518 section 3.3).
	minRSABits = 2048
)

// ClientKey is a private key with which the client authenticates
// (private_key_jwt). No log, format verb or encoding shows the key.
type ClientKey struct {
	id     string
	signer func() crypto.Signer // a function, so that no reflection finds the key
}

// NewClientKey returns a key that signs with ES256, RS256 or EdDSA: signer is an
// ECDSA key on P-256, an RSA key of 2,048 bits or more, or an Ed25519 key, and
// may be in a KMS. id is the kid in the key set; if it is empty, the kid is the
// thumbprint of RFC 7638.
func NewClientKey(id string, signer crypto.Signer) ClientKey {
	return ClientKey{id, func() crypto.Signer { return signer }}
}

// MarshalJSON always fails.
func (k ClientKey) MarshalJSON() ([]byte, error) { return nil, errSecretJSON }

// Format implements [fmt.Formatter]; it shows the ID alone.
func (k ClientKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ClientKey(%s)", k.id) }

// clientKey is a [ClientKey] that is ready to sign.
type clientKey struct {
	alg    string
	public jose.JSONWebKey
	signer jose.Signer
}

func (k ClientKey) prepare() (clientKey, error) {
	if k.signer == nil || k.signer() == nil {
		return clientKey{}, errors.New("has no signer")
	}
	var alg jose.SignatureAlgorithm
	switch public := k.signer().Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return clientKey{}, errors.New("is an ECDSA key on another curve than P-256")
		}
		alg = jose.ES256
	case *rsa.PublicKey:
		if public.N.BitLen() < minRSABits {
			return clientKey{}, fmt.Errorf("is an RSA key of less than %d bits", minRSABits)
		}
		alg = jose.RS256
	case ed25519.PublicKey:
		alg = jose.EdDSA
	default:
		return clientKey{}, errors.New("is not an ECDSA, RSA or Ed25519 key")
	}
	public := jose.JSONWebKey{Key: k.signer().Public(), KeyID: k.id, Algorithm: string(alg), Use: "sig"}
	if public.KeyID == "" {
		thumbprint, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			return clientKey{}, errors.New("has no thumbprint")
		}
		public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", public.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: cryptosigner.Opaque(k.signer())}, options)
	if err != nil {
		return clientKey{}, errors.New("cannot sign")
	}
	return clientKey{string(alg), public, signer}, nil
}

// prepareKeys returns the key ring, or all mistakes in it.
func (s Shared) prepareKeys() (keys []clientKey, err error) {
	var errs []error
	for i, key := range s.ClientKeys {
		prepared, err := key.prepare()
		if err != nil {
			errs = append(errs, fmt.Errorf("oauthclient: Config.ClientKeys[%d]: %w", i, err))
		}
		keys = append(keys, prepared)
	}
	return keys, errors.Join(errs...)
}

// ClientKeySet returns the public halves of ClientKeys as a JSON Web Key Set
// (RFC 7517 section 5), for the client's jwks_uri.
func (s Shared) ClientKeySet() ([]byte, error) {
	keys, err := s.prepareKeys()
	if err != nil {
		return nil, err
	}
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(keys))}
	for _, key := range keys {
		set.Keys = append(set.Keys, key.public)
	}
	return json.Marshal(set)
}

// keySetURL is where a host serves its key set, beside its Client ID Metadata
// Document; empty without such a document.
func (s Shared) keySetURL() string {
	u, err := url.Parse(s.ClientMetadataURL)
	if err != nil || s.ClientMetadataURL == "" {
		return ""
	}
	return u.ResolveReference(&url.URL{Path: "jwks.json"}).String()
}

// withSigningAlg completes a registration with the algorithm to sign with: that
// of the first key that the server can verify.
func (p *OAuthProvider) withSigningAlg(r Registration, meta *oauthex.AuthServerMeta) (Registration, error) {
	if r.TokenEndpointAuthMethod != authMethodPrivateKeyJWT {
		return r, nil
	}
	supported := meta.TokenEndpointAuthSigningAlgValuesSupported
	for _, key := range p.cfg.keys {
		if len(supported) == 0 || slices.Contains(supported, key.alg) {
			r.TokenEndpointAuthSigningAlg = key.alg
			return r, nil
		}
	}
	return Registration{}, &DiscoveryError{Source: meta.Issuer, Reason: "token_endpoint_auth_signing_alg_values_supported lists no algorithm of Config.ClientKeys"}
}

// signingKey returns the first key for an algorithm, or the first of all.
func (p *OAuthProvider) signingKey(alg string) (clientKey, bool) {
	for _, key := range p.cfg.keys {
		if key.alg == alg {
			return key, true
		}
	}
	if len(p.cfg.keys) == 0 {
		return clientKey{}, false
	}
	return p.cfg.keys[0], true
}

// authenticate adds a client's authentication to a form (RFC 6749 section 2.3,
// RFC 7523 section 2.2). What the form cannot carry, postForm puts into a header.
func (p *OAuthProvider) authenticate(form url.Values, client Registration) error {
	if client.TokenEndpointAuthMethod != authMethodBasic {
		form.Set("client_id", client.ClientID)
	}
	switch client.TokenEndpointAuthMethod {
	case authMethodPost:
		form.Set("client_secret", client.ClientSecret.Reveal())
	case authMethodPrivateKeyJWT:
		assertion, err := p.clientAssertion(client)
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	return nil
}

// clientAssertion signs who the client is (RFC 7523 section 3). The audience is
// the issuer, so that no other server can use the assertion.
func (p *OAuthProvider) clientAssertion(client Registration) (string, error) {
	key, ok := p.signingKey(client.TokenEndpointAuthSigningAlg)
	if !ok {
		return "", &ServerError{Op: "authenticating the client", Reason: "Config.ClientKeys has no key"}
	}
	now := p.cfg.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": client.ClientID, "sub": client.ClientID, "aud": cmp.Or(p.policy.ClientAssertionAudience, client.Issuer),
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed, err := key.signer.Sign(claims)
	if err != nil {
		return "", &TemporaryError{Op: "signing the client's assertion", Err: errors.New("the signer failed")}
	}
	return signed.CompactSerialize()
}
