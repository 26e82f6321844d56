package oauthclient

// PreregisteredClient is a client that was registered with an authorization
// server by hand.
type PreregisteredClient struct {
	// Issuer is the authorization server's issuer, to which the client is
	// bound: it is never used with another. Required, unless ServerURL is set.
	Issuer string
	// ServerURL binds the client to one MCP server instead, whatever
	// authorization server that one names: the MCP server is then trusted
	// with the client secret. Any spelling of the URL will do.
	ServerURL string
	// ClientID is the client identifier. Required.
	ClientID string
	// ClientSecret is zero for a public client.
	ClientSecret Secret
	// TokenEndpointAuthMethod is "none", "client_secret_basic" or
	// "client_secret_post". Defaults to what the server advertises, or
	// client_secret_basic; "none" without a secret.
	TokenEndpointAuthMethod string
}

// sameServer tells whether two clients are for one server.
func (c PreregisteredClient) sameServer(other PreregisteredClient) bool {
	if c.Issuer == "" || other.Issuer == "" {
		return c.Issuer == other.Issuer && c.ServerURL == other.ServerURL
	}
	return sameIssuer(c.Issuer, other.Issuer)
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
	// Scopes replaces the scope selection, offline_access included.
	Scopes []string
	// TokenEndpointAuthMethod replaces the choice of client authentication.
	TokenEndpointAuthMethod string
	// TokenMember is the member of a token answer that has the user's token
	// answer in it, where it has one (Slack's "authed_user").
	TokenMember string
	// ForceAuthorization authorizes at connect, for servers that accept
	// anonymous connections and ask for a token only later.
	ForceAuthorization bool
}
