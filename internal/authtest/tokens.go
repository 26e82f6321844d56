package authtest

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Why [Server.Verify] refuses a token.
var (
	ErrUnknownToken = errors.New("authtest: unknown token")
	ErrTokenExpired = errors.New("authtest: token expired")
	ErrTokenRevoked = errors.New("authtest: token revoked")
)

// Info is what the server knows about a valid access token.
type Info struct {
	User     string
	ClientID string
	Scopes   []string
	// Resource is the audience; empty when the client never named one.
	Resource string
	Expires  time.Time
	// Thumbprint is that of the key that the token is bound to (RFC 9449); empty
	// for a bearer token.
	Thumbprint string
}

// grant is one authorization and the family of tokens that come from it.
type grant struct {
	user     string
	clientID string
	scopes   []string
	resource string
	offline  bool // asked for as Options.OfflineAccessType wants it
	revoked  bool
}

type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	thumbprint  string // dpop_jkt
	expires     time.Time
	used        bool
}

type accessToken struct {
	grant   *grant
	scopes  []string
	expires time.Time
	revoked bool
	// thumbprint is that of the key that the token is bound to; may be empty.
	thumbprint string
}

type refreshToken struct {
	grant   *grant
	expires time.Time // zero for never
	used    bool
	rotated bool
	// thumbprint is that of the key that the token is bound to; may be empty.
	thumbprint string
}

// issueAccess makes an access token and the answer that carries it. The caller
// holds the mutex.
func (s *Server) issueAccess(g *grant, scopes []string) map[string]any {
	value := "at-" + rand.Text()
	s.access[value] = &accessToken{grant: g, scopes: slices.Clone(scopes), expires: s.opts.Now().Add(s.accessTTL + s.opts.Leeway)}
	answer := map[string]any{"access_token": value, "token_type": "Bearer"}
	s.describeExpiry(answer, s.accessTTL)
	if !s.opts.OmitScope && len(scopes) > 0 {
		answer["scope"] = strings.Join(scopes, " ")
	}
	return answer
}

// issueRefresh makes a refresh token. The caller holds the mutex.
func (s *Server) issueRefresh(g *grant) string {
	value := "rt-" + rand.Text()
	s.refresh[value] = &refreshToken{grant: g}
	s.prolong(s.refresh[value])
	return value
}

// prolong gives a refresh token its whole life. The caller holds the mutex.
func (s *Server) prolong(t *refreshToken) {
	if s.opts.RefreshTokenTTL > 0 {
		t.expires = s.opts.Now().Add(s.opts.RefreshTokenTTL)
	}
}

// Verify tells a resource server about an access token, as introspection
// (RFC 7662) would. The error is ErrUnknownToken, ErrTokenExpired or
// ErrTokenRevoked.
func (s *Server) Verify(token string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	switch {
	case t == nil:
		return Info{}, ErrUnknownToken
	case t.revoked || t.grant.revoked:
		return Info{}, ErrTokenRevoked
	case !s.opts.Now().Before(t.expires):
		return Info{}, ErrTokenExpired
	}
	return Info{
		User: t.grant.user, ClientID: t.grant.clientID, Scopes: slices.Clone(t.scopes),
		Resource: t.grant.resource, Expires: t.expires, Thumbprint: t.thumbprint,
	}, nil
}

// Issue makes an access token without any flow, for tests that need just a
// token. It lives as long as one that was asked for.
func (s *Server) Issue(user, resource string, scopes ...string) (token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &grant{user: user, clientID: "issued", scopes: slices.Clone(scopes), resource: resource}
	token, _ = s.issueAccess(g, scopes)["access_token"].(string)
	return token
}

// RefreshTokenValid reports whether a refresh token would be accepted.
func (s *Server) RefreshTokenValid(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[token]
	return t != nil && !t.rotated && !t.grant.revoked && (t.expires.IsZero() || s.opts.Now().Before(t.expires))
}

// Revoke ends an access token, or, given a refresh token, its whole family.
// Unknown tokens are ignored.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.access[token]; t != nil {
		t.revoked = true
	}
	if t := s.refresh[token]; t != nil {
		t.grant.revoked = true
	}
}

// RevokeAll ends every token and unused code, as when users withdraw their consent: refreshing
// answers invalid_grant.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.codes {
		c.grant.revoked = true
	}
	for _, t := range s.access {
		t.grant.revoked = true
	}
	for _, t := range s.refresh {
		t.grant.revoked = true
	}
}

// ExpireAccessTokens ends every access token before its time, as a key rotation
// does. Refresh tokens stay valid.
func (s *Server) ExpireAccessTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.access {
		t.expires = time.Time{}
	}
}

// serveRevoke is token revocation, RFC 7009 section 2.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	client, refusal := s.parseClientRequest(r)
	if refusal != nil {
		s.writeRefusal(w, refusal)
		return
	}
	token := r.PostForm.Get("token")
	if token == "" {
		refuse("invalid_request", "token is required").write(w)
		return
	}
	if owner, known := s.ownerOf(token); known && owner != client.ID {
		refuse("invalid_grant", "the token is another client's").write(w)
		return
	}
	s.Revoke(token)
	s.count(func(c *Counts) { c.Revocations++ })
	w.WriteHeader(http.StatusOK)
}

func (s *Server) ownerOf(token string) (clientID string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.access[token]; t != nil {
		return t.grant.clientID, true
	}
	if t := s.refresh[token]; t != nil {
		return t.grant.clientID, true
	}
	return "", false
}
