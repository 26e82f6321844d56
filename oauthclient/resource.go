package oauthclient

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// resourceMetadata fetches the protected resource metadata (RFC 9728) from the
// challenge's URL, the well-known URL of the server's path, or that of its
// root. It returns nil when there is none. A document that was found but is
// invalid is an error: skipping it could lead to another authorization server.
func (p *OAuthProvider) resourceMetadata(ctx context.Context, challenged string) (*oauthex.ProtectedResourceMetadata, string, error) {
	for _, source := range resourceMetadataURLs(challenged, p.cfg.ServerURL) {
		var m oauthex.ProtectedResourceMetadata
		found, err := p.fetchMetadata(ctx, source, source == challenged, &m)
		if err != nil {
			return nil, "", err
		}
		if !found {
			continue
		}
		if err := p.checkResource(m.Resource, source); err != nil {
			return nil, "", err
		}
		m.Resource = withoutQuery(m.Resource)
		if len(m.AuthorizationServers) == 0 {
			return nil, "", &DiscoveryError{Source: source, Reason: "authorization_servers is empty"}
		}
		for _, issuer := range m.AuthorizationServers {
			if CheckServerURL(issuer) != nil {
				return nil, "", &DiscoveryError{Source: source, Reason: "authorization_servers holds something that is no http(s) URL"}
			}
		}
		return &m, source, nil
	}
	return nil, "", nil
}

// resourceMetadataURLs lists where to look, without duplicates.
func resourceMetadataURLs(challenged, serverURL string) []string {
	u, _ := url.Parse(serverURL) // validated by New
	root := &url.URL{Scheme: u.Scheme, Host: u.Host}
	var urls []string
	for _, candidate := range []string{challenged, wellKnownResource(u), wellKnownResource(root)} {
		if candidate != "" && !slices.Contains(urls, candidate) {
			urls = append(urls, candidate)
		}
	}
	return urls
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
