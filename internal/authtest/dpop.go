package authtest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrNonce says that a proof lacks the present nonce of [Server.RotateNonce].
var ErrNonce = errors.New("authtest: the proof needs a nonce")

// proofWindow is how old or new a proof may be.
const proofWindow = time.Minute

// Nonce returns the nonce that the next proof needs; empty when none is needed.
func (s *Server) Nonce() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.SingleUseNonces {
		nonce := rand.Text()
		s.unused[nonce] = struct{}{}
		return nonce
	}
	return s.nonce
}

func (s *Server) usesNonces() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.SingleUseNonces || s.nonce != ""
}

// takeNonce reports whether a proof may have this nonce.
func (s *Server) takeNonce(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opts.SingleUseNonces {
		return nonce == s.nonce
	}
	_, unused := s.unused[nonce]
	delete(s.unused, nonce)
	return unused
}

// RotateNonce makes proofs need a new nonce from now on (RFC 9449 sections 8
// and 9), at the token endpoint and at resource servers.
func (s *Server) RotateNonce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonce = rand.Text()
}

// DropNonce makes proofs need no nonce. Proofs with a nonce are refused.
func (s *Server) DropNonce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonce = ""
}

// VerifyProof checks the proof of a request to target (RFC 9449 section 4.3) and
// returns the thumbprint of its key. token is empty at the token endpoint. Each
// proof is good once. ErrNonce says that nothing is wrong but the nonce.
func (s *Server) VerifyProof(r *http.Request, target, token string) (thumbprint string, err error) {
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return "", errors.New("authtest: not exactly one proof")
	}
	proof, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", errors.New("authtest: the proof is no JWT")
	}
	header := proof.Signatures[0].Protected
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	if typ != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return "", errors.New("authtest: the proof has no public key or another type")
	}
	var c claims
	payload, err := proof.Verify(header.JSONWebKey)
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return "", errors.New("authtest: the proof's signature is wrong")
	}
	hash := ""
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		hash = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	age := s.opts.Now().Sub(time.Unix(c.IssuedAt, 0))
	switch {
	case c.Method != r.Method:
		return "", errors.New("authtest: the proof has the wrong htm")
	case c.URL != target:
		return "", errors.New("authtest: the proof has the wrong htu")
	case c.TokenHash != hash:
		return "", errors.New("authtest: the proof has the wrong ath")
	case age > proofWindow || age < -proofWindow:
		return "", errors.New("authtest: the proof has expired")
	case !s.firstUse(c.ID):
		return "", errors.New("authtest: the proof was used before")
	case c.Nonce != "" && !s.usesNonces():
		return "", errors.New("authtest: the proof has a nonce that the server did not ask for")
	case !s.takeNonce(c.Nonce):
		return "", ErrNonce
	}
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// prove checks the proof of a token request, if there is one.
func (s *Server) prove(w http.ResponseWriter, r *http.Request) (thumbprint string, refusal *oauthError) {
	if !s.opts.DPoP || r.Header.Get("DPoP") == "" {
		return "", nil
	}
	thumbprint, err := s.VerifyProof(r, s.EndpointURL(EndpointToken), "")
	if nonce := s.Nonce(); nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
	switch {
	case errors.Is(err, ErrNonce):
		return "", refuse("use_dpop_nonce", err.Error())
	case err != nil:
		return "", refuse("invalid_dpop_proof", err.Error())
	}
	return thumbprint, nil
}

// bind binds the access token of an answer to a key, and the refresh token of a
// public client (RFC 9449 section 5).
func (s *Server) bind(answer map[string]any, client Client, thumbprint string) {
	if thumbprint == "" {
		return
	}
	token, _ := answer["access_token"].(string)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.access[token]; t != nil {
		t.thumbprint = thumbprint
		answer["token_type"] = "DPoP"
	}
	refresh, _ := answer["refresh_token"].(string)
	if t := s.refresh[refresh]; t != nil && client.AuthMethod == AuthNone {
		t.thumbprint = thumbprint
	}
}

// isKeyOf reports whether the code or refresh token of a request may be used with
// a proof of a key (RFC 9449 sections 5 and 10).
func (s *Server) isKeyOf(form url.Values, thumbprint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	bound := ""
	if c := s.codes[form.Get("code")]; c != nil {
		bound = c.thumbprint
	}
	if t := s.refresh[form.Get("refresh_token")]; t != nil {
		bound = t.thumbprint
	}
	return bound == "" || bound == thumbprint
}
