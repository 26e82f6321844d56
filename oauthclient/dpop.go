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
	"strings"
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
	// it, the memory starts again.
	maxProofKeys = 10_000
	// useNonce is the error of a server that wants a nonce in the proof, and
	// invalidProof that of one that wants another proof (RFC 9449 section 12.2).
	useNonce     = "use_dpop_nonce"
	invalidProof = "invalid_dpop_proof"
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

// prove adds a proof to a request, which carries token or asks for one. nonce may
// be empty.
func (k *proofKey) prove(req *http.Request, token Secret, nonce string, now int64) error {
	claims := proofClaims{ID: rand.Text(), Method: req.Method, URL: proofURL(req.URL), IssuedAt: now, Nonce: nonce}
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

// proofURL returns the htu of a request: its URL without query, as servers spell
// their own (RFC 3986 sections 6.2.2 and 6.2.3).
func proofURL(u *url.URL) string {
	target := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath}
	if u.Port() == defaultPort(u.Scheme) {
		target.Host = strings.TrimSuffix(target.Host, ":"+u.Port())
	}
	if target.Path == "" {
		target.Path = "/"
	}
	return target.String()
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// nonce returns the nonce that the server of a URL gave last; empty for none.
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

// remember keeps a nonce for the next proof; an empty one forgets it.
func (k *proofKey) remember(u *url.URL, nonce string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nonces == nil || len(k.nonces) >= maxNonces {
		k.nonces = make(map[string]string)
	}
	k.nonces[originOf(u)] = nonce
}

// offeredNonce returns the nonce that an answer brings (RFC 9449 section 8.2).
func offeredNonce(h http.Header) string {
	if nonce := h.Get("DPoP-Nonce"); len(nonce) <= maxNonceBytes {
		return nonce
	}
	return ""
}

// negotiate calls send with the nonce for a proof, and once more with the nonce
// that a refusal brings. Only this repeat has that one: a server may take each
// nonce once, and other requests must not spend it. send returns the header of the
// answer, and its error code.
func (k *proofKey) negotiate(u *url.URL, op string, send func(nonce string) (answer http.Header, code string, err error)) error {
	nonce := k.nonce(u)
	answer, code, err := send(nonce)
	if err != nil {
		return err
	}
	refused := code == useNonce || code == invalidProof && nonce != "" // the server may have given up nonces
	next := offeredNonce(answer)
	if refused && next != nonce {
		if next == "" {
			k.remember(u, "")
		}
		if answer, code, err = send(next); err != nil {
			return err
		}
		if newer := offeredNonce(answer); newer != "" {
			next = newer
		}
	}
	if code == useNonce {
		return nonceError(op)
	}
	if next != "" {
		k.remember(u, next)
	}
	return nil
}

// nonceError says that a server refuses each nonce, so that there is no proof
// that it takes. Nothing is wrong with the token.
func nonceError(op string) error {
	return &TemporaryError{Op: op, Err: errors.New("the server takes none of its DPoP nonces")}
}

// bindsTokens reports whether to ask for tokens that are bound to a key: the MCP
// server shows that it verifies proofs, and the authorization server that it
// binds tokens, or the MCP server takes no others. What an MCP server has once
// shown holds until it has given up DPoP.
func (p *OAuthProvider) bindsTokens(ch challenge, found *discovered, creds Credentials) bool {
	bound := creds.TokenType == tokenTypeDPoP && creds.Issuer == found.server.Issuer && !ch.wantsBearer()
	switch {
	case p.policy.SkipDPoP:
		return false
	case found.dpopRequired:
		return true
	}
	return (ch.dpop || found.dpopResource || bound) && slices.Contains(found.dpopAlgs, dpopAlg)
}

// wantsBearer reports whether the MCP server has given up DPoP: it rejects a token
// that was just issued, and its challenge asks for bearers only.
func (ch challenge) wantsBearer() bool {
	return ch.reason == ReasonTokenRejected && ch.bearer && !ch.dpop
}

// keyFor returns a new key if the tokens to be asked for are bound, else zero.
func (p *OAuthProvider) keyFor(ch challenge, found *discovered, creds Credentials) (Secret, error) {
	if !p.bindsTokens(ch, found, creds) {
		return Secret{}, nil
	}
	return newDPoPKey()
}

// boundTo returns the key that the tokens of creds are bound to, nil for bearers,
// or errProofKey.
func (p *OAuthProvider) boundTo(creds Credentials) (*proofKey, error) {
	if creds.TokenType != tokenTypeDPoP {
		return nil, nil //nolint:nilnil // a bearer needs no key
	}
	key, err := p.cfg.proofKey(creds.DPoPKey)
	if err == nil && key == nil {
		err = errProofKey
	}
	return key, err
}

// authorizeRequest adds the access token to a request, if there is one: as a
// bearer, or with a proof by the key that it is bound to.
func (p *OAuthProvider) authorizeRequest(req *http.Request, token Secret, key *proofKey, nonce string) error {
	switch {
	case token.IsZero():
		return nil // an anonymous request
	case key == nil:
		req.Header["Authorization"] = []string{"Bearer " + token.Reveal()}
		return nil
	}
	req.Header["Authorization"] = []string{"DPoP " + token.Reveal()}
	return key.prove(req, token, nonce, p.cfg.Now().Unix())
}
