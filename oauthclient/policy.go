package oauthclient

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
)

// PreregisteredClient is a client that was registered with an authorization
// server by hand.
type PreregisteredClient struct {
	// Issuer binds the client to an authorization server: it is never used
	// with another. Required, unless ServerURL is set.
	Issuer string
	// ServerURL binds the client to one MCP server, in any spelling of its URL.
	// Without Issuer, the client secret is sent to any authorization server that
	// this MCP server names. With both, both must match:
	// clients for several MCP servers may be registered at one authorization
	// server.
	ServerURL string
	// ClientID is the client identifier. Required.
	ClientID string
	// ClientSecret is zero for a public client. It is read at each use and
	// stored nowhere.
	ClientSecret Secret
	// TokenEndpointAuthMethod is "none", "client_secret_basic",
	// "client_secret_post" or, with [Shared.ClientKeys], "private_key_jwt".
	// Defaults to what the server advertises of the methods with a secret, or
	// client_secret_basic; "none" without a secret.
	TokenEndpointAuthMethod string
}

// ServerPolicy holds the switches for a server that deviates. The zero value
// is strict.
type ServerPolicy struct {
	// SkipResourceParameter leaves the RFC 8707 resource parameter out, for
	// servers that reject it (Microsoft Entra ID). A token is then not bound
	// to the MCP server.
	SkipResourceParameter bool
	// AllowParentResource accepts resource metadata for a parent path of the
	// server's URL although the document is not at that parent's own
	// well-known URL. The token is then good for everything below that path:
	// other tenants of the origin are trusted like the server.
	AllowParentResource bool
	// AllowUnadvertisedPKCE accepts server metadata without
	// code_challenge_methods_supported, and servers of MCP 2025-03-26 without
	// any metadata. S256 is still sent; a server that ignores it does not
	// notice a stolen code.
	AllowUnadvertisedPKCE bool
	// AllowForeignAuthorizationEndpoint accepts an authorization endpoint on
	// another site than the issuer's, of a server that promises no iss (RFC
	// 9207). The MCP server is then trusted not to name an authorization server
	// that takes the code a user approved at another (a mix-up).
	AllowForeignAuthorizationEndpoint bool
	// TrustedIssuer is accepted as the issuer in the server metadata,
	// although the resource metadata names the server differently. The MCP
	// server is then trusted not to name a server that only claims to be it:
	// it would get the secret of a client preregistered for that issuer.
	TrustedIssuer string
	// AuthorizationServer is the issuer of the authorization server to use,
	// in place of the MCP server's metadata, which is then not read.
	AuthorizationServer string
	// ServerMetadataURL is where the metadata of the authorization server is,
	// in place of the well-known URLs of its issuer.
	ServerMetadataURL string
	// Scopes replaces the scope selection, offline_access included.
	Scopes []string
	// RefreshScope sends the granted scopes at a refresh as well (Microsoft
	// Entra ID).
	RefreshScope bool
	// AuthorizationParams and TokenParams are parameters to send beside, or in
	// place of, those of the authorization request and of the token request,
	// refresh included, such as audience, access_type or prompt. A parameter
	// with an empty value is removed. What ties a response to its request
	// cannot be replaced: state, redirect_uri, client_id, PKCE, codes, tokens.
	AuthorizationParams, TokenParams url.Values
	// TokenEndpointAuthMethod replaces the choice of client authentication.
	TokenEndpointAuthMethod string
	// ClientAssertionAudience is the audience of private_key_jwt assertions, for
	// servers that demand their token endpoint. Defaults to the issuer.
	ClientAssertionAudience string
	// TokenMember is the member of a token answer that has the user's token
	// answer in it, where it has one (Slack's "authed_user").
	TokenMember string
	// SkipDPoP asks for bearer tokens although the server takes tokens that are
	// bound to a key (RFC 9449): a stolen token can then be used. For
	// hosts that hand tokens to another MCP library. Tokens from before stay bound
	// until the user authorizes again.
	SkipDPoP bool
	// ForceAuthorization authorizes at connect, for servers that accept
	// anonymous connections and ask for a token only later.
	ForceAuthorization bool
}

// fixedParams are the parameters that no policy replaces.
var fixedParams = []string{
	"assertion", "client_assertion", "client_assertion_type", "client_id", "client_secret", "code", "code_challenge", "code_challenge_method", "code_verifier",
	"grant_type", "redirect_uri", "refresh_token", "request", "request_uri", "response_type", "state",
}

// validate returns all mistakes of a policy.
func (p ServerPolicy) validate() error {
	var errs []error
	bad := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	bad("TokenEndpointAuthMethod", checkAuthMethod(p.TokenEndpointAuthMethod))
	if p.AuthorizationServer != "" {
		bad("AuthorizationServer", CheckServerURL(p.AuthorizationServer))
	}
	if p.ServerMetadataURL != "" && !isEndpoint(p.ServerMetadataURL) {
		bad("ServerMetadataURL", errors.New("must be an https URL"))
	}
	fixed := func(field string, params url.Values) {
		for _, name := range slices.Sorted(maps.Keys(params)) {
			if slices.Contains(fixedParams, name) {
				bad(field, fmt.Errorf("%s cannot be replaced", name))
			}
		}
	}
	fixed("AuthorizationParams", p.AuthorizationParams)
	fixed("TokenParams", p.TokenParams)
	return errors.Join(errs...)
}

// clone returns a copy that shares nothing mutable.
func (p ServerPolicy) clone() ServerPolicy {
	p.Scopes = slices.Clone(p.Scopes)
	p.AuthorizationParams, p.TokenParams = cloneParams(p.AuthorizationParams), cloneParams(p.TokenParams)
	return p
}

func cloneParams(params url.Values) url.Values {
	out := maps.Clone(params)
	for name, values := range out {
		out[name] = slices.Clone(values)
	}
	return out
}

// applyParams puts a policy's parameters into a request; one without a value
// comes out.
func applyParams(request, params url.Values) {
	for name, values := range params {
		if len(values) == 0 || slices.Equal(values, []string{""}) {
			request.Del(name)
		} else {
			request[name] = values
		}
	}
}
