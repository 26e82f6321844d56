package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// revokeLogged is revoke where a failure changes nothing.
func (p *OAuthProvider) revokeLogged(ctx context.Context, c Credentials) {
	if err := p.revoke(ctx, c); err != nil {
		p.cfg.Logger.WarnContext(ctx, "mcpoauth: revocation failed", "error", err)
	}
}

// revoke tells the authorization server that the tokens are no longer needed
// (RFC 7009): the refresh tokens first, then the access token. It tries each
// token, and returns all failures.
func (p *OAuthProvider) revoke(ctx context.Context, c Credentials) error {
	if c.RevocationEndpoint == "" {
		return nil
	}
	var errs []error
	for i, token := range append(append([]Secret{c.RefreshToken}, c.Replaced...), c.AccessToken) {
		if token.IsZero() {
			continue
		}
		hint := "refresh_token"
		if i > len(c.Replaced) {
			hint = "access_token"
		}
		err := p.revokeToken(ctx, c, token, hint)
		replaced := i > 0 && i <= len(c.Replaced) // the server may have ended it long ago
		switch {
		case nothingToRevoke(err, c.Registration), replaced && isRefusal(err):
			p.cfg.Logger.DebugContext(ctx, "mcpoauth: the authorization server revokes no such token", "issuer", c.Issuer, "token", hint, "error", err)
		case err != nil:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// revokeToken sends one revocation request (RFC 7009 section 2.1).
func (p *OAuthProvider) revokeToken(ctx context.Context, c Credentials, token Secret, hint string) error {
	op := "revoking the " + strings.ReplaceAll(hint, "_", " ")
	client := p.withSecret(c.Registration)
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}}
	answer, err := p.postForm(ctx, op, c.RevocationEndpoint, client, nil, form)
	if err != nil || answer.status < 300 {
		return err
	}
	var refused oauthError
	if json.Unmarshal(withoutBOM(answer.body), &refused) == nil && refused.Code != "" {
		return refused.refusal(answer, secretsOf(client, form)...)
	}
	return &ServerError{Op: op, Server: answer.server, StatusCode: answer.status}
}

func isRefusal(err error) bool {
	_, refused := errors.AsType[*AuthorizationError](err)
	return refused
}

// nothingToRevoke reports whether a revocation failed because there is nothing
// to revoke: the server has no revocation for this kind of token (RFC 7009
// section 2.2.1), or none at all although it announces one, or it has forgotten
// the dynamic client, and with it the tokens.
func nothingToRevoke(err error, client Registration) bool {
	if temporary, ok := errors.AsType[*TemporaryError](err); ok {
		return temporary.StatusCode == http.StatusNotImplemented
	}
	if answer, ok := errors.AsType[*ServerError](err); ok {
		return answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusMethodNotAllowed
	}
	refused, ok := errors.AsType[*AuthorizationError](err)
	return ok && (refused.Code == "unsupported_token_type" || refused.Code == "invalid_client" && client.Dynamic)
}
