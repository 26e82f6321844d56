package oauthclient

import (
	"context"
	"net/http"
)

// Challenge is what parseChallenge found.
type Challenge struct {
	ResourceMetadata string
	Scopes           []string
	ErrorCode        string
}

// ParseChallenge is parseChallenge.
func ParseChallenge(h http.Header) Challenge {
	c := parseChallenge(h)
	return Challenge{c.resourceMetadata, c.scopes, c.errorCode}
}

// BeginAttempt begins an authorization as a server's challenge does.
func (p *OAuthProvider) BeginAttempt(ctx context.Context, h http.Header) (*AuthorizationRequiredError, error) {
	return p.beginAttempt(ctx, parseChallenge(h), false)
}
