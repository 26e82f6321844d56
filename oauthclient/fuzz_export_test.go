package oauthclient

import (
	"bytes"
	"context"
	"io"
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

// ReadEventStream reads body as an event stream, size bytes at a time at most,
// and returns what was passed on, the result that was found and how it ended.
func ReadEventStream(body []byte, limit int64, size int) (passed, result []byte, err error) {
	x := &exchange{}
	stream := &capturedStream{ReadCloser: io.NopCloser(bytes.NewReader(body)), x: x, left: limit}
	chunk := make([]byte, size)
	for {
		n, err := stream.Read(chunk)
		passed = append(passed, chunk[:n]...)
		if err != nil {
			return passed, x.raw(), err
		}
	}
}

// BeginAttempt begins an authorization as a server's challenge does.
func (p *OAuthProvider) BeginAttempt(ctx context.Context, h http.Header) (*AuthorizationRequiredError, error) {
	return p.beginAttempt(ctx, parseChallenge(h), false)
}
