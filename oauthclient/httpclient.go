package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// newAuthHTTPClient returns the client for requests to authorization servers.
// It follows redirects only of GET requests, whose URL is all they carry: a
// redirected POST would hand a code or a token to a host that nobody checked.
func newAuthHTTPClient(transport http.RoundTripper, maxRedirects int) *http.Client {
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if via[0].Method != http.MethodGet || len(via) > maxRedirects || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// authAnswer is the answer of an authorization server, read to its end.
type authAnswer struct {
	status      int
	contentType string
	retryAfter  time.Duration
	body        []byte
}

// doAuth sends a request to an authorization server. Every failure to get an
// answer is a [TemporaryError], except that a refused address is final.
func (p *OAuthProvider) doAuth(ctx context.Context, op string, req *http.Request) (*authAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	resp, err := p.cfg.authHTTP.Do(req.WithContext(ctx))
	if err != nil {
		return nil, networkError(op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, p.cfg.MaxAuthResponseBytes+1))
	if err != nil {
		return nil, networkError(op, err)
	}
	if int64(len(body)) > p.cfg.MaxAuthResponseBytes {
		return nil, &TemporaryError{Op: op, Err: errors.New("the answer is too large")}
	}
	answer := &authAnswer{status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"), retryAfter: parseRetryAfter(resp.Header, p.cfg.Now()), body: body}
	if answer.status >= 500 || answer.status == http.StatusTooManyRequests {
		return nil, &TemporaryError{Op: op, StatusCode: answer.status, RetryAfter: answer.retryAfter}
	}
	return answer, nil
}

// networkError turns what http.Client.Do returned into an error without the
// URL, whose query may be secret.
func networkError(op string, err error) error {
	var timed interface{ Timeout() bool }
	timeout := errors.As(err, &timed) && timed.Timeout()
	err = networkErrorCause(err)
	if errors.Is(err, ErrForbiddenAddress) {
		return fmt.Errorf("oauthclient: %s: %w", op, ErrForbiddenAddress)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("oauthclient: %s: %w", op, err)
	}
	return &TemporaryError{Op: op, Timeout: timeout || errors.Is(err, context.DeadlineExceeded), Err: err}
}

// networkErrorCause takes the URL off an error of [http.Client].
func networkErrorCause(err error) error {
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		return urlErr.Err
	}
	return err
}
