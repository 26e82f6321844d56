package oauthclient

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// deadTokenCodes are the error codes after which a refresh token is deleted (RFC
// 6749 section 5.2). GitHub writes bad_refresh_token for invalid_grant. Any other
// refusal may have another cause, so the refresh token is kept.
var deadTokenCodes = []string{"invalid_grant", "bad_refresh_token"}

const (
	// refreshBackoff is the pause after a refresh that failed. It doubles with
	// each refusal in a row.
	refreshBackoff = time.Second
	// maxRefreshBackoff is the longest pause between two refreshes.
	maxRefreshBackoff = time.Minute
	// maxUnusableAnswers is the number of answers in a row that are neither a
	// token nor a refusal, such as a page with status 200, after which such an
	// answer counts as a refusal, so that the user is asked.
	maxUnusableAnswers = 10
	// forcedRefreshInterval is the minimum time between two forced refreshes: a
	// server that rejects the new token would reject the next one too.
	forcedRefreshInterval = time.Minute
)

// refusedError means that the authorization server does not renew the
// authorization. Without a usable access token, the user must authorize.
type refusedError struct{ cause error }

func (e *refusedError) Error() string {
	return "oauthclient: the authorization server does not renew the authorization: " + e.cause.Error()
}

func (e *refusedError) Unwrap() error { return e.cause }

// errRefusedBefore is the cause for callers that did not get the refusal itself.
var errRefusedBefore = errors.New("it refused before, and no refresh token can be tried now")

func isRefused(err error) bool {
	_, refused := errors.AsType[*refusedError](err)
	return refused
}

// otherToken handles a 401. It reports whether there is a token other than sent, and
// refreshes once per token to get one. If there is none, the user must authorize.
func (p *OAuthProvider) otherToken(ctx context.Context, sent Secret) (bool, error) {
	creds, err := p.load(ctx)
	if err != nil {
		return false, err
	}
	if !creds.AccessToken.IsZero() && !creds.AccessToken.Equal(sent) {
		return true, nil
	}
	again := creds.answers.Renewed && p.cfg.Now().Before(creds.answers.Issued.Add(forcedRefreshInterval))
	if again || !p.grant.renewable(creds) {
		return false, nil
	}
	_, err = p.refresh(ctx, creds, true)
	if isRefused(err) {
		return false, nil
	}
	return err == nil, err
}

// refresh exchanges the refresh token of stale, unless another process has done
// so already. If it is not forced, and the access token is usable, a failure is
// only logged. After a [*refusedError] the user must authorize.
func (p *OAuthProvider) refresh(ctx context.Context, stale Credentials, force bool) (Credentials, error) {
	usable := !force && stale.usable(p.cfg.Now())
	if err := p.backingOff(stale); err != nil {
		if usable {
			return stale, nil
		}
		return Credentials{}, err
	}
	op := "refreshing the access token"
	if force {
		op = "renewing the access token"
	}
	// The key has the token: a caller with a newer token must not get the
	// result for an older one.
	result, err := p.detached(ctx, op, stale.AccessToken.fingerprint(), 4, func(ctx context.Context) (any, error) {
		return p.refreshOnce(ctx, stale, force)
	})
	switch {
	case err == nil:
		return result.(Credentials), nil
	case usable && !errors.Is(err, context.Canceled):
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: refresh failed, the present token goes on being used", "error", err)
		return stale, nil
	default:
		return Credentials{}, err
	}
}

// errNothingToRefresh is returned for credentials without a refresh token.
var errNothingToRefresh = errors.New("oauthclient: there is no refresh token")

// Refresh replaces the tokens although they may not be due, once among all
// processes, unless the access token is no longer the one in seen. It asks no
// user. A host calls it for a connection that is not in use, so that its refresh
// token does not end. Errors: [*TemporaryError], the authorization server's
// refusal, which [Credentials.Lost] explains, and those of the CredentialStore.
func (p *OAuthProvider) Refresh(ctx context.Context, seen Credentials) error {
	if !p.grant.renewable(seen) {
		return errNothingToRefresh
	}
	if err := p.backingOff(seen); err != nil {
		return err
	}
	_, err := p.detached(ctx, "refreshing the access token", seen.AccessToken.fingerprint(), 4, func(ctx context.Context) (any, error) {
		return p.refreshOnce(ctx, seen, false)
	})
	return err
}

// refreshOnce is the part of refresh that runs once for all callers in this
// process. A token endpoint that seems to have moved is looked up again.
func (p *OAuthProvider) refreshOnce(ctx context.Context, stale Credentials, force bool) (Credentials, error) {
	creds, err := p.refreshAt(ctx, stale, nil, force)
	if mayHaveMoved(err) {
		if server := p.movedServer(ctx, stale); server != nil {
			p.cfg.Logger.InfoContext(ctx, "mcpoauth: the token endpoint has moved", "issuer", stale.Issuer)
			return p.refreshAt(ctx, stale, server, force)
		}
	}
	return creds, err
}

// refreshAt refreshes at the stored token endpoint, or at the one of moved. The
// store's Update excludes all other processes, and saves the new tokens before
// any caller uses them.
func (p *OAuthProvider) refreshAt(ctx context.Context, stale Credentials, moved *oauthex.AuthServerMeta, force bool) (Credentials, error) {
	var out Credentials
	var failure error
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		out = *c
		switch {
		case !p.grant.renewable(*c), !c.AccessToken.IsZero() && !c.AccessToken.Equal(stale.AccessToken):
			return errKeep // another process was faster
		case moved == nil && c.answers.refusing(p.cfg.Now()):
			failure = &refusedError{errRefusedBefore}
			return errKeep
		case moved != nil:
			c.TokenEndpoint, c.RevocationEndpoint = moved.TokenEndpoint, moved.RevocationEndpoint
		}
		// The wait for this Update must not shorten the request: if the time
		// runs out after the server has spent the refresh token, the user is
		// logged out.
		ctx, end := observe(context.WithoutCancel(ctx), p.cfg.Observer, Work{Kind: WorkRefresh, Name: "refresh", Server: ServerHost(c.TokenEndpoint)})
		failure = p.renewInto(ctx, c, force)
		end(Outcome{ErrorType: ErrorType(failure)})
		if temporary, ok := errors.AsType[*TemporaryError](failure); ok {
			p.backOff(temporary, max(refreshBackoff, min(temporary.RetryAfter, maxRefreshBackoff)))
			return temporary
		}
		if failure != nil {
			failure = p.noteFailure(ctx, c, failure, force)
		}
		out = *c
		return nil
	})
	renewed := !out.AccessToken.IsZero() && !out.AccessToken.Equal(stale.AccessToken)
	switch {
	case err != nil && !errors.Is(err, errKeep):
		if renewed {
			p.abandon(ctx, stale, out)
		}
		// The lease ran out: use the tokens that another process has stored.
		if now, loadErr := p.load(ctx); loadErr == nil && !now.AccessToken.IsZero() && !now.AccessToken.Equal(stale.AccessToken) {
			return now, nil
		}
		return Credentials{}, storageError(ctx, err)
	case failure != nil:
		return Credentials{}, failure
	case renewed || !force && out.usable(p.cfg.Now()):
		return out.clone(), nil
	default:
		return Credentials{}, &refusedError{errRefusedBefore}
	}
}

// abandon is for the tokens of a refresh of stale that Update did not store. If other
// tokens have been stored meanwhile, abandon notes the refreshed ones there, to be
// revoked together. Tokens of another server or client are revoked now.
func (p *OAuthProvider) abandon(ctx context.Context, stale, refreshed Credentials) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.RequestTimeout)
	defer cancel()
	var revocable Credentials
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		if c.AccessToken.Equal(stale.AccessToken) || c.AccessToken.Equal(refreshed.AccessToken) {
			return errKeep // no others are stored
		}
		revocable = c.replace(refreshed)
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: the tokens of a refresh are neither stored nor revoked", "error", err)
	}
	p.revokeLogged(ctx, revocable)
}

// renewInto replaces the access token of c.
func (p *OAuthProvider) renewInto(ctx context.Context, c *Credentials, forced bool) error {
	token, err := p.grant.renew(ctx, p, c)
	if err != nil {
		return err
	}
	token.apply(c, p.cfg.Now(), p.cfg.RefreshAhead, c.Scopes)
	c.answers.issued(p.cfg.Now(), forced)
	return nil
}

// noteFailure notes in c that the server answered a refresh without a token, and
// returns the error for the caller. A refusal deletes an access token that is not
// usable, and the refresh token only if the server says that it is dead.
func (p *OAuthProvider) noteFailure(ctx context.Context, c *Credentials, failure error, forced bool) error {
	c.answers.Failures++
	pause := c.answers.backoff()
	code := refusalCode(failure)
	if code == "" && c.answers.Failures < maxUnusableAnswers {
		p.backOff(failure, pause)
		return failure
	}
	c.answers.Refusal, c.answers.RetryAt = cmp.Or(code, "unusable_answer"), p.cfg.Now().Add(pause)
	p.cfg.Logger.WarnContext(ctx, "mcpoauth: the authorization server does not renew the authorization", "issuer", c.Issuer, "error", failure)
	if code == "invalid_client" {
		p.dropRegistration(ctx, c.Registration)
	}
	if forced || !c.usable(p.cfg.Now()) {
		c.AccessToken, c.Expiry, c.RefreshAfter = Secret{}, time.Time{}, time.Time{}
	}
	if slices.Contains(deadTokenCodes, code) {
		c.RefreshToken, c.RefreshExpiry = Secret{}, time.Time{}
	}
	return &refusedError{failure}
}

// refusalCode returns the error code of a final refusal: any OAuth error, and
// any status 4xx but 408 and 429, which are [TemporaryError]s. It returns "" for
// any other answer.
func refusalCode(err error) string {
	if refused, ok := errors.AsType[*AuthorizationError](err); ok {
		return refused.Code
	}
	if answer, ok := errors.AsType[*ServerError](err); ok && answer.StatusCode >= 400 {
		return http.StatusText(answer.StatusCode)
	}
	return ""
}

// mayHaveMoved reports whether an error may mean that the token endpoint is no
// longer at its URL.
func mayHaveMoved(err error) bool {
	if _, answer := errors.AsType[*ServerError](err); answer {
		return true
	}
	network, ok := errors.AsType[*net.OpError](err)
	return ok && network.Op == "dial"
}

// movedServer returns the present metadata of the authorization server that
// issued c, if it names another token endpoint than c, and nil otherwise.
func (p *OAuthProvider) movedServer(ctx context.Context, c Credentials) *oauthex.AuthServerMeta {
	found, err := p.discover(ctx, challenge{resourceMetadata: c.ResourceMetadataURL})
	if err != nil || found.server.Issuer != c.Issuer || found.server.TokenEndpoint == c.TokenEndpoint {
		return nil
	}
	return found.server
}

// backOff notes a failed refresh, so that calls do not repeat it during the pause.
func (p *OAuthProvider) backOff(err error, pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backoff, p.backoffBy = err, p.cfg.Now().Add(pause)
}

// backingOff returns the error of the last refresh until its pause is over.
func (p *OAuthProvider) backingOff(c Credentials) error {
	if c.answers.refusing(p.cfg.Now()) {
		return &refusedError{errRefusedBefore}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.backoff != nil && pausing(p.cfg.Now(), p.backoffBy) {
		return p.backoff
	}
	p.backoff = nil
	return nil
}
