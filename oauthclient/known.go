package oauthclient

import (
	"net/url"
	"path"
	"strings"
)

// KnownServers returns the policy that a well-known server needs; the strict
// zero policy for all others. It can be [Shared.PolicyFor], or part of it:
//
//	cfg.PolicyFor = func(serverURL string) oauthclient.ServerPolicy {
//		if serverURL == "https://mcp.example.com/mcp" { // behind Microsoft Entra ID
//			policy := oauthclient.KnownServers("https://login.microsoftonline.com/common/v2.0")
//			policy.Scopes = []string{"api://example/access", "offline_access"}
//			return policy
//		}
//		return oauthclient.KnownServers(serverURL)
//	}
//
// The URL is that of an MCP server or, as most MCP servers do not show which
// product is in front of them, the issuer of its authorization server. What
// each policy is based on, and what else a server needs, is in docs/servers.md.
func KnownServers(serverURL string) ServerPolicy {
	normal, err := NormalizeServerURL(serverURL)
	if err != nil {
		return ServerPolicy{}
	}
	u, _ := url.Parse(normal)
	for _, known := range knownServers() {
		if u.Scheme == "https" && matchHost(known.host, u.Host) && strings.HasPrefix(u.Path+"/", known.path+"/") {
			return known.policy
		}
	}
	return ServerPolicy{}
}

// matchHost reports whether a host matches a pattern, in which a star stands
// for one label.
func matchHost(pattern, host string) bool {
	labels := strings.NewReplacer(".", "/")
	ok, err := path.Match(labels.Replace(pattern), labels.Replace(host))
	return ok && err == nil
}

// knownServer is the policy for the servers at hosts that match a pattern, below
// a path.
type knownServer struct {
	host, path string
	policy     ServerPolicy
}

// knownServers lists the servers that are known to deviate, the more specific path
// first.
func knownServers() []knownServer {
	entra := ServerPolicy{
		SkipResourceParameter: true, AllowUnadvertisedPKCE: true, RefreshScope: true,
		TrustedIssuer: "https://login.microsoftonline.com/{tenantid}/v2.0", // of the tenants common and organizations
	}
	google := ServerPolicy{AuthorizationParams: url.Values{"access_type": {"offline"}, "prompt": {"consent"}}}
	slack := ServerPolicy{TrustedIssuer: "https://slack.com", TokenMember: "authed_user"}
	return []knownServer{
		{"login.microsoftonline.com", "", entra},
		{"api.fabric.microsoft.com", "/v1/mcp", entra},
		{"accounts.google.com", "", google},
		{"*.googleapis.com", "", google},
		{"cognito-idp.*.amazonaws.com", "", ServerPolicy{AllowUnadvertisedPKCE: true, AllowForeignAuthorizationEndpoint: true}},
		{"mcp.slack.com", "", slack},
		{"slack.com", "", slack},
		{"mcp.atlassian.com", "/v1/mcp/authv2", ServerPolicy{TrustedIssuer: "https://auth.atlassian.com"}},
		{"mcp.atlassian.com", "", ServerPolicy{TrustedIssuer: "https://cf.mcp.atlassian.com"}},
		{"gitlab.com", "/api/v4/mcp", ServerPolicy{Scopes: []string{"mcp"}}},
		{"api.salesforce.com", "", ServerPolicy{Scopes: []string{"mcp_api", "refresh_token"}}},
	}
}
