package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// resourceMetadata is the protected resource metadata of the MCP server.
type resourceMetadata struct {
	resource             string
	authorizationServers []string // at least one
	scopes               []string
	source               string // the URL of the document
	dpop, dpopRequired   bool   // takes, or takes only, tokens that are bound to a key
}

// resourceMetadata fetches the protected resource metadata (RFC 9728) from the
// challenge's URL, the well-known URL of the server's path, or that of its
// root. It returns nil when there is none and none was announced. A document
// that was found but is invalid is an error: skipping it could lead to another
// authorization server. An announced URL without a document is skipped: the
// well-known URLs belong to the same server.
func (p *OAuthProvider) resourceMetadata(ctx context.Context, announced string) (*resourceMetadata, error) {
	urls := resourceMetadataURLs(p.cfg.ServerURL)
	if isEndpoint(announced) {
		urls = append([]string{announced}, slices.DeleteFunc(urls, func(u string) bool { return u == announced })...)
	}
	for _, source := range urls {
		doc, err := p.fetchMetadata(ctx, source)
		if errors.Is(err, errNoDocument) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return p.readResource(doc, source)
	}
	if announced != "" {
		return nil, &DiscoveryError{Source: withoutQuery(p.cfg.ServerURL), Reason: "the resource_metadata URL of its challenge leads to no document, nor do the well-known URLs"}
	}
	return nil, nil
}

// readResource reads and checks the members of RFC 9728 section 2 that are used.
func (p *OAuthProvider) readResource(doc document, source string) (*resourceMetadata, error) {
	resource := doc.text("resource")
	if err := p.checkResource(resource, source); err != nil {
		return nil, err
	}
	m := &resourceMetadata{resource: withoutQuery(resource), scopes: doc.scopes("scopes_supported"), source: source}
	m.dpopRequired = doc.flag("dpop_bound_access_tokens_required")
	m.dpop = m.dpopRequired || slices.Contains(doc.list("dpop_signing_alg_values_supported"), dpopAlg)
	for _, issuer := range doc.list("authorization_servers") {
		if CheckServerURL(issuer) == nil {
			m.authorizationServers = append(m.authorizationServers, issuer)
		}
	}
	if len(m.authorizationServers) == 0 {
		return nil, &DiscoveryError{Source: source, Reason: "authorization_servers has no http(s) URL"}
	}
	return m, nil
}

// resourceMetadataURLs lists the well-known URLs, without duplicates.
func resourceMetadataURLs(serverURL string) []string {
	u, _ := url.Parse(serverURL) // validated by New
	return slices.Compact([]string{wellKnownResource(u), wellKnownResource(&url.URL{Scheme: u.Scheme, Host: u.Host})})
}

// wellKnownResource is where the metadata of a resource is (RFC 9728 section
// 3.1).
func wellKnownResource(u *url.URL) string {
	return u.Scheme + "://" + u.Host + "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")
}

// checkResource checks the resource that the document at source announces (RFC
// 9728 section 3.3): the server's URL, or a parent path of it where source is
// that parent's own well-known URL. Any other document could be the work of one
// tenant, and would get a token for the whole origin.
func (p *OAuthProvider) checkResource(resource, source string) error {
	mismatch := &DiscoveryError{Source: source, Reason: "resource mismatch", Got: resource, Want: withoutQuery(p.cfg.ServerURL)}
	normal, err := NormalizeServerURL(resource)
	if err != nil {
		return mismatch
	}
	r, _ := url.Parse(normal)
	s, _ := url.Parse(p.cfg.ServerURL) // validated by New
	if r.Scheme != s.Scheme || r.Host != s.Host || r.RawQuery != "" && r.RawQuery != s.RawQuery {
		return mismatch
	}
	parent, path := strings.TrimSuffix(r.EscapedPath(), "/"), strings.TrimSuffix(s.EscapedPath(), "/")
	if parent == path {
		return nil
	}
	if !strings.HasPrefix(path, parent+"/") {
		return mismatch
	}
	if from, _ := NormalizeServerURL(source); from == wellKnownResource(r) || p.policy.AllowParentResource {
		return nil
	}
	mismatch.Policy = "AllowParentResource"
	return mismatch
}

// withoutQuery leaves out what may hold an API key.
func withoutQuery(raw string) string {
	before, _, _ := strings.Cut(raw, "?")
	return before
}
