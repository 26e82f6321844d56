package oauthclient

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

// checkSite refuses an authorization endpoint on another site than the issuer's
// (a mix-up): an attacker's metadata that names an honest server's endpoint and
// the attacker's own token endpoint would get the code that the user approved
// at the honest server. A server that promises iss is safe from that, because
// the response then shows which server the user was at. So is an endpoint on
// loopback, where no user approves anything of value.
func (p *OAuthProvider) checkSite(issuer, endpoint, source string, promisesIss bool) error {
	i, errI := url.Parse(issuer)
	e, errE := url.Parse(endpoint)
	if promisesIss || p.policy.AllowForeignAuthorizationEndpoint || errI == nil && errE == nil && (netguard.IsLoopback(e.Hostname()) || sameSite(i.Hostname(), e.Hostname())) {
		return nil
	}
	return &DiscoveryError{
		Source: source, Reason: "authorization_endpoint is on another site than the issuer, and responses have no iss",
		Got: endpoint, Want: issuer, Policy: "AllowForeignAuthorizationEndpoint",
	}
}

// sameSite reports whether two hosts belong to one owner: they are equal, or
// share the domain that can be registered (the public suffix and one label).
func sameSite(a, b string) bool {
	a, b = strings.TrimSuffix(strings.ToLower(a), "."), strings.TrimSuffix(strings.ToLower(b), ".")
	if a == b {
		return a != ""
	}
	for _, host := range []string{a, b} {
		if _, err := netip.ParseAddr(host); err == nil {
			return false
		}
	}
	siteA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	siteB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && siteA == siteB
}
