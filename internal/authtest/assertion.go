package authtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signatures are the algorithms that the server verifies.
var signatures = []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA}

// maxAssertionLife is the longest life of an assertion that is accepted.
const maxAssertionLife = time.Hour

// claims are those of RFC 7523 section 3 and RFC 9449 section 4.2.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Resource string   `json:"resource"`
	Scope    string   `json:"scope"`

	Method    string `json:"htm"`
	URL       string `json:"htu"`
	TokenHash string `json:"ath"`
	Nonce     string `json:"nonce"`
}

// audience is one string or several.
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// peek reads the claims of a JWT whose signature is checked later.
func peek(raw string) (c claims, err error) {
	token, err := jose.ParseSignedCompact(raw, signatures)
	if err != nil {
		return c, fmt.Errorf("authtest: no JWT: %w", err)
	}
	return c, json.Unmarshal(token.UnsafePayloadWithoutVerification(), &c)
}

// verifyAssertion checks an assertion of RFC 7523 section 3, which it accepts
// once. The error names what is wrong.
func (s *Server) verifyAssertion(raw string, keys jose.JSONWebKeySet) (c claims, err error) {
	token, err := jose.ParseSignedCompact(raw, signatures)
	if err != nil {
		return c, fmt.Errorf("authtest: no JWT: %w", err)
	}
	candidates := keys.Keys
	if id := token.Signatures[0].Protected.KeyID; id != "" {
		candidates = keys.Key(id)
	}
	i := slices.IndexFunc(candidates, func(key jose.JSONWebKey) bool {
		payload, verifyErr := token.Verify(key)
		return verifyErr == nil && json.Unmarshal(payload, &c) == nil
	})
	now := s.opts.Now()
	switch {
	case i < 0:
		return c, fmt.Errorf("authtest: the assertion is signed with no known key")
	case !slices.Equal(c.Audience, audience{s.issuer}):
		return c, fmt.Errorf("authtest: the assertion is for %q", c.Audience)
	case c.Expires <= now.Unix():
		return c, fmt.Errorf("authtest: the assertion has expired")
	case c.Expires > now.Add(maxAssertionLife).Unix():
		return c, fmt.Errorf("authtest: the assertion lives too long")
	case !s.firstUse(c.ID):
		return c, fmt.Errorf("authtest: the assertion was used before")
	}
	return c, nil
}

// firstUse notes a jti and reports whether it is there and new.
func (s *Server) firstUse(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.jtis[id]; used || id == "" {
		return false
	}
	s.jtis[id] = struct{}{}
	return true
}

// keysOf returns the keys of a client, from its jwks_uri if it has one.
func (s *Server) keysOf(ctx context.Context, client Client) (set jose.JSONWebKeySet, err error) {
	if client.JWKSURI == "" {
		return client.Keys, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, client.JWKSURI, nil)
	if err != nil {
		return set, fmt.Errorf("authtest: jwks_uri: %w", err)
	}
	fetcher := s.opts.ClientIDMetadataFetcher
	if fetcher == nil {
		fetcher = http.DefaultClient
	}
	resp, err := fetcher.Do(req)
	if err != nil {
		return set, fmt.Errorf("authtest: jwks_uri: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return set, fmt.Errorf("authtest: jwks_uri: status %d", resp.StatusCode)
	}
	return set, json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&set)
}

// authenticateAssertion identifies a client by private_key_jwt (RFC 7523 section
// 2.2, OpenID Connect Core section 9).
func (s *Server) authenticateAssertion(ctx context.Context, client Client, assertion, kind string) *oauthError {
	if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return unauthorizedClient("wrong client_assertion_type")
	}
	keys, err := s.keysOf(ctx, client)
	if err != nil {
		return unauthorizedClient(err.Error())
	}
	c, err := s.verifyAssertion(assertion, keys)
	switch {
	case err != nil:
		return unauthorizedClient(err.Error())
	case c.Issuer != client.ID || c.Subject != client.ID:
		return unauthorizedClient("iss and sub of the assertion are not the client")
	}
	return nil
}
