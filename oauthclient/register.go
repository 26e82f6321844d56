package oauthclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// errKeep ends an Update without storing anything.
var errKeep = errors.New("oauthclient: nothing to store")

const (
	// freshRegistrationInterval is the minimum time between two replacements of
	// a client that a user asks for, or that the token endpoint does not know.
	// Until then, requests get the client that was made last.
	freshRegistrationInterval = 10 * time.Minute
	// maxRegisteredScopes bounds the scopes of a client that is replaced for
	// further scopes, because MCP servers choose the scopes.
	maxRegisteredScopes = 100
)

// resolveRegistration finds the client to ask for scopes with at an
// authorization server, in the order of MCP 2026-07-28: pre-registered, Client
// ID Metadata Document, dynamic registration.
func (p *OAuthProvider) resolveRegistration(ctx context.Context, meta *oauthex.AuthServerMeta, scopes []string, fresh bool) (Registration, error) {
	if c, found := p.preregistered(meta.Issuer); found {
		return p.withSigningAlg(Registration{
			Issuer: meta.Issuer, ClientID: c.ClientID, RedirectURI: p.cfg.CallbackURL, Preregistered: true,
			TokenEndpointAuthMethod: p.chooseAuthMethod(c.TokenEndpointAuthMethod, !c.ClientSecret.IsZero(), meta),
		}, meta)
	}
	if p.cfg.ClientMetadataURL != "" && meta.ClientIDMetadataDocumentSupported {
		method := authMethodNone // a public document has no shared secret
		if p.cfg.ClientMetadata.TokenEndpointAuthMethod == authMethodPrivateKeyJWT {
			method = authMethodPrivateKeyJWT
		}
		return p.withSigningAlg(Registration{
			Issuer: meta.Issuer, ClientID: p.cfg.ClientMetadataURL, RedirectURI: p.cfg.CallbackURL, TokenEndpointAuthMethod: method,
		}, meta)
	}
	if meta.RegistrationEndpoint == "" || p.cfg.DisableDynamicRegistration || !p.grant.needsUser() {
		return Registration{}, p.registrationRequired(ctx, meta)
	}
	return p.dynamicRegistration(ctx, meta, scopes, fresh)
}

// registrationRequired logs and returns that a client must be registered by
// hand.
func (p *OAuthProvider) registrationRequired(ctx context.Context, meta *oauthex.AuthServerMeta, detail ...any) error {
	detail = append([]any{"issuer", meta.Issuer, "redirect_uri", p.cfg.CallbackURL}, detail...)
	p.cfg.Logger.WarnContext(ctx, "mcpoauth: a client must be registered by hand", detail...)
	return &RegistrationRequiredError{Issuer: meta.Issuer, RedirectURI: p.cfg.CallbackURL}
}

// chooseAuthMethod picks the client authentication for a client that was
// registered by hand. RFC 8414 section 2: client_secret_basic when the server
// does not say.
func (p *OAuthProvider) chooseAuthMethod(configured string, hasSecret bool, meta *oauthex.AuthServerMeta) string {
	switch supported := meta.TokenEndpointAuthMethodsSupported; {
	case p.policy.TokenEndpointAuthMethod != "":
		return p.policy.TokenEndpointAuthMethod
	case configured != "":
		return configured
	case !hasSecret:
		return authMethodNone
	case slices.Contains(supported, authMethodPost) && !slices.Contains(supported, authMethodBasic):
		return authMethodPost
	default:
		return authMethodBasic
	}
}

// dynamicRegistration returns the registration that all sessions and replicas
// share, and makes one if there is none that can be used, or if fresh asks for
// another.
func (p *OAuthProvider) dynamicRegistration(ctx context.Context, meta *oauthex.AuthServerMeta, scopes []string, fresh bool) (Registration, error) {
	key := p.registrationKey(meta.Issuer)
	current, err := p.cfg.Registrations.Load(ctx, key)
	if err != nil {
		return Registration{}, storageError(ctx, err)
	}
	if !fresh && p.registrationAlive(current) && current.covers(scopes) {
		return current, nil
	}
	var result Registration
	err = p.cfg.Registrations.Update(ctx, key, func(r *Registration) error {
		alive := p.registrationAlive(*r)
		wanted := union(strings.Fields(r.Scope), scopes)
		switch replaced := r.ClientID != current.ClientID || p.replacedLately(*r); {
		case alive && fresh && replaced, alive && !fresh && (r.covers(scopes) || len(wanted) > maxRegisteredScopes):
			result = *r
			return errKeep
		case fresh || !alive:
			wanted = scopes
		}
		registered, err := p.register(ctx, meta, wanted)
		if err != nil {
			return err
		}
		registered.ReplacedAt = r.ReplacedAt
		if fresh || r.ClientID != "" && !alive {
			registered.ReplacedAt = p.cfg.Now()
		}
		*r, result = registered, registered
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		return Registration{}, storageError(ctx, err)
	}
	return result, nil
}

// registrationAlive reports whether a stored registration can be presented to a
// user: the server has not denied it, and its secret lives on for longer than
// the attempt.
func (p *OAuthProvider) registrationAlive(r Registration) bool {
	return r.ClientID != "" && !r.Dead && (r.SecretExpiry.IsZero() || p.cfg.Now().Add(p.cfg.AttemptTTL).Before(r.SecretExpiry))
}

// replacedLately reports whether a registration is too new to be replaced by
// request.
func (p *OAuthProvider) replacedLately(r Registration) bool {
	return p.cfg.Now().Before(r.ReplacedAt.Add(freshRegistrationInterval))
}

// covers reports whether a client was registered for all of scopes.
func (r Registration) covers(scopes []string) bool {
	return containsAll(strings.Fields(r.Scope), scopes)
}

// dropRegistration notes that the token endpoint did not accept a client
// (invalid_client). The next authorization replaces a dynamic client, unless it
// was replaced in the last 10 minutes. For any other client, it logs an error.
func (p *OAuthProvider) dropRegistration(ctx context.Context, dead Registration) {
	if !dead.Dynamic {
		p.cfg.Logger.ErrorContext(ctx, "mcpoauth: the authorization server does not accept the client",
			"issuer", dead.Issuer, "preregistered", dead.Preregistered, "client_id", dead.ClientID)
		return
	}
	p.updateRegistration(ctx, p.registrationKey(dead.Issuer), func(r *Registration) error {
		if r.ClientID != dead.ClientID || p.replacedLately(*r) {
			return errKeep
		}
		r.Dead = true
		return nil
	})
}

func (p *OAuthProvider) updateRegistration(ctx context.Context, key RegistrationKey, fn func(*Registration) error) {
	if err := p.cfg.Registrations.Update(ctx, key, fn); err != nil && !errors.Is(err, errKeep) {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot update the client registration", "error", err)
	}
}

// register performs dynamic client registration (RFC 7591 section 3). Where the
// server refuses the metadata, it tries the next authentication method, and in
// the end without scopes.
func (p *OAuthProvider) register(ctx context.Context, meta *oauthex.AuthServerMeta, scopes []string) (Registration, error) {
	configured := p.cfg.RegistrationMetadata(p.cfg.CallbackURL)
	request := configured
	request.Scope = strings.Join(union(strings.Fields(configured.Scope), scopes), " ")
	var first error
	for _, method := range p.requestedAuthMethods(meta) {
		request.TokenEndpointAuthMethod = method
		out, err := p.registerOnce(ctx, meta, request)
		if !metadataRefused(err) {
			out.Scope = request.Scope
			return out, err
		}
		first = cmp.Or(first, err)
	}
	if request.Scope == configured.Scope {
		return Registration{}, first
	}
	configured.TokenEndpointAuthMethod = p.requestedAuthMethods(meta)[0]
	out, err := p.registerOnce(ctx, meta, configured)
	if metadataRefused(err) {
		return Registration{}, first
	}
	out.Scope = request.Scope // the server would refuse these scopes again
	return out, err
}

// metadataRefused reports whether another registration request might succeed.
func metadataRefused(err error) bool {
	refused, ok := errors.AsType[*AuthorizationError](err)
	return ok && refused.Code == "invalid_client_metadata"
}

func (p *OAuthProvider) registerOnce(ctx context.Context, meta *oauthex.AuthServerMeta, request oauthex.ClientRegistrationMetadata) (Registration, error) {
	const op = "registering the client"
	body, err := json.Marshal(request)
	if err != nil {
		return Registration{}, &AuthorizationError{Code: "registration_refused", Description: "Config.ClientMetadata cannot be encoded"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, meta.RegistrationEndpoint, bytes.NewReader(body))
	if err != nil {
		return Registration{}, &DiscoveryError{Source: meta.Issuer, Reason: "registration_endpoint is not a URL"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	answer, err := p.doAuth(ctx, op, req)
	if err != nil {
		return Registration{}, err
	}
	if answer.status != http.StatusCreated && answer.status != http.StatusOK {
		return Registration{}, p.registrationRefused(ctx, meta, answer)
	}
	return p.readRegistration(ctx, meta, request, answer)
}

// readRegistration reads a client information response (RFC 7591 section
// 3.2.1).
func (p *OAuthProvider) readRegistration(
	ctx context.Context, meta *oauthex.AuthServerMeta, request oauthex.ClientRegistrationMetadata, answer *authAnswer,
) (Registration, error) {
	r, err := parseDocument(answer.body)
	clientID, secret := r.text("client_id"), r.text("client_secret")
	if err != nil || clientID == "" {
		return Registration{}, &ServerError{Op: "registering the client", Server: answer.server, Reason: "not a registration response"}
	}
	out := Registration{
		Issuer: meta.Issuer, ClientID: clientID, ClientSecret: NewSecret(secret), RedirectURI: p.cfg.CallbackURL,
		TokenEndpointAuthMethod: r.text("token_endpoint_auth_method"), Dynamic: true,
	}
	if expires := r.number("client_secret_expires_at"); secret != "" && expires > 0 {
		out.SecretExpiry = time.Unix(int64(min(expires, maxUnixSeconds)), 0)
	}
	switch {
	case p.policy.TokenEndpointAuthMethod != "":
		out.TokenEndpointAuthMethod = p.policy.TokenEndpointAuthMethod
	case out.TokenEndpointAuthMethod == authMethodPrivateKeyJWT && len(p.cfg.keys) > 0:
	case secret == "":
		out.TokenEndpointAuthMethod = authMethodNone
	case out.TokenEndpointAuthMethod == "":
		out.TokenEndpointAuthMethod = p.chooseAuthMethod(request.TokenEndpointAuthMethod, true, meta)
	}
	if err := checkAuthMethod(out.TokenEndpointAuthMethod); err != nil {
		return Registration{}, &DiscoveryError{Source: meta.Issuer, Reason: "it registered the client with an unsupported token_endpoint_auth_method"}
	}
	p.cfg.Logger.DebugContext(ctx, "mcpoauth: registered a client", "issuer", meta.Issuer, "client_id", out.ClientID, "auth_method", out.TokenEndpointAuthMethod, "scopes", request.Scope)
	return p.withSigningAlg(out, meta)
}

// requestedAuthMethods lists what to ask for in registration: what the policy or
// the configuration says; else the supported ones in a fixed order; else the
// server's own default (RFC 7591 section 2), then every method.
func (p *OAuthProvider) requestedAuthMethods(meta *oauthex.AuthServerMeta) []string {
	if method := cmp.Or(p.policy.TokenEndpointAuthMethod, p.cfg.ClientMetadata.TokenEndpointAuthMethod); method != "" {
		return []string{method}
	}
	var supported []string
	for _, method := range []string{authMethodBasic, authMethodPost, authMethodNone} {
		if slices.Contains(meta.TokenEndpointAuthMethodsSupported, method) {
			supported = append(supported, method)
		}
	}
	if supported == nil {
		return []string{"", authMethodNone, authMethodPost, authMethodBasic}
	}
	return supported
}

// registrationRefused returns the error for a refusal (RFC 7591 section 3.2.2). A
// server that does not let strangers register, or has no such endpoint, needs a
// client that is registered by hand.
func (p *OAuthProvider) registrationRefused(ctx context.Context, meta *oauthex.AuthServerMeta, answer *authAnswer) error {
	refused := &AuthorizationError{Code: "registration_refused", Description: strings.ToLower(http.StatusText(answer.status)), Server: answer.server}
	var e oauthError
	if json.Unmarshal(answer.body, &e) == nil && e.Code != "" {
		refused = e.refusal(answer)
	}
	switch answer.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return p.registrationRequired(ctx, meta, "status", answer.status, "error", refused)
	}
	return refused
}
