package authtest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	grantAuthorizationCode = "authorization_code"
	grantRefreshToken      = "refresh_token"
)

// serveToken is the token endpoint, OAuth 2.1 section 3.2.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	client, refusal := s.parseClientRequest(r)
	if refusal != nil {
		s.writeRefusal(w, refusal)
		return
	}
	thumbprint, refusal := s.prove(w, r)
	if refusal != nil {
		s.writeRefusal(w, refusal)
		return
	}
	var answer map[string]any
	grantType := r.PostForm.Get("grant_type")
	silentAnswer, silentRefusal, silent := s.silent(client, r.PostForm)
	switch {
	case silent:
		answer, refusal = silentAnswer, silentRefusal
	case grantType != grantAuthorizationCode && grantType != grantRefreshToken:
		refusal = refuse("unsupported_grant_type", "only authorization_code and refresh_token")
	case !client.mayUse(grantType):
		refusal = refuse("unauthorized_client", "the client did not register "+grantType)
	case !s.isKeyOf(r.PostForm, thumbprint):
		refusal = refuse("invalid_grant", "the key is not that of the code or refresh token")
	case grantType == grantAuthorizationCode:
		answer, refusal = s.exchange(client, r.PostForm)
	default:
		answer, refusal = s.refreshTokens(client, r.PostForm)
		s.noteRefresh(r)
	}
	if refusal != nil {
		s.writeRefusal(w, refusal)
		return
	}
	if s.opts.RefreshTokenTTL > 0 && !s.opts.OmitRefreshExpiresIn {
		answer["refresh_token_expires_in"] = int64(s.opts.RefreshTokenTTL / time.Second)
	}
	s.bind(answer, client, thumbprint)
	if s.opts.EditToken != nil {
		s.opts.EditToken(answer)
	}
	writeJSON(w, http.StatusOK, answer)
}

// parseClientRequest reads a form that a client posts and who that client is.
func (s *Server) parseClientRequest(r *http.Request) (Client, *oauthError) {
	if r.Method != http.MethodPost || mediaType(r) != "application/x-www-form-urlencoded" {
		return Client{}, refuse("invalid_request", "POST a form")
	}
	if err := r.ParseForm(); err != nil {
		return Client{}, refuse("invalid_request", "the form cannot be read")
	}
	if refusal := refuseDuplicates(r.PostForm); refusal != nil {
		return Client{}, refusal
	}
	return s.authenticate(r)
}

func (s *Server) writeRefusal(w http.ResponseWriter, refusal *oauthError) {
	if refusal.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="authtest"`)
	}
	refusal.write(w)
}

// exchange redeems an authorization code.
func (s *Server) exchange(client Client, form url.Values) (map[string]any, *oauthError) {
	resource, refusal := s.resourceOf(form)
	if refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes[form.Get("code")]
	switch {
	case c == nil || c.grant.clientID != client.ID:
		return nil, refuse("invalid_grant", "unknown code")
	case c.used:
		c.grant.revoked = true // OAuth 2.1 section 4.1.3
		s.counts.CodesReused++
		return nil, refuse("invalid_grant", "code used before")
	}
	c.used = true
	switch {
	case c.grant.revoked:
		return nil, refuse("invalid_grant", "code revoked")
	case !s.opts.Now().Before(c.expires):
		return nil, refuse("invalid_grant", "code expired")
	case form.Get("redirect_uri") != c.redirectURI:
		return nil, refuse("invalid_grant", "redirect_uri differs from the authorization request")
	case !verifierMatches(form.Get("code_verifier"), c.challenge):
		return nil, refuse("invalid_grant", "code_verifier does not match")
	case resource != "" && c.grant.resource != "" && resource != c.grant.resource:
		return nil, refuse("invalid_target", "resource differs from the authorization request")
	}
	if c.grant.resource == "" {
		c.grant.resource = resource
	}
	s.counts.Exchanges++
	answer := s.issueAccess(c.grant, c.grant.scopes)
	offline := (!s.opts.OfflineAccess || slices.Contains(c.grant.scopes, "offline_access")) && (!s.opts.OfflineAccessType || c.grant.offline)
	if !s.opts.NoRefreshTokens && offline && client.mayUse(grantRefreshToken) {
		answer["refresh_token"] = s.issueRefresh(c.grant)
	}
	return answer, nil
}

// refreshTokens redeems a refresh token.
func (s *Server) refreshTokens(client Client, form url.Values) (map[string]any, *oauthError) {
	resource, refusal := s.resourceOf(form)
	if refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[form.Get("refresh_token")]
	switch {
	case t == nil || t.grant.clientID != client.ID:
		return nil, refuse("invalid_grant", "unknown refresh token")
	case t.rotated:
		t.grant.revoked = true // the whole family, RFC 9700 section 4.14.2
		s.counts.ReuseDetected++
		return nil, refuse("invalid_grant", "refresh token used before")
	case t.grant.revoked:
		return nil, refuse("invalid_grant", "refresh token revoked")
	case !t.expires.IsZero() && !s.opts.Now().Before(t.expires):
		return nil, refuse("invalid_grant", "refresh token expired")
	case resource != "" && t.grant.resource != "" && resource != t.grant.resource:
		return nil, refuse("invalid_target", "resource differs from the grant")
	}
	if s.opts.RequireRefreshScope && form.Get("scope") == "" {
		return nil, refuse("invalid_request", "the scope parameter is required")
	}
	scopes := t.grant.scopes
	if narrower := strings.Fields(form.Get("scope")); len(narrower) > 0 {
		for _, scope := range narrower {
			if !slices.Contains(scopes, scope) {
				return nil, refuse("invalid_scope", "scope was not granted: "+scope)
			}
		}
		scopes = narrower
	}
	s.counts.Refreshes++
	t.used = true
	s.prolong(t)
	answer := s.issueAccess(t.grant, scopes)
	if !s.opts.NoRotation {
		t.rotated = true
		answer["refresh_token"] = s.issueRefresh(t.grant)
	}
	return answer, nil
}

// noteRefresh calls Options.OnRefresh if a refresh token is used up by now.
func (s *Server) noteRefresh(r *http.Request) {
	if s.opts.OnRefresh == nil {
		return
	}
	s.mu.Lock()
	t := s.refresh[r.PostForm.Get("refresh_token")]
	used := t != nil && t.used
	s.mu.Unlock()
	if used {
		s.opts.OnRefresh(t.grant.user, r)
	}
}

// describeExpiry adds expires_in in the configured form.
func (s *Server) describeExpiry(answer map[string]any, ttl time.Duration) {
	seconds := int64(ttl / time.Second)
	switch s.opts.ExpiresIn {
	case ExpiresInNumber:
		answer["expires_in"] = seconds
	case ExpiresInString:
		answer["expires_in"] = strconv.FormatInt(seconds, 10)
	case ExpiresInZero:
		answer["expires_in"] = 0
	}
}

// verifierMatches is PKCE S256, RFC 7636 section 4.6.
func verifierMatches(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == challenge
}
