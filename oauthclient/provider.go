package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"golang.org/x/oauth2"
)

// OAuthProvider obtains, refreshes and revokes the tokens of one connection.
// It implements the SDK's [auth.OAuthHandler], so it can be given to any
// [mcp.StreamableClientTransport]; [MCPOAuthClient] uses it and should be
// preferred where its methods suffice.
//
// An OAuthProvider is safe for concurrent use.
type OAuthProvider struct {
	*providerCore
	binding string // of the attempts that it begins
}

// providerCore is what the providers of one connection share.
type providerCore struct {
	cfg    *config
	policy *ServerPolicy
	grant  grant

	mu           sync.Mutex
	pending      map[string]pendingAttempt // by binding: the attempt begun last here, while it is open
	backoff      error                     // of the last failed refresh
	backoffBy    time.Time                 // do not try again before
	disconnected bool                      // by Disconnect; no grant is stored any more
}

var _ auth.OAuthHandler = (*OAuthProvider)(nil)

// NewOAuthProvider validates cfg and returns a provider. It does no I/O.
func NewOAuthProvider(cfg Config) (*OAuthProvider, error) {
	completed, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return newOAuthProvider(completed), nil
}

// newOAuthProvider makes a provider of a completed config.
func newOAuthProvider(cfg *config) *OAuthProvider {
	policy := &cfg.strict
	if own := cfg.PolicyFor(cfg.ServerURL).clone(); !reflect.ValueOf(own).IsZero() {
		policy = &own
	}
	return &OAuthProvider{providerCore: &providerCore{cfg: cfg, policy: policy, grant: cfg.grant()}}
}

// Format implements [fmt.Formatter]. A provider in use cannot be printed field
// by field.
func (p *OAuthProvider) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "OAuthProvider(%s)", withoutQuery(p.cfg.ServerURL))
}

// TokenSource returns a source of the present access token, or nil for a
// connection that was never authorized. The source refreshes when due, in the
// time that Config.RequestTimeout allows. After an authorization has ended, the
// source returns [*AuthorizationRequiredError]: requests do not become anonymous.
func (p *OAuthProvider) TokenSource(ctx context.Context) (oauth2.TokenSource, error) {
	creds, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	if !creds.Authorized() && creds.Issuer == "" && !p.policy.ForceAuthorization {
		return nil, nil //nolint:nilnil // the contract of auth.OAuthHandler: no source, no header
	}
	return tokenSource{ctx, p}, nil
}

// Token returns an access token, refreshed if due. Without credentials it begins
// an authorization. It returns the errors of [OAuthProvider.Authorize], and
// [ErrTokenBound].
func (p *OAuthProvider) Token(ctx context.Context) (*oauth2.Token, error) {
	creds, err := p.fresh(ctx, nil)
	if err != nil {
		return nil, err
	}
	if creds.AccessToken.IsZero() {
		if err := p.grant.obtain(ctx, p, challenge{}); err != nil {
			return nil, err
		}
		if creds, err = p.load(ctx); err != nil {
			return nil, err
		}
	}
	if creds.TokenType == tokenTypeDPoP {
		return nil, ErrTokenBound // an SDK would send it as a bearer
	}
	return &oauth2.Token{AccessToken: creds.AccessToken.Reveal(), TokenType: creds.TokenType, Expiry: creds.Expiry}, nil
}

// tokenSource is the provider as an [oauth2.TokenSource], which has no context
// of its own.
type tokenSource struct {
	ctx context.Context
	p   *OAuthProvider
}

func (s tokenSource) Token() (*oauth2.Token, error) { return s.p.Token(s.ctx) }

// Authorize handles a 401 or 403 for the SDK's transport. It returns nil when
// the request may be sent again with the token that TokenSource now gives, and
// otherwise [*AuthorizationRequiredError], [*InsufficientScopeError],
// [*TemporaryError] or another error of this package.
func (p *OAuthProvider) Authorize(ctx context.Context, req *http.Request, resp *http.Response) error {
	drain(resp)
	_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	sent := NewSecret(token)
	if resp.StatusCode == http.StatusForbidden {
		return p.forbidden(ctx, sent, parseChallenge(resp.Header))
	}
	return p.unauthorized(ctx, sent, parseChallenge(resp.Header))
}

// disconnect makes a grant in progress fail with [ErrNotConnected].
func (p *OAuthProvider) disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disconnected = true
}

func (p *OAuthProvider) isDisconnected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.disconnected
}

// unauthorized handles a 401 to a request that carried the token sent, which
// may be zero. Nil means: send it again.
func (p *OAuthProvider) unauthorized(ctx context.Context, sent Secret, ch challenge) error {
	p.logChallenge(ctx, http.StatusUnauthorized, sent, ch)
	renewed, err := p.otherToken(ctx, sent)
	if err != nil || renewed {
		return err
	}
	return p.rejected(ctx, sent, ch)
}

// forbidden handles a 403 to a request that carried the token sent: step-up
// authorization when the server asks for more scopes (RFC 6750 section 3.1, MCP
// "Scope Challenge Handling"), a plain refusal otherwise. Nil means: send it
// again, the token has been replaced since.
func (p *OAuthProvider) forbidden(ctx context.Context, sent Secret, ch challenge) error {
	p.logChallenge(ctx, http.StatusForbidden, sent, ch)
	if ch.errorCode != "insufficient_scope" {
		return &ServerError{StatusCode: http.StatusForbidden}
	}
	creds, err := p.load(ctx)
	if err != nil {
		return err
	}
	if !creds.AccessToken.IsZero() && !creds.AccessToken.Equal(sent) {
		return nil
	}
	if containsAll(creds.StepUp, stepUpMarks(ch.scopes)) {
		return &InsufficientScopeError{Scopes: ch.scopes}
	}
	ch.reason = ReasonMoreScopes
	return p.grant.obtain(ctx, p, ch)
}

// stepUpMarks returns the entries of [Credentials.StepUp] for a challenge.
func stepUpMarks(scopes []string) []string {
	if len(scopes) == 0 {
		return []string{""}
	}
	return scopes
}

// fresh returns credentials whose access token can be sent, refreshed if due. If
// the connection was never authorized, they have no token, and the request is sent
// without one. A connection that was authorized once does not become anonymous.
// It uses the credentials in read, or reads them if read is nil.
func (p *OAuthProvider) fresh(ctx context.Context, read *Credentials) (creds Credentials, err error) {
	if read != nil {
		creds = *read
	} else if creds, err = p.load(ctx); err != nil {
		return Credentials{}, err
	}
	if p.cfg.HeadersAuthenticate {
		return creds.withoutTokens(), nil
	}
	now := p.cfg.Now()
	_, lost := p.boundTo(creds) // then the user is asked: no token is sent or refreshed without a proof
	switch {
	case lost != nil:
	case creds.usable(now) && !(p.grant.renewable(creds) && creds.refreshDue(now)):
		return creds, nil
	case !creds.Authorized() && creds.Issuer == "" && !p.policy.ForceAuthorization:
		return creds, nil
	}
	reason := creds.reason()
	if lost == nil && p.grant.renewable(creds) {
		refreshed, err := p.refresh(ctx, creds, false)
		if !isRefused(err) {
			return refreshed, err
		}
		reason = ReasonRevoked
	}
	if err := p.grant.obtain(ctx, p, challenge{resourceMetadata: creds.ResourceMetadataURL, reason: reason}); err != nil {
		return Credentials{}, err
	}
	return p.load(ctx)
}

// load reads the credentials.
func (p *OAuthProvider) load(ctx context.Context) (Credentials, error) {
	creds, err := p.cfg.Credentials.Load(ctx)
	return creds, storageError(ctx, err)
}

// detached runs fn once for all concurrent callers with the same op and key,
// with a context that outlives them: if the caller gives up, a refresh or
// registration has still happened at the server, and its result must be kept.
func (p *OAuthProvider) detached(ctx context.Context, op, key string, steps int, fn func(context.Context) (any, error)) (any, error) {
	value, err := p.cfg.inFlight(ctx, op+" "+key, func(ctx context.Context) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(steps)*p.cfg.RequestTimeout)
		defer cancel()
		return fn(ctx)
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, ctx.Err()) {
		return nil, &TemporaryError{Op: op, Timeout: true, Err: ctx.Err()}
	}
	return value, err
}
