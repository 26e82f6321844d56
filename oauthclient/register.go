package oauthclient

import (
	"bytes"
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

// resolveRegistration finds the client to use at an authorization server, in
// the order of MCP 2026-07-28: pre-registered, Client ID Metadata Document,
// dynamic registration.
func (p *OAuthProvider) resolveRegistration(ctx context.Context, meta *oauthex.AuthServerMeta, fresh bool) (Registration, error) {
	for _, c := range p.cfg.PreregisteredClients {
		if c.Issuer != "" && sameIssuer(c.Issuer, meta.Issuer) || c.Issuer == "" && c.ServerURL == p.cfg.ServerURL {
			return Registration{
				Issuer: meta.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURI: p.cfg.CallbackURL,
				TokenEndpointAuthMethod: p.chooseAuthMethod(c.TokenEndpointAuthMethod, !c.ClientSecret.IsZero(), meta),
			}, nil
		}
	}
	if p.cfg.ClientMetadataURL != "" && meta.ClientIDMetadataDocumentSupported {
		return Registration{
			Issuer: meta.Issuer, ClientID: p.cfg.ClientMetadataURL, RedirectURI: p.cfg.CallbackURL, TokenEndpointAuthMethod: authMethodNone,
		}, nil
	}
	if meta.RegistrationEndpoint == "" || p.cfg.DisableDynamicRegistration {
		return Registration{}, &RegistrationRequiredError{Issuer: meta.Issuer, RedirectURI: p.cfg.CallbackURL}
	}
	return p.dynamicRegistration(ctx, meta, fresh)
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

// dynamicRegistration returns the shared registration, and registers when
// there is none that can be used. The second result of one registration is
// that every other session and replica uses it too.
func (p *OAuthProvider) dynamicRegistration(ctx context.Context, meta *oauthex.AuthServerMeta, fresh bool) (Registration, error) {
	key := p.registrationKey(meta.Issuer)
	current, err := p.cfg.Registrations.Load(ctx, key)
	if err != nil {
		return Registration{}, storageError(ctx, err)
	}
	if !fresh && p.registrationUsable(current) && !current.UnansweredSince.IsZero() {
		return current, nil
	}
	avoid := current.ClientID
	var result Registration
	err = p.cfg.Registrations.Update(ctx, key, func(r *Registration) error {
		if p.registrationUsable(*r) && !(fresh && r.ClientID == avoid) {
			result = *r
			if !r.UnansweredSince.IsZero() {
				return errKeep
			}
			r.UnansweredSince = p.cfg.Now()
			return nil
		}
		registered, err := p.register(ctx, meta)
		if err != nil {
			return err
		}
		*r, result = registered, registered
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		return Registration{}, storageError(ctx, err)
	}
	return result, nil
}

// registrationUsable tells whether a stored registration can be presented to a
// user: there is one, its secret lives on for longer than the attempt, and no
// user has been lost on it for the length of an attempt.
func (p *OAuthProvider) registrationUsable(r Registration) bool {
	now := p.cfg.Now()
	if r.ClientID == "" {
		return false
	}
	if !r.SecretExpiry.IsZero() && !now.Add(p.cfg.AttemptTTL).Before(r.SecretExpiry) {
		return false
	}
	return r.UnansweredSince.IsZero() || now.Before(r.UnansweredSince.Add(p.cfg.AttemptTTL))
}

// registrationAnswered notes that the server sent a user back: it knows the
// client. Losing this note costs a registration at worst.
func (p *OAuthProvider) registrationAnswered(ctx context.Context, used Registration) {
	if !used.Dynamic {
		return
	}
	key := p.registrationKey(used.Issuer)
	if current, err := p.cfg.Registrations.Load(ctx, key); err == nil && current.UnansweredSince.IsZero() {
		return
	}
	p.updateRegistration(ctx, key, func(r *Registration) error {
		if r.ClientID != used.ClientID || r.UnansweredSince.IsZero() {
			return errKeep
		}
		r.UnansweredSince = time.Time{}
		return nil
	})
}

// dropRegistration forgets a client that the server no longer knows
// (invalid_client), unless it was replaced already.
func (p *OAuthProvider) dropRegistration(ctx context.Context, dead Registration) {
	if !dead.Dynamic {
		return
	}
	p.updateRegistration(ctx, p.registrationKey(dead.Issuer), func(r *Registration) error {
		if r.ClientID != dead.ClientID {
			return errKeep
		}
		*r = Registration{}
		return nil
	})
}

func (p *OAuthProvider) updateRegistration(ctx context.Context, key RegistrationKey, fn func(*Registration) error) {
	if err := p.cfg.Registrations.Update(ctx, key, fn); err != nil && !errors.Is(err, errKeep) {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot update the client registration", "error", err)
	}
}

// register performs dynamic client registration (RFC 7591 section 3).
func (p *OAuthProvider) register(ctx context.Context, meta *oauthex.AuthServerMeta) (Registration, error) {
	const op = "registering the client"
	request := p.cfg.clientMetadata(p.cfg.CallbackURL)
	if request.TokenEndpointAuthMethod == "" {
		request.TokenEndpointAuthMethod = p.requestedAuthMethod(meta)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return Registration{}, &AuthorizationError{Code: "invalid_client_metadata", Description: "Config.ClientMetadata cannot be encoded"}
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
		return Registration{}, registrationRefused(answer)
	}
	var r struct {
		ClientID                string        `json:"client_id"`
		ClientSecret            string        `json:"client_secret"`
		ClientSecretExpiresAt   lenientNumber `json:"client_secret_expires_at"`
		TokenEndpointAuthMethod string        `json:"token_endpoint_auth_method"`
	}
	if err := json.Unmarshal(answer.body, &r); err != nil || r.ClientID == "" {
		return Registration{}, &ServerError{Op: op, Reason: "it is no registration response"}
	}
	out := Registration{
		Issuer: meta.Issuer, ClientID: r.ClientID, ClientSecret: NewSecret(r.ClientSecret), RedirectURI: p.cfg.CallbackURL,
		TokenEndpointAuthMethod: r.TokenEndpointAuthMethod, Dynamic: true,
	}
	if r.ClientSecret != "" && r.ClientSecretExpiresAt > 0 {
		out.SecretExpiry = time.Unix(int64(min(r.ClientSecretExpiresAt, maxUnixSeconds)), 0)
	}
	switch {
	case p.policy.TokenEndpointAuthMethod != "":
		out.TokenEndpointAuthMethod = p.policy.TokenEndpointAuthMethod
	case r.ClientSecret == "":
		out.TokenEndpointAuthMethod = authMethodNone
	case out.TokenEndpointAuthMethod == "":
		out.TokenEndpointAuthMethod = p.chooseAuthMethod(request.TokenEndpointAuthMethod, true, meta)
	}
	if err := checkAuthMethod(out.TokenEndpointAuthMethod); err != nil {
		return Registration{}, &DiscoveryError{Source: meta.Issuer, Reason: "it registered the client with an unsupported token_endpoint_auth_method"}
	}
	p.cfg.Logger.DebugContext(ctx, "mcpoauth: registered a client", "issuer", meta.Issuer)
	return out, nil
}

// requestedAuthMethod picks what to ask for in registration: what the policy
// says, else the first supported one of a fixed order, else the server's own
// default (RFC 7591 section 2).
func (p *OAuthProvider) requestedAuthMethod(meta *oauthex.AuthServerMeta) string {
	if p.policy.TokenEndpointAuthMethod != "" {
		return p.policy.TokenEndpointAuthMethod
	}
	for _, method := range []string{authMethodBasic, authMethodPost, authMethodNone} {
		if slices.Contains(meta.TokenEndpointAuthMethodsSupported, method) {
			return method
		}
	}
	return ""
}

// registrationRefused is the error for RFC 7591 section 3.2.2.
func registrationRefused(answer *authAnswer) error {
	var e oauthError
	if json.Unmarshal(answer.body, &e) != nil || e.Code == "" {
		return &AuthorizationError{Code: "registration_refused", Description: strings.ToLower(http.StatusText(answer.status))}
	}
	return e.authorizationError()
}
