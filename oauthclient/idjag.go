package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Token exchange (RFC 8693) as the Identity Assertion Authorization Grant asks
// for it (draft-ietf-oauth-identity-assertion-authz-grant section 4).
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
	tokenTypeIDJAG     = "urn:ietf:params:oauth:token-type:id-jag"
)

// EnterpriseManaged is enterprise-managed authorization: the identity provider
// that the user has signed in with decides which MCP servers the user may use.
// The user's ID token is exchanged there for an assertion (ID-JAG), and that for
// a token at the authorization server of the MCP server. Nothing but the access
// token is stored.
type EnterpriseManaged struct {
	// TokenEndpoint is the identity provider's. Required.
	TokenEndpoint string
	// Client is the host's client at the identity provider: ClientID,
	// ClientSecret and TokenEndpointAuthMethod; for private_key_jwt Issuer, too.
	// ClientID is required.
	Client PreregisteredClient
	// IDToken returns the present ID token of a user: owner is [Config.Owner],
	// the owner of the session. Its error is returned as an [*AssertionError].
	// Required.
	IDToken func(ctx context.Context, owner string) (Secret, error)
}

func (g EnterpriseManaged) validate() error {
	var errs []error
	if !isEndpoint(g.TokenEndpoint) {
		errs = append(errs, errors.New("EnterpriseManaged.TokenEndpoint must be an https URL"))
	}
	if g.Client.ClientID == "" {
		errs = append(errs, errors.New("EnterpriseManaged.Client.ClientID is required"))
	}
	if err := checkAuthMethod(g.Client.TokenEndpointAuthMethod); err != nil {
		errs = append(errs, err)
	}
	if g.IDToken == nil {
		errs = append(errs, errors.New("EnterpriseManaged.IDToken is required"))
	}
	return errors.Join(errs...)
}

func (g EnterpriseManaged) form(ctx context.Context, p *OAuthProvider, c *Credentials) (url.Values, error) {
	idToken, err := assertionOf(ctx, p, func(ctx context.Context) (Secret, error) { return g.IDToken(ctx, p.cfg.Owner) })
	if err != nil {
		return nil, err
	}
	assertion, err := g.exchange(ctx, p, c, idToken)
	if err != nil {
		return nil, err
	}
	return url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion.Reveal()}}, nil
}

// client is the host as the identity provider knows it.
func (g EnterpriseManaged) client() Registration {
	r := Registration{Issuer: g.Client.Issuer, ClientID: g.Client.ClientID, ClientSecret: g.Client.ClientSecret, TokenEndpointAuthMethod: g.Client.TokenEndpointAuthMethod}
	if r.TokenEndpointAuthMethod == "" {
		r.TokenEndpointAuthMethod = authMethodBasic
		if r.ClientSecret.IsZero() {
			r.TokenEndpointAuthMethod = authMethodNone
		}
	}
	return r
}

// exchange gets an ID-JAG for the authorization server and resource of c.
func (g EnterpriseManaged) exchange(ctx context.Context, p *OAuthProvider, c *Credentials, idToken Secret) (Secret, error) {
	const op = "exchanging the ID token"
	form := url.Values{
		"grant_type": {grantTokenExchange}, "requested_token_type": {tokenTypeIDJAG},
		"subject_token": {idToken.Reveal()}, "subject_token_type": {tokenTypeIDToken},
		"audience": {c.Issuer}, "resource": {resourceOf(p, c)},
	}
	if len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	client := g.client()
	answer, err := p.postForm(ctx, op, g.TokenEndpoint, client, nil, form)
	if err != nil {
		return Secret{}, err
	}
	var refused oauthError
	if json.Unmarshal(answer.body, &refused) == nil && refused.Code != "" {
		return Secret{}, refused.refusal(answer, secretsOf(client, form)...)
	}
	doc, err := parseDocument(answer.body)
	switch {
	case answer.status != http.StatusOK:
		return Secret{}, &ServerError{Op: op, Server: answer.server, StatusCode: answer.status}
	case err != nil || doc.text("access_token") == "" || doc.text("issued_token_type") != tokenTypeIDJAG:
		return Secret{}, &ServerError{Op: op, Server: answer.server, Reason: "it is no ID-JAG"}
	}
	return NewSecret(doc.text("access_token")), nil
}

// resourceOf names the MCP server, also where its own authorization server is
// not told.
func resourceOf(p *OAuthProvider, c *Credentials) string {
	if c.Resource != "" {
		return c.Resource
	}
	return withoutQuery(p.cfg.ServerURL)
}
