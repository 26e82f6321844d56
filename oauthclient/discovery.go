package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

// discovered is what discovery found out about a protected MCP server.
type discovered struct {
	resource            string // the resource indicator
	resourceMetadataURL string // empty for a server without resource metadata
	scopes              []string
	server              *oauthex.AuthServerMeta
	dpopAlgs            []string // for which the authorization server binds tokens to keys
	// dpopResource and dpopRequired say that the MCP server takes, or takes only,
	// tokens that are bound to a key.
	dpopResource, dpopRequired bool
}

// discover finds the authorization server of the MCP server (MCP 2026-07-28
// authorization, "Authorization Server Discovery").
func (p *OAuthProvider) discover(ctx context.Context, ch challenge) (*discovered, error) {
	if issuer := p.policy.AuthorizationServer; issuer != "" {
		return p.discoverPinned(ctx, issuer)
	}
	resource, err := p.resourceMetadata(ctx, ch.resourceMetadata)
	if err != nil {
		return nil, err
	}
	if resource == nil {
		return p.discoverWithoutResourceMetadata(ctx)
	}
	issuer := p.chooseIssuer(resource.authorizationServers)
	server, algs, err := p.requiredServerMetadata(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return &discovered{
		resource: resource.resource, resourceMetadataURL: resource.source, scopes: resource.scopes, server: server,
		dpopAlgs: algs, dpopResource: resource.dpop, dpopRequired: resource.dpopRequired,
	}, nil
}

// discoverPinned uses the authorization server of the policy.
func (p *OAuthProvider) discoverPinned(ctx context.Context, issuer string) (*discovered, error) {
	server, algs, err := p.requiredServerMetadata(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return &discovered{resource: withoutQuery(p.cfg.ServerURL), server: server, dpopAlgs: algs}, nil
}

// requiredServerMetadata returns the metadata of a server that was named. It is an
// error if there is none.
func (p *OAuthProvider) requiredServerMetadata(ctx context.Context, issuer string) (*oauthex.AuthServerMeta, []string, error) {
	server, algs, err := p.serverMetadata(ctx, issuer)
	if err == nil && server == nil {
		err = &DiscoveryError{Source: issuer, Reason: "no server metadata found (RFC 8414, OpenID Connect Discovery)"}
	}
	return server, algs, err
}

// discoverWithoutResourceMetadata is the fallback of MCP 2025-03-26: the MCP
// server's origin is the authorization server. If there is no metadata there, and
// the policy does not ask for the promise of PKCE, the endpoints are at fixed
// places.
func (p *OAuthProvider) discoverWithoutResourceMetadata(ctx context.Context) (*discovered, error) {
	u, _ := url.Parse(p.cfg.ServerURL) // validated by New
	origin := u.Scheme + "://" + u.Host
	server, algs, err := p.serverMetadata(ctx, origin)
	if err != nil {
		return nil, err
	}
	if server == nil {
		if !p.policy.AllowUnadvertisedPKCE {
			return nil, &DiscoveryError{Source: origin, Reason: "there is no metadata, so the server does not promise PKCE with S256", Policy: "AllowUnadvertisedPKCE"}
		}
		server = &oauthex.AuthServerMeta{
			Issuer:                origin,
			AuthorizationEndpoint: origin + "/authorize",
			TokenEndpoint:         origin + "/token",
			RegistrationEndpoint:  origin + "/register",
		}
		return &discovered{resource: withoutQuery(p.cfg.ServerURL), server: server}, p.checkServerMetadata(server, origin)
	}
	return &discovered{resource: withoutQuery(p.cfg.ServerURL), server: server, dpopAlgs: algs}, nil
}

// chooseIssuer prefers an authorization server for which a client was
// registered by hand, else takes the first.
func (p *OAuthProvider) chooseIssuer(issuers []string) string {
	for _, issuer := range issuers {
		for _, c := range p.cfg.PreregisteredClients {
			if c.Issuer != "" && c.serves(p.cfg.ServerURL, issuer) {
				return issuer
			}
		}
	}
	return issuers[0]
}

// serverMetadata fetches the metadata of an authorization server, nil when it
// has none, and the algorithms of DPoP, which the SDK's type lacks.
func (p *OAuthProvider) serverMetadata(ctx context.Context, issuer string) (meta *oauthex.AuthServerMeta, dpopAlgs []string, err error) {
	sources := serverMetadataURLs(issuer)
	if p.policy.ServerMetadataURL != "" {
		sources = []string{p.policy.ServerMetadataURL}
	}
	for _, source := range sources {
		doc, err := p.fetchMetadata(ctx, source)
		if errors.Is(err, errNoDocument) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		m := serverMeta(doc)
		if !sameIssuer(m.Issuer, issuer) && (p.policy.TrustedIssuer == "" || m.Issuer != p.policy.TrustedIssuer) {
			return nil, nil, &DiscoveryError{Source: source, Reason: "issuer mismatch", Got: m.Issuer, Want: issuer, Policy: "TrustedIssuer"}
		}
		return m, doc.list("dpop_signing_alg_values_supported"), p.checkServerMetadata(m, source)
	}
	return nil, nil, nil
}

// serverMeta reads the members of RFC 8414 section 2 that are used.
func serverMeta(d document) *oauthex.AuthServerMeta {
	return &oauthex.AuthServerMeta{
		Issuer: d.text("issuer"), AuthorizationEndpoint: d.text("authorization_endpoint"), TokenEndpoint: d.text("token_endpoint"),
		RegistrationEndpoint: d.text("registration_endpoint"), RevocationEndpoint: d.text("revocation_endpoint"),
		ScopesSupported: d.scopes("scopes_supported"), CodeChallengeMethodsSupported: d.list("code_challenge_methods_supported"),
		TokenEndpointAuthMethodsSupported:          d.list("token_endpoint_auth_methods_supported"),
		TokenEndpointAuthSigningAlgValuesSupported: d.list("token_endpoint_auth_signing_alg_values_supported"),
		ClientIDMetadataDocumentSupported:          d.flag("client_id_metadata_document_supported"),
		AuthorizationResponseIssParameterSupported: d.flag("authorization_response_iss_parameter_supported"),
	}
}

// checkServerMetadata checks what the flow relies on.
func (p *OAuthProvider) checkServerMetadata(m *oauthex.AuthServerMeta, source string) error {
	for _, endpoint := range []struct {
		name, url string
		optional  bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, !p.grant.needsUser()}, {"token_endpoint", m.TokenEndpoint, false},
		{"registration_endpoint", m.RegistrationEndpoint, true}, {"revocation_endpoint", m.RevocationEndpoint, true},
	} {
		if endpoint.url == "" && endpoint.optional {
			continue
		}
		if !isEndpoint(endpoint.url) {
			return &DiscoveryError{Source: source, Reason: endpoint.name + " is not an https URL"}
		}
	}
	if !p.grant.needsUser() {
		return nil
	}
	if err := netguard.CheckBrowserURL(p.cfg.Transport, m.AuthorizationEndpoint); err != nil {
		return fmt.Errorf("oauthclient: authorization_endpoint of %s: %w", source, err)
	}
	if err := p.checkSite(m.Issuer, m.AuthorizationEndpoint, source, m.AuthorizationResponseIssParameterSupported); err != nil {
		return err
	}
	if p.policy.AllowUnadvertisedPKCE && len(m.CodeChallengeMethodsSupported) == 0 {
		return nil
	}
	if !slices.Contains(m.CodeChallengeMethodsSupported, "S256") {
		return &DiscoveryError{Source: source, Reason: "code_challenge_methods_supported does not list S256", Policy: "AllowUnadvertisedPKCE"}
	}
	return nil
}

// serverMetadataURLs lists the well-known URLs of an issuer in the order of the
// MCP specification: RFC 8414, OpenID Connect with the path inserted, OpenID
// Connect with the path in front.
func serverMetadataURLs(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	urls := []string{
		origin + "/.well-known/oauth-authorization-server" + path,
		origin + "/.well-known/openid-configuration" + path,
	}
	if path != "" {
		urls = append(urls, origin+path+"/.well-known/openid-configuration")
	}
	return urls
}

// isEndpoint reports whether a code, a token or a user may be sent to a URL. It
// must be https, or http on loopback, even if the transport allows more.
func isEndpoint(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && CheckServerURL(raw) == nil && (u.Scheme == "https" || netguard.IsLoopback(u.Hostname()))
}

// errNoDocument says that there is no metadata document at a URL.
var errNoDocument = errors.New("oauthclient: no metadata document")

// fetchMetadata gets a JSON object. It returns errNoDocument for a 4xx, and for an
// answer that is not JSON: many sites answer every path with their front page. JSON
// that is not an object is an error. A server that fails is a [TemporaryError], so
// that an outage is not taken for an absent document.
func (p *OAuthProvider) fetchMetadata(ctx context.Context, source string) (document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, &DiscoveryError{Source: source, Reason: "not a URL"}
	}
	req.Header.Set("Accept", "application/json")
	answer, err := p.doAuth(ctx, "fetching "+source, req)
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, errNoDocument
	}
	doc, err := parseDocument(answer.body)
	if err != nil && isJSON(answer.contentType) {
		return nil, &DiscoveryError{Source: source, Reason: err.Error()}
	}
	if err != nil {
		return nil, errNoDocument
	}
	return doc, nil
}

// isJSON reports whether a content type is JSON. It ignores parameters.
func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	t = strings.TrimSpace(t)
	return t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json")
}

// sameIssuer compares issuers, tolerating one trailing slash: documents differ
// in it, and the metadata was fetched from the same place either way.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }
