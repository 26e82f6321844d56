package authtest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	grantClientCredentials = "client_credentials"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	grantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeIDToken       = "urn:ietf:params:oauth:token-type:id_token"
	tokenTypeIDJAG         = "urn:ietf:params:oauth:token-type:id-jag"
)

// silent runs the grants without a browser; ok is false for other grants.
func (s *Server) silent(client Client, form url.Values) (answer map[string]any, refusal *oauthError, ok bool) {
	switch form.Get("grant_type") {
	case grantClientCredentials:
		if client.AuthMethod == AuthNone {
			return nil, refuse("unauthorized_client", "a public client has no credentials"), true
		}
		answer, refusal = s.issueTo(client.ID, client, form)
	case grantJWTBearer:
		answer, refusal = s.bearJWT(client, form)
	case grantTokenExchange:
		answer, refusal = s.exchangeIDToken(client, form)
	default:
		return nil, nil, false
	}
	return answer, refusal, true
}

// issueTo issues an access token, and no refresh token.
func (s *Server) issueTo(user string, client Client, form url.Values) (map[string]any, *oauthError) {
	resource, refusal := s.resourceOf(form)
	if refusal != nil {
		return nil, refusal
	}
	scopes := strings.Fields(form.Get("scope"))
	for _, scope := range scopes {
		if len(s.opts.ScopesSupported) > 0 && !slices.Contains(s.opts.ScopesSupported, scope) {
			return nil, refuse("invalid_scope", "unknown scope "+scope)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issueAccess(&grant{user: user, clientID: client.ID, scopes: scopes, resource: resource}, scopes), nil
}

// bearJWT is RFC 7523 section 2.1, for workload identity, and for an ID-JAG
// (typ oauth-id-jag+jwt), which names the client and the resource.
func (s *Server) bearJWT(client Client, form url.Values) (map[string]any, *oauthError) {
	c, err := s.verifyAssertion(form.Get("assertion"), s.opts.AssertionKeys)
	if err != nil {
		return nil, refuse("invalid_grant", err.Error())
	}
	if c.ClientID != "" || c.Resource != "" {
		switch {
		case client.AuthMethod == AuthNone:
			return nil, unauthorizedClient("an ID-JAG needs an authenticated client")
		case c.ClientID != client.ID:
			return nil, refuse("invalid_grant", "the ID-JAG is another client's")
		case form.Has("resource") && form.Get("resource") != c.Resource:
			return nil, refuse("invalid_grant", "the ID-JAG is for another resource")
		}
	}
	return s.issueTo(c.Subject, client, form)
}

// IDToken returns an ID token of a user for a client, as after a sign-in there.
func (s *Server) IDToken(user, clientID string) string {
	now := s.opts.Now()
	return s.sign("JWT", map[string]any{"iss": s.issuer, "sub": user, "aud": clientID, "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()})
}

// Assertion returns an assertion of a workload for the authorization server with
// an issuer, good for ttl.
func (s *Server) Assertion(subject, issuer string, ttl time.Duration) string {
	now := s.opts.Now()
	return s.sign("JWT", map[string]any{"iss": s.issuer, "sub": subject, "aud": issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(ttl).Unix()})
}

// IdentityKeys returns what verifies the server's own signatures.
func (s *Server) IdentityKeys() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.identity.Public(), KeyID: "identity", Algorithm: "ES256", Use: "sig"}}}
}

func (s *Server) sign(typ string, claims map[string]any) string {
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", "identity")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.identity}, options)
	if err != nil {
		panic(fmt.Sprintf("authtest: %v", err)) // an ES256 key signs ES256
	}
	payload, _ := json.Marshal(claims)
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(fmt.Sprintf("authtest: %v", err))
	}
	out, _ := signed.CompactSerialize()
	return out
}

// exchangeIDToken is the identity provider's part of an ID-JAG.
func (s *Server) exchangeIDToken(client Client, form url.Values) (map[string]any, *oauthError) {
	if form.Get("subject_token_type") != tokenTypeIDToken || form.Get("requested_token_type") != tokenTypeIDJAG {
		return nil, refuse("invalid_request", "only an ID token for an ID-JAG")
	}
	if form.Get("audience") == "" || form.Get("resource") == "" {
		return nil, refuse("invalid_request", "audience and resource are required")
	}
	token, err := jose.ParseSignedCompact(form.Get("subject_token"), signatures)
	if err != nil {
		return nil, refuse("invalid_grant", "no ID token")
	}
	payload, err := token.Verify(s.identity.Public())
	var c claims
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return nil, refuse("invalid_grant", "the ID token is not this server's")
	}
	now := s.opts.Now()
	if !slices.Equal(c.Audience, audience{client.ID}) || c.Expires <= now.Unix() {
		return nil, refuse("invalid_grant", "the ID token has expired, or is for another client")
	}
	assertion := s.sign("oauth-id-jag+jwt", map[string]any{
		"iss": s.issuer, "sub": c.Subject, "aud": form.Get("audience"), "resource": form.Get("resource"), "scope": form.Get("scope"),
		"client_id": s.opts.IDJAGClient, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	return map[string]any{"access_token": assertion, "issued_token_type": tokenTypeIDJAG, "token_type": "N_A", "expires_in": 300}, nil
}
