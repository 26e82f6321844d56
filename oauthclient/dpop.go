package oauthclient

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// ErrTokenBound is returned where an access token would be handed out that is
// bound to a key (DPoP, RFC 9449): without proofs it is of no use, and must not
// be sent. Use [MCPOAuthClient.Transport] or the client's own methods, or set
// [ServerPolicy.SkipDPoP] for the server.
var ErrTokenBound = errors.New("oauthclient: the access token is bound to a key")

const (
	tokenTypeBearer = "Bearer"
	tokenTypeDPoP   = "DPoP"
	// dpopAlg is the algorithm of proofs, which all servers with DPoP verify.
	dpopAlg = "ES256"
	// maxProofKeys bounds the keys that a process remembers ready to sign; beyond
	// it, the memory starts anew.
	maxProofKeys = 10_000
	// useNonce is the error of a server that wants a nonce in the proof.
	useNonce = "use_dpop_nonce"
)

// newDPoPKey makes a private key to bind the tokens of one grant to.
func newDPoPKey() (Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Secret{}, err
	}
	raw, err := key.Bytes()
	if err != nil {
		return Secret{}, err
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(raw)), nil
}

// proofMemory has the keys of sessions ready to sign, and the nonces of servers.
// Both are hints: a key is in the credentials, and a lost nonce costs one repeat.
type proofMemory struct {
	mu   sync.Mutex
	keys map[string]*proofKey // by the fingerprint of the secret
}

// proofKey is a key that is ready to sign.
type proofKey struct {
	signer     jose.Signer
	thumbprint string // RFC 7638

	mu     sync.Mutex
	nonces map[string]string // by origin
}

// proofKey returns the key of a secret, or nil for none.
func (s *shared) proofKey(secret Secret) (*proofKey, error) {
	if secret.IsZero() {
		return nil, nil //nolint:nilnil // no key, no proof
	}
	name := secret.fingerprint()
	s.proofs.mu.Lock()
	defer s.proofs.mu.Unlock()
	if key := s.proofs.keys[name]; key != nil {
		return key, nil
	}
	key, err := parseProofKey(secret)
	if err != nil {
		return nil, err
	}
	if s.proofs.keys == nil || len(s.proofs.keys) >= maxProofKeys {
		s.proofs.keys = make(map[string]*proofKey)
	}
	s.proofs.keys[name] = key
	return key, nil
}

var errProofKey = errors.New("oauthclient: the key of a bound token is malformed")

func parseProofKey(secret Secret) (*proofKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(secret.Reveal())
	if err != nil {
		return nil, errProofKey
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, errProofKey
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, options)
	if err != nil {
		return nil, errProofKey
	}
	thumbprint, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errProofKey
	}
	return &proofKey{signer: signer, thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint)}, nil
}

// proofClaims are those of RFC 9449 section 4.2.
type proofClaims struct {
	ID        string `json:"jti"`
	Method    string `json:"htm"`
	URL       string `json:"htu"`
	IssuedAt  int64  `json:"iat"`
	TokenHash string `json:"ath,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
}

// prove adds a proof to a request, which carries token or asks for one.
func (k *proofKey) prove(req *http.Request, token Secret, now int64) error {
	target := url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.Path, RawPath: req.URL.RawPath}
	claims := proofClaims{ID: rand.Text(), Method: req.Method, URL: target.String(), IssuedAt: now, Nonce: k.nonce(req.URL)}
	if !token.IsZero() {
		sum := sha256.Sum256([]byte(token.Reveal()))
		claims.TokenHash = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return err
	}
	signed, err := k.signer.Sign(payload)
	if err != nil {
		return errProofKey
	}
	proof, err := signed.CompactSerialize()
	if err != nil {
		return errProofKey
	}
	req.Header["Dpop"] = []string{proof}
	return nil
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

func (k *proofKey) nonce(u *url.URL) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nonces[originOf(u)]
}

// maxNonces bounds the origins of one key: its authorization server and its MCP
// server. maxNonceBytes bounds a nonce, which goes into every proof.
const (
	maxNonces     = 8
	maxNonceBytes = 1 << 10
)

// learn remembers the nonce that an answer brings (RFC 9449 section 8.2). It
// reports whether there was one.
func (k *proofKey) learn(u *url.URL, h http.Header) bool {
	nonce := h.Get("DPoP-Nonce")
	if nonce == "" || len(nonce) > maxNonceBytes {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nonces == nil || len(k.nonces) >= maxNonces {
		k.nonces = make(map[string]string)
	}
	k.nonces[originOf(u)] = nonce
	return true
}

// bindsTokens reports whether to ask for tokens that are bound to a key: the MCP
// server shows that it verifies proofs, and the authorization server that it
// binds tokens, or the MCP server takes no others.
func (p *OAuthProvider) bindsTokens(ch challenge, found *discovered, creds Credentials) bool {
	bound := !creds.DPoPKey.IsZero() && creds.TokenType == tokenTypeDPoP && creds.Issuer == found.server.Issuer
	switch {
	case p.policy.SkipDPoP:
		return false
	case found.dpopRequired:
		return true
	}
	return (ch.dpop || found.dpopResource || bound) && slices.Contains(found.dpopAlgs, dpopAlg)
}

// keyFor returns a new key if the tokens to be asked for are bound, else zero.
func (p *OAuthProvider) keyFor(ch challenge, found *discovered, creds Credentials) (Secret, error) {
	if !p.bindsTokens(ch, found, creds) {
		return Secret{}, nil
	}
	return newDPoPKey()
}

// authorizeRequest adds the access token to a request, if there is one: as a
// bearer, or with a proof if it is bound to a key. It returns that key.
func (p *OAuthProvider) authorizeRequest(req *http.Request, creds Credentials) (*proofKey, error) {
	if creds.AccessToken.IsZero() {
		return nil, nil //nolint:nilnil // an anonymous request
	}
	if creds.TokenType != tokenTypeDPoP {
		req.Header["Authorization"] = []string{"Bearer " + creds.AccessToken.Reveal()}
		return nil, nil //nolint:nilnil // a bearer needs no key
	}
	key, err := p.cfg.proofKey(creds.DPoPKey)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, errProofKey
	}
	req.Header["Authorization"] = []string{"DPoP " + creds.AccessToken.Reveal()}
	return key, key.prove(req, creds.AccessToken, p.cfg.Now().Unix())
}
