package oauthclient

// preregistered returns the client that was registered by hand for this server
// at issuer. Of several, the one bound to this MCP server comes first.
func (p *OAuthProvider) preregistered(issuer string) (client PreregisteredClient, found bool) {
	for _, c := range p.cfg.PreregisteredClients {
		if c.serves(p.cfg.ServerURL, issuer) && (!found || c.precedes(client)) {
			client, found = c, true
		}
	}
	return client, found
}

// serves reports whether c is for an MCP server and issuer: what c names of the
// two must match.
func (c PreregisteredClient) serves(serverURL, issuer string) bool {
	return (c.ServerURL == "" || c.ServerURL == serverURL) && // both as NormalizeServerURL spells them
		(c.Issuer == "" || sameIssuer(c.Issuer, issuer))
}

// precedes reports whether c is bound more narrowly than other, which serves the
// same server.
func (c PreregisteredClient) precedes(other PreregisteredClient) bool {
	if (c.ServerURL == "") != (other.ServerURL == "") {
		return c.ServerURL != ""
	}
	return c.Issuer != "" && other.Issuer == ""
}

// sameBinding reports whether two clients are for the same server and issuer.
func (c PreregisteredClient) sameBinding(other PreregisteredClient) bool {
	server, _ := NormalizeServerURL(c.ServerURL) // "" for none
	otherServer, _ := NormalizeServerURL(other.ServerURL)
	return server == otherServer && sameIssuer(c.Issuer, other.Issuer)
}

// withSecret returns a registration with which a request can be authenticated.
// The secret of a pre-registered client is stored nowhere but in the
// configuration, so a host that changes it there has changed it everywhere.
func (p *OAuthProvider) withSecret(r Registration) Registration {
	if !r.Preregistered {
		return r
	}
	r.ClientSecret = Secret{}
	var method string
	for _, c := range p.cfg.PreregisteredClients {
		if c.ClientID == r.ClientID && c.serves(p.cfg.ServerURL, r.Issuer) {
			r.ClientSecret, method = c.ClientSecret, c.TokenEndpointAuthMethod
			break
		}
	}
	switch {
	case p.policy.TokenEndpointAuthMethod != "":
		r.TokenEndpointAuthMethod = p.policy.TokenEndpointAuthMethod
	case method == authMethodPrivateKeyJWT:
		r.TokenEndpointAuthMethod = method
	case r.ClientSecret.IsZero():
		r.TokenEndpointAuthMethod = authMethodNone
	case method != "":
		r.TokenEndpointAuthMethod = method
	case r.TokenEndpointAuthMethod == authMethodNone: // it had no secret then
		r.TokenEndpointAuthMethod = authMethodBasic
	}
	return r
}
