package oauthclient

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// newAuthHTTPClient returns the client for requests to authorization servers.
// It follows redirects only of GET requests, whose URL is all they carry: a
// redirected POST would hand a code or a token to an unchecked host.
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
	server      string // its host
	status      int
	contentType string
	retryAfter  time.Duration
	header      http.Header
	body        []byte
}

// doAuth sends a request to an authorization server. A failure that may pass is
// a [TemporaryError]: no answer, a 5xx, 408 or 429. What will not pass is a
// [ServerError], and an address that the policy refuses is
// [ErrForbiddenAddress].
func (p *OAuthProvider) doAuth(ctx context.Context, op string, req *http.Request) (*authAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.RequestTimeout)
	defer cancel()
	server := req.URL.Host
	req, end := p.cfg.observeHTTP(req.WithContext(ctx), op)
	resp, err := p.cfg.authHTTP.Do(req)
	end(resp, err)
	if err != nil {
		return nil, authNetworkError(op, server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, p.cfg.MaxAuthResponseBytes+1))
	if err != nil {
		return nil, authNetworkError(op, server, err)
	}
	if int64(len(body)) > p.cfg.MaxAuthResponseBytes {
		return nil, &ServerError{Op: op, Server: server, Reason: "it is larger than MaxAuthResponseBytes"}
	}
	answer := &authAnswer{server: server, status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"), header: resp.Header, retryAfter: parseRetryAfter(resp.Header, p.cfg.Now()), body: body}
	switch status := answer.status; {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return nil, &TemporaryError{Op: op, Server: server, StatusCode: status, RetryAfter: answer.retryAfter, Err: temporaryCause(req, body)}
	}
	return answer, nil
}

// temporaryCause returns what an authorization server says about its trouble,
// or nil. It is a text for the log and no [AuthorizationError], because it
// refuses nothing.
func temporaryCause(req *http.Request, body []byte) error {
	var said oauthError
	if json.Unmarshal(body, &said) != nil || said.Code == "" {
		return nil
	}
	refused := said.authorizationError(requestSecrets(req)...)
	return errors.New(strings.TrimSuffix(refused.Code+": "+refused.Description, ": "))
}

// requestSecrets lists the values that a request carries and that must not show
// up in what is logged about its answer.
func requestSecrets(req *http.Request) []string {
	var secrets []string
	if _, password, ok := req.BasicAuth(); ok {
		plain, _ := url.QueryUnescape(password)
		secrets = append(secrets, password, plain, strings.TrimPrefix(req.Header.Get("Authorization"), "Basic "))
	}
	if req.GetBody == nil {
		return secrets
	}
	if body, err := req.GetBody(); err == nil {
		raw, _ := io.ReadAll(body)
		if form, err := url.ParseQuery(string(raw)); err == nil {
			for _, name := range secretParams {
				secrets = append(secrets, form.Get(name))
			}
		}
	}
	return secrets
}

// authNetworkError is [networkError] for a request to an authorization server.
func authNetworkError(op, server string, err error) error {
	err = networkError(op, err)
	switch e := err.(type) {
	case *ServerError:
		e.Op, e.Server = op, server
	case *TemporaryError:
		e.Server = server
	}
	return err
}

// networkError turns what http.Client.Do returned into an error without the
// URL, whose query may be secret. What will not pass by itself is a
// [ServerError], everything else a [TemporaryError].
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
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &ServerError{Reason: "its certificate is not valid: " + certificate.Err.Error()}
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return &ServerError{Reason: "it speaks plain http on an https port"}
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
