package mcptest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// clientKey is where a token's client is in [auth.TokenInfo.Extra].
const clientKey = "client_id"

// serveMCP checks the token, then hands over to the SDK.
func (s *Server) serveMCP(w http.ResponseWriter, r *http.Request, req *Request) {
	if s.rejectsNext() {
		s.unauthorized(w, req, "this one is refused on purpose")
		return
	}
	next := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, req)
	}))
	if s.opts.Verify == nil {
		next.ServeHTTP(w, r)
		return
	}
	if req.Token == "" {
		if s.opts.LazyAuth && req.RPCMethod != methodCallTool {
			next.ServeHTTP(w, r)
			return
		}
		s.unauthorized(w, req, "no bearer token")
		return
	}
	info, err := s.opts.Verify(req.Token)
	if err == nil && !s.isAudience(info.Resource) {
		err = fmt.Errorf("mcptest: token is for %q", info.Resource)
	}
	if err != nil {
		s.unauthorized(w, req, err.Error())
		return
	}
	if err := s.proved(w, r, req, info); err != nil {
		code := "invalid_dpop_proof"
		if errors.Is(err, authtest.ErrNonce) {
			code = "use_dpop_nonce"
		}
		s.challenge(w, []string{param("error", code)})
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if scopes, missing := s.missingScopes(req, info); missing {
		s.forbidden(w, scopes)
		return
	}
	r.Header.Set("Authorization", "Bearer "+req.Token) // the only scheme that the SDK's middleware knows
	withTokenInfo(info, next).ServeHTTP(w, r)
}

// proved checks the scheme of a request and, for a token that is bound to a key,
// the proof.
func (s *Server) proved(w http.ResponseWriter, r *http.Request, req *Request, info authtest.Info) error {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if info.Thumbprint == "" {
		if strings.EqualFold(scheme, "DPoP") {
			return errors.New("mcptest: a bearer token with the scheme DPoP")
		}
		return nil
	}
	if !strings.EqualFold(scheme, "DPoP") {
		return errors.New("mcptest: a bound token with the scheme Bearer")
	}
	thumbprint, err := s.opts.Auth.VerifyProof(r, s.URL(), req.Token)
	if nonce := s.opts.Auth.Nonce(); nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
	if err == nil && thumbprint != info.Thumbprint {
		err = errors.New("mcptest: a proof of another key")
	}
	return err
}

// withTokenInfo runs h with the token's info in the context, where the SDK
// takes it from. Its middleware is the only way to put it there.
func withTokenInfo(info authtest.Info, h http.Handler) http.Handler {
	verified := func(context.Context, string, *http.Request) (*auth.TokenInfo, error) {
		return &auth.TokenInfo{
			UserID: info.User,
			Scopes: info.Scopes,
			Extra:  map[string]any{clientKey: info.ClientID},
		}, nil
	}
	// The expiry was checked against the authorization server's own clock.
	return auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(h)
}

// missingScopes returns what a request needs, and whether the token lacks some.
func (s *Server) missingScopes(req *Request, info authtest.Info) (needed []string, missing bool) {
	needed = slices.Clone(s.opts.RequiredScopes)
	if req.RPCMethod == methodCallTool {
		needed = append(needed, s.opts.ToolScopes[req.Tool]...)
		if s.opts.AlwaysInsufficientScope {
			if len(needed) == 0 {
				needed = []string{"admin"}
			}
			return needed, true
		}
	}
	for _, scope := range needed {
		if !slices.Contains(info.Scopes, scope) {
			return needed, true
		}
	}
	return needed, false
}

// unauthorized answers 401 with the challenge of RFC 6750 and RFC 9728.
func (s *Server) unauthorized(w http.ResponseWriter, req *Request, reason string) {
	c := s.opts.Challenge
	var params []string
	switch {
	case c.Error != "":
		params = append(params, param("error", c.Error))
	case req.Token != "":
		params = append(params, param("error", "invalid_token"))
	}
	scope := c.Scope
	if scope == "" {
		scope = strings.Join(s.opts.RequiredScopes, " ")
	}
	if scope != "" {
		params = append(params, param("scope", scope))
	}
	s.challenge(w, params)
	http.Error(w, reason, http.StatusUnauthorized)
}

// forbidden answers 403 insufficient_scope.
func (s *Server) forbidden(w http.ResponseWriter, scopes []string) {
	s.challenge(w, []string{
		param("error", "insufficient_scope"),
		param("scope", strings.Join(scopes, " ")),
	})
	http.Error(w, "insufficient scope", http.StatusForbidden)
}

func (s *Server) challenge(w http.ResponseWriter, params []string) {
	c := s.opts.Challenge
	if c.Omit {
		return
	}
	value := c.Raw
	if value == "" {
		metadata := c.ResourceMetadata
		if metadata == "" {
			metadata = s.metadataURL()
		}
		if metadata != "" && !c.OmitResourceMetadata {
			params = append(params, param("resource_metadata", metadata))
		}
		scheme := "Bearer "
		if s.opts.DPoP {
			scheme = "DPoP "
		}
		value = strings.TrimSpace(scheme + strings.Join(params, ", "))
	}
	w.Header().Set("WWW-Authenticate", value)
}

func param(name, value string) string { return fmt.Sprintf("%s=%q", name, value) }
