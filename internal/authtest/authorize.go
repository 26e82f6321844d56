package authtest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// codeTTL is the life of an authorization code; OAuth 2.1 recommends at most
// ten minutes.
const codeTTL = 10 * time.Minute

// userHeader lets a [Browser] say who sits in front of it, as a login cookie
// would; decisionHeader what that person decides without a consent page.
const (
	userHeader     = "X-Authtest-User"
	decisionHeader = "X-Authtest-Decision"
)

const (
	decideApprove = "approve"
	decideDeny    = "deny"
)

// authorization is a validated authorization request.
type authorization struct {
	client      Client
	redirectURI string
	state       string
	challenge   string
	thumbprint  string
	resource    string
	scopes      []string // requested
	offline     bool     // asks for a refresh token as Google wants it
}

// serveAuthorize is the authorization endpoint, OAuth 2.1 section 4.1.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		showError(w, http.StatusBadRequest, "The request cannot be read.")
		return
	}
	req, ok := s.authorizeTarget(w, r)
	if !ok {
		return
	}
	if refusal := s.validateAuthorize(r.Form, req); refusal != nil {
		s.redirectError(w, r, req, refusal)
		return
	}
	switch s.decision(r) {
	case decideApprove:
		s.issueCode(w, r, req)
	case decideDeny:
		s.count(func(c *Counts) { c.Denials++ })
		s.redirectError(w, r, req, refuse("access_denied", "the user said no"))
	default:
		s.showConsent(w, r, req)
	}
}

// authorizeTarget finds the client and where to send the browser back to.
// Errors about these two are shown, never redirected (section 4.1.2.1).
func (s *Server) authorizeTarget(w http.ResponseWriter, r *http.Request) (*authorization, bool) {
	redirectURI := r.Form.Get("redirect_uri")
	client, err := s.client(r.Context(), r.Form.Get("client_id"), redirectURI)
	if err != nil {
		if s.opts.UnknownClientJSON {
			(&oauthError{http.StatusUnprocessableEntity, "invalid_client", "unrecognized client_id"}).write(w)
		} else {
			showError(w, http.StatusBadRequest, "This application is not registered here.")
		}
		return nil, false
	}
	if redirectURI == "" || !slices.Contains(client.RedirectURIs, redirectURI) {
		showError(w, http.StatusBadRequest, "The redirect URI is not one this application registered.")
		return nil, false
	}
	return &authorization{client: client, redirectURI: redirectURI, state: r.Form.Get("state")}, true
}

// validateAuthorize checks the rest of the request and completes req.
func (s *Server) validateAuthorize(form url.Values, req *authorization) *oauthError {
	if refusal := refuseDuplicates(form); refusal != nil {
		return refusal
	}
	if form.Get("response_type") != "code" {
		return refuse("unsupported_response_type", "only code")
	}
	if !req.client.mayUse(grantAuthorizationCode) {
		return refuse("unauthorized_client", "the client did not register authorization_code")
	}
	req.challenge, req.thumbprint = form.Get("code_challenge"), form.Get("dpop_jkt")
	if form.Get("code_challenge_method") != "S256" || len(req.challenge) != 43 {
		return refuse("invalid_request", "PKCE with S256 is required")
	}
	resource, refusal := s.resourceOf(form)
	if refusal != nil {
		return refusal
	}
	req.resource = resource
	req.offline = form.Get("access_type") == "offline" && form.Get("prompt") == "consent"
	req.scopes = strings.Fields(form.Get("scope"))
	if len(req.scopes) == 0 && s.opts.RequireScope {
		return refuse("invalid_request", "the scope parameter is required")
	}
	if len(req.scopes) == 0 {
		req.scopes = slices.Clone(s.opts.DefaultScopes)
	}
	if s.opts.RegisteredScopesOnly && req.client.Dynamic {
		for _, scope := range req.scopes {
			if !slices.Contains(req.client.Scopes, scope) {
				return refuse("invalid_scope", "scope is not registered: "+scope)
			}
		}
	}
	if len(s.opts.ScopesSupported) > 0 {
		for _, scope := range req.scopes {
			if !slices.Contains(s.opts.ScopesSupported, scope) {
				return refuse("invalid_scope", "scope is not supported: "+scope)
			}
		}
	}
	return nil
}

// resourceOf reads the resource parameter of RFC 8707.
func (s *Server) resourceOf(form url.Values) (string, *oauthError) {
	values := form["resource"]
	if s.opts.Audience {
		values = form["audience"]
	}
	switch {
	case len(values) > 0 && s.opts.RejectResource:
		return "", refuse("invalid_target", "the resource parameter is not supported")
	case len(values) > 1:
		return "", refuse("invalid_target", "one resource at a time")
	case len(values) == 0 && s.opts.RequireResource:
		return "", refuse("invalid_target", "the resource parameter is required")
	case len(values) == 0:
		return "", nil
	}
	u, err := url.Parse(values[0])
	if err != nil || !u.IsAbs() || u.Fragment != "" {
		return "", refuse("invalid_target", "resource must be an absolute URI without a fragment")
	}
	return values[0], nil
}

// refuseDuplicates enforces OAuth 2.1 section 3.1: parameters come once.
func refuseDuplicates(form url.Values) *oauthError {
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return refuse("invalid_request", "parameter sent more than once: "+name)
		}
	}
	return nil
}

// decision is what the user says; empty while a page has to ask.
func (s *Server) decision(r *http.Request) string {
	s.mu.Lock()
	deny := s.denials > 0
	if deny {
		s.denials--
	}
	s.mu.Unlock()
	if deny {
		return decideDeny
	}
	if d := r.Header.Get(decisionHeader); d != "" {
		return d
	}
	if !s.opts.Consent {
		return decideApprove
	}
	if r.Method == http.MethodPost {
		return r.PostForm.Get("decision")
	}
	return ""
}

// DenyNext makes the user say no to the next n authorizations.
func (s *Server) DenyNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denials += n
}

func (s *Server) issueCode(w http.ResponseWriter, r *http.Request, req *authorization) {
	granted := req.scopes
	if s.opts.GrantScopes != nil {
		granted = s.opts.GrantScopes(slices.Clone(req.scopes))
	}
	user := r.Header.Get(userHeader)
	if user == "" {
		user = s.opts.User
	}
	value := "code-" + rand.Text()
	s.mu.Lock()
	s.codes[value] = &code{
		grant: &grant{
			user: user, clientID: req.client.ID, scopes: granted, resource: req.resource, offline: req.offline,
		},
		redirectURI: req.redirectURI,
		challenge:   req.challenge,
		thumbprint:  req.thumbprint,
		expires:     s.opts.Now().Add(codeTTL),
	}
	s.counts.Authorizations++
	s.mu.Unlock()
	s.redirect(w, r, req, url.Values{"code": {value}})
}

func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, req *authorization, e *oauthError) {
	s.redirect(w, r, req, url.Values{"error": {e.code}, "error_description": {e.description}})
}

// redirect sends the browser back with the response, state and iss.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, req *authorization, params url.Values) {
	u, err := url.Parse(req.redirectURI)
	if err != nil {
		showError(w, http.StatusBadRequest, "The redirect URI cannot be read.")
		return
	}
	if req.state != "" {
		params.Set("state", req.state)
	}
	switch s.opts.Iss {
	case IssAdvertised, IssUnadvertised:
		params.Set("iss", s.issuer)
	case IssWrong, IssUnadvertisedWrong:
		params.Set("iss", WrongIssuer)
	}
	// A query that the redirect URI already has is kept (RFC 6749 3.1.2).
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusFound)
}
