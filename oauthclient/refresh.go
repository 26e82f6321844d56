package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// finalRefusals are the error codes that end a refresh token (RFC 6749 section
// 5.2); bad_refresh_token is GitHub's spelling of invalid_grant.
var finalRefusals = []string{"invalid_grant", "invalid_client", "bad_refresh_token"}

const (
	// refreshBackoff is how long a failed refresh is not tried again.
	refreshBackoff = time.Second
	// forcedRefreshInterval is how long a token that a forced refresh brought
	// is not force-refreshed again: the server that rejects it would reject
	// the next one too.
	forcedRefreshInterval = time.Minute
)

// renew reacts to a 401: it reports true when there is a token other than sent
// by now, refreshing once per token to get one. False means that only the user
// can help.
func (p *OAuthProvider) renew(ctx context.Context, sent Secret) (bool, error) {
	creds, err := p.load(ctx)
	if err != nil {
		return false, err
	}
	if !creds.AccessToken.IsZero() && !creds.AccessToken.Equal(sent) {
		return true, nil
	}
	p.mu.Lock()
	again := p.forced.Equal(sent) && p.cfg.Now().Before(p.forcedAt.Add(forcedRefreshInterval))
	p.mu.Unlock()
	if again || creds.RefreshToken.IsZero() {
		return false, nil
	}
	refreshed, err := p.refresh(ctx, creds, true)
	if err != nil || refreshed.AccessToken.IsZero() {
		return false, err
	}
	p.mu.Lock()
	p.forced, p.forcedAt = refreshed.AccessToken, p.cfg.Now()
	p.mu.Unlock()
	return true, nil
}

// refresh exchanges the refresh token of stale, unless somebody else has done
// so already. Unforced, a failure is hidden as long as the access token is
// valid. Credentials without an access token come back when the server has
// refused for good.
func (p *OAuthProvider) refresh(ctx context.Context, stale Credentials, force bool) (Credentials, error) {
	usable := !force && !stale.AccessToken.IsZero() && p.cfg.Now().Before(stale.Expiry)
	if err := p.backingOff(); err != nil {
		if usable {
			return stale, nil
		}
		return Credentials{}, err
	}
	op := "refreshing the access token"
	if force {
		op = "renewing the access token"
	}
	// Keyed by the token: who holds a newer one must not get the result of
	// a refresh of an older one.
	result, err := p.detached(ctx, op, stale.AccessToken.fingerprint(), 2, func(ctx context.Context) (any, error) {
		return p.refreshOnce(ctx, stale, force)
	})
	_, temporary := errors.AsType[*TemporaryError](err)
	_, storage := errors.AsType[*StorageError](err)
	switch {
	case err == nil:
		return result.(Credentials), nil
	case usable && (temporary || storage):
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: refresh failed, the present token goes on being used", "error", err)
		return stale, nil
	default:
		return Credentials{}, err
	}
}

// refreshOnce is the part of refresh that runs alone, in this process by
// single-flight, among all by the store's exclusive Update, which also saves
// the new tokens before anybody uses them.
func (p *OAuthProvider) refreshOnce(ctx context.Context, stale Credentials, force bool) (Credentials, error) {
	var out Credentials
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		out = *c
		if !c.AccessToken.Equal(stale.AccessToken) || c.RefreshToken.IsZero() {
			return errKeep // another process was faster
		}
		err := p.refreshGrant(ctx, c)
		var refused *AuthorizationError
		switch {
		case err == nil:
		case errors.As(err, &refused) && slices.Contains(finalRefusals, refused.Code):
			p.cfg.Logger.InfoContext(ctx, "mcpoauth: the refresh token is no longer valid", "code", refused.Code)
			if refused.Code == "invalid_client" {
				p.dropRegistration(ctx, c.Registration)
			}
			if force || !p.cfg.Now().Before(c.Expiry) {
				c.clearTokens()
			} else {
				c.RefreshToken, c.RefreshAfter = Secret{}, c.Expiry // the access token lives on
			}
		default:
			return p.backOff(err)
		}
		out = *c
		return nil
	})
	if err != nil && !errors.Is(err, errKeep) {
		// A lease that ran out: what another process has stored counts.
		if now, loadErr := p.load(ctx); loadErr == nil && !now.AccessToken.IsZero() && !now.AccessToken.Equal(stale.AccessToken) {
			return now, nil
		}
		return Credentials{}, storageError(ctx, err)
	}
	return out.clone(), nil
}

// refreshGrant sends the refresh_token grant (RFC 6749 section 6) with the
// resource (RFC 8707 section 2.2) and puts the answer into c.
func (p *OAuthProvider) refreshGrant(ctx context.Context, c *Credentials) error {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.RefreshToken.Reveal()}}
	if c.Resource != "" {
		form.Set("resource", c.Resource)
	}
	if p.policy.RefreshScope && len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	token, err := p.tokenRequest(ctx, "refreshing the access token", c.TokenEndpoint, c.Registration, form)
	if err != nil {
		return err
	}
	token.apply(c, p.cfg.Now(), p.cfg.RefreshAhead, c.Scopes)
	return nil
}

// backOff notes a failed refresh, so that many calls do not each repeat it
// while the server is in trouble.
func (p *OAuthProvider) backOff(err error) error {
	var temporary *TemporaryError
	if !errors.As(err, &temporary) {
		temporary = &TemporaryError{Op: "refreshing the access token", Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backoff, p.backoffBy = temporary, p.cfg.Now().Add(max(refreshBackoff, min(temporary.RetryAfter, time.Minute)))
	return temporary
}

// backingOff returns the error of a refresh that failed only just now.
func (p *OAuthProvider) backingOff() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.backoff != nil && p.cfg.Now().Before(p.backoffBy) {
		return p.backoff
	}
	p.backoff = nil
	return nil
}
