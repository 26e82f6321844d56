package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Grant is a way to tokens without a user's browser: [ClientCredentials],
// [JWTBearer] or [EnterpriseManaged]. Such a connection needs no CallbackURL and
// never returns [*AuthorizationRequiredError]: where a user would be asked, the
// grant runs again, and a refusal is an [*AuthorizationError]. No refresh token
// is kept. The client must be a preregistered one, or that of a Client ID
// Metadata Document.
type Grant interface {
	// form returns the token request for c, whose registration, resource and
	// scopes are set.
	form(ctx context.Context, p *OAuthProvider, c *Credentials) (url.Values, error)
	validate() error
}

// grant is how a provider gets tokens.
type grant interface {
	// obtain gets tokens, or returns why there are none, such as that a user
	// must authorize. Nil means that the credentials hold a new token.
	obtain(ctx context.Context, p *OAuthProvider, ch challenge) error
	// renewable reports whether renew can be tried.
	renewable(c Credentials) bool
	// renew sends the request that replaces the access token of c.
	renew(ctx context.Context, p *OAuthProvider, c *Credentials) (*tokenResponse, error)
	// needsUser reports whether obtain sends a user to the browser.
	needsUser() bool
}

// grantFor returns the grant of a server.
func (s Shared) grantFor(serverURL string) grant {
	chosen := s.Grant
	if s.GrantFor != nil {
		chosen = s.GrantFor(serverURL)
	}
	if chosen == nil {
		return browserGrant{}
	}
	return silentGrant{chosen}
}

// NeedsUser reports whether connections to a server are authorized by a user in
// the browser, and so need a callback URL.
func (s Shared) NeedsUser(serverURL string) bool { return s.grantFor(serverURL).needsUser() }

// browserGrant is the authorization code grant with refresh tokens.
type browserGrant struct{}

func (browserGrant) obtain(ctx context.Context, p *OAuthProvider, ch challenge) error {
	return p.authorize(ctx, ch)
}

func (browserGrant) renewable(c Credentials) bool { return !c.RefreshToken.IsZero() }

func (browserGrant) needsUser() bool { return true }

// renew sends the refresh_token grant (RFC 6749 section 6) with the resource
// (RFC 8707 section 2.2).
func (browserGrant) renew(ctx context.Context, p *OAuthProvider, c *Credentials) (*tokenResponse, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.RefreshToken.Reveal()}}
	if c.Resource != "" {
		form.Set("resource", c.Resource)
	}
	if p.policy.RefreshScope && len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	return p.tokenRequest(ctx, "refreshing the access token", c.TokenEndpoint, c.Registration, c.DPoPKey, form)
}

// silentGrant runs a [Grant] whenever a token is needed.
type silentGrant struct{ Grant }

func (silentGrant) renewable(c Credentials) bool { return c.Issuer != "" }

func (silentGrant) needsUser() bool { return false }

func (g silentGrant) renew(ctx context.Context, p *OAuthProvider, c *Credentials) (*tokenResponse, error) {
	form, err := g.form(ctx, p, c)
	if err != nil {
		return nil, err
	}
	if c.Resource != "" {
		form.Set("resource", c.Resource)
	}
	if len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	token, err := p.tokenRequest(ctx, "getting an access token", c.TokenEndpoint, c.Registration, c.DPoPKey, form)
	if err != nil {
		return nil, err
	}
	token.refreshToken = Secret{} // the grant itself is as good
	return token, nil
}

// obtain runs the grant once for all concurrent callers, unless the MCP server
// or the authorization server has just said that it would be in vain.
func (g silentGrant) obtain(ctx context.Context, p *OAuthProvider, ch challenge) error {
	creds, err := p.load(ctx)
	switch {
	case err != nil:
		return err
	case ch.reason == ReasonTokenRejected && !(creds.TokenType == tokenTypeDPoP && ch.wantsBearer()):
		return &TokenRejectedError{Resource: creds.Resource, Description: ch.description}
	case creds.answers.refusing(p.cfg.Now()):
		return &AuthorizationError{Code: creds.answers.Refusal}
	}
	_, err = p.detached(ctx, "getting an access token", strings.Join(ch.scopes, " "), 6, func(ctx context.Context) (any, error) {
		next, err := g.prepare(ctx, p, ch)
		if err != nil {
			return nil, err
		}
		return nil, g.obtainOnce(ctx, p, creds, next)
	})
	return err
}

// prepare discovers where to get a token, and as which client.
func (g silentGrant) prepare(ctx context.Context, p *OAuthProvider, ch challenge) (Credentials, error) {
	creds, err := p.load(ctx)
	if err != nil {
		return Credentials{}, err
	}
	found, err := p.discover(ctx, ch)
	if err != nil {
		return Credentials{}, err
	}
	scopes := p.selectScopes(ch, found, creds)
	registration, err := p.resolveRegistration(ctx, found.server, scopes, false)
	if err != nil {
		return Credentials{}, err
	}
	key, err := p.keyFor(ch, found, creds)
	if err != nil {
		return Credentials{}, err
	}
	next := Credentials{
		DPoPKey: key, Issuer: found.server.Issuer, TokenEndpoint: found.server.TokenEndpoint, RevocationEndpoint: found.server.RevocationEndpoint,
		ResourceMetadataURL: found.resourceMetadataURL, Registration: registration, Scopes: scopes, answers: creds.answers,
	}
	if !p.policy.SkipResourceParameter {
		next.Resource = found.resource
	}
	if ch.errorCode == "insufficient_scope" {
		next.StepUp = union(creds.StepUp, stepUpMarks(ch.scopes))
	}
	return next, nil
}

// obtainOnce runs the grant for next, alone among all processes, unless another
// one has replaced the token of stale already.
func (g silentGrant) obtainOnce(ctx context.Context, p *OAuthProvider, stale, next Credentials) error {
	var failure error
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		if p.isDisconnected() {
			return ErrNotConnected
		}
		if !c.AccessToken.IsZero() && !c.AccessToken.Equal(stale.AccessToken) {
			return errKeep
		}
		if c.answers.refusing(p.cfg.Now()) {
			failure = &AuthorizationError{Code: c.answers.Refusal}
			return errKeep
		}
		next.Connection = c.Connection
		if failure = g.run(context.WithoutCancel(ctx), p, &next); failure == nil {
			*c = next
			return nil
		}
		if refusalCode(failure) == "" {
			return failure
		}
		if c.AccessToken.IsZero() {
			*c = next // so that all replicas know of the refusal
		}
		_ = p.noteFailure(ctx, c, failure, false)
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		return storageError(ctx, err)
	}
	return failure
}

// run gets a token and puts it into c.
func (g silentGrant) run(ctx context.Context, p *OAuthProvider, c *Credentials) error {
	token, err := g.renew(ctx, p, c)
	if err != nil {
		return err
	}
	token.apply(c, p.cfg.Now(), p.cfg.RefreshAhead, c.Scopes)
	c.answers.issued(p.cfg.Now(), false)
	return nil
}

// ClientCredentials is the client credentials grant (RFC 6749 section 4.4): the
// host acts for itself. The client authenticates with a secret or with
// private_key_jwt.
type ClientCredentials struct{}

func (ClientCredentials) validate() error { return nil }

func (ClientCredentials) form(context.Context, *OAuthProvider, *Credentials) (url.Values, error) {
	return url.Values{"grant_type": {"client_credentials"}}, nil
}

// grantJWTBearer is the grant type of RFC 7523 section 2.1.
const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// JWTBearer is the JWT bearer grant (RFC 7523 section 2.1) with an assertion of
// the host's platform: workload identity federation.
type JWTBearer struct {
	// Assertion returns a JWT for the authorization server with this issuer. It
	// is called whenever a token is needed, and the JWT is stored nowhere. Its
	// error is returned as an [*AssertionError]. Required.
	Assertion func(ctx context.Context, issuer string) (Secret, error)
}

func (g JWTBearer) validate() error {
	if g.Assertion == nil {
		return errors.New("JWTBearer.Assertion is required")
	}
	return nil
}

func (g JWTBearer) form(ctx context.Context, p *OAuthProvider, c *Credentials) (url.Values, error) {
	assertion, err := assertionOf(ctx, p, func(ctx context.Context) (Secret, error) { return g.Assertion(ctx, c.Issuer) })
	if err != nil {
		return nil, err
	}
	return url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion.Reveal()}}, nil
}

// assertionOf calls a host's function in bounded time.
func assertionOf(ctx context.Context, p *OAuthProvider, fn func(context.Context) (Secret, error)) (Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	assertion, err := fn(ctx)
	if err == nil && assertion.IsZero() {
		err = errors.New("it is empty")
	}
	if err != nil {
		return Secret{}, &AssertionError{Err: err}
	}
	return assertion, nil
}

// AssertionError says that the host's function gave no assertion or ID token.
type AssertionError struct {
	// Err is what the function returned.
	Err error
}

func (e *AssertionError) Error() string {
	return "oauthclient: getting the assertion: " + e.Err.Error()
}

func (e *AssertionError) Unwrap() error { return e.Err }

// withoutOffline leaves out the scope that asks for a refresh token.
func withoutOffline(scopes []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == "offline_access" })
}
