package oauthclient

import (
	"context"
	"errors"
	"time"
)

const (
	// freshTokenAge is the age up to which a rejected token counts as just
	// issued: nothing can have ended it but the server that rejects it.
	freshTokenAge = 5 * time.Minute
	// rejectionWindow is the time in which a second grant whose token is
	// rejected ends the asking. When it is over, the user is asked again.
	rejectionWindow = 10 * time.Minute
)

// rejected handles a 401 to a request that carried the token sent, which may be
// zero, when no other token is left to try. It asks the user, unless the server
// has rejected the tokens of two grants in a row: a third one would not help.
func (p *OAuthProvider) rejected(ctx context.Context, sent Secret, ch challenge) error {
	if sent.IsZero() {
		return p.grant.obtain(ctx, p, ch)
	}
	ch.description = cleanText(ch.description, 200, []string{sent.Reveal()})
	creds, err := p.load(ctx)
	if err != nil {
		return err
	}
	now := p.cfg.Now()
	switch current := creds.AccessToken.Equal(sent); {
	case !current, creds.answers.Refusal != "": // the token was replaced, or its authorization has ended
		ch.reason = creds.reason()
	case now.Before(creds.answers.Issued.Add(freshTokenAge)) && !creds.answers.grantRejected(now):
		creds = p.noteRejection(ctx, creds)
	}
	if creds.answers.grantRejected(now) {
		if creds.answers.Rejections > 1 {
			return &TokenRejectedError{Resource: creds.Resource, Description: ch.description}
		}
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: the MCP server rejects a token that was just issued",
			"server", withoutQuery(p.cfg.ServerURL), "resource", creds.Resource, "issuer", creds.Issuer, "error_description", ch.description)
		ch.reason = ReasonTokenRejected
	}
	if ch.reason == "" {
		ch.reason = ReasonRevoked
	}
	return p.grant.obtain(ctx, p, ch)
}

// noteRejection stores that the MCP server rejects a token just issued, and
// returns creds with that note.
func (p *OAuthProvider) noteRejection(ctx context.Context, creds Credentials) Credentials {
	now := p.cfg.Now()
	noted := creds
	err := p.cfg.Credentials.Update(ctx, func(c *Credentials) error {
		if c.AccessToken.Equal(creds.AccessToken) && !c.answers.grantRejected(now) {
			c.answers.rejected(now)
			noted = c.clone()
			return nil
		}
		noted = c.clone()
		return errKeep
	})
	if err != nil && !errors.Is(err, errKeep) {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot update the credentials", "error", err)
	}
	return noted
}

// reason says why these credentials no longer suffice.
func (c Credentials) reason() Reason {
	switch {
	case c.Issuer == "":
		return ReasonFirstTime
	case c.answers.Refusal != "":
		return ReasonRevoked
	default:
		return ReasonExpired
	}
}
