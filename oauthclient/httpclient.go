package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"code.dny.dev/ssrf"
)

// NetworkPolicy says which servers may be reached. The zero value allows
// https to public addresses only.
type NetworkPolicy struct {
	// AllowLoopback also allows loopback addresses, and plain http to them,
	// for development and tests. Nothing else is relaxed.
	AllowLoopback bool
	// AllowNetworks are networks to be reached although they are not public,
	// for MCP servers inside a company. Https is still required.
	AllowNetworks []netip.Prefix
}

// NewHTTPClient returns a client for [Config.HTTPClient] that enforces policy
// on every connection it makes: the address is checked when it is dialed,
// after name resolution and for every redirect, so neither DNS rebinding nor
// an odd spelling of an address gets around it. Proxies from the environment
// are not used, because behind one the address could not be checked.
//
// Share one among all clients; it keeps idle connections to many hosts.
func NewHTTPClient(policy NetworkPolicy) *http.Client {
	var v4, v6 []netip.Prefix
	for _, p := range policy.AllowNetworks {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	if policy.AllowLoopback {
		v4 = append(v4, netip.MustParsePrefix("127.0.0.0/8"))
		v6 = append(v6, netip.MustParsePrefix("::1/128"))
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Control: guardian.Safe}
	return &http.Client{Transport: &guardedTransport{
		allowLoopback: policy.AllowLoopback,
		base: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           1000,
			MaxIdleConnsPerHost:    100,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}}
}

// ErrForbiddenAddress is in the chain of errors about a server, or a URL that a
// server announced, which the [NetworkPolicy] does not allow to be reached.
var ErrForbiddenAddress = errors.New("the network policy does not allow this address")

// guardedTransport refuses what the dialer cannot see: the URL's scheme.
type guardedTransport struct {
	allowLoopback bool
	base          *http.Transport
}

func (t *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !(t.allowLoopback && req.URL.Scheme == "http" && isLoopbackHost(req.URL.Hostname())) {
		return nil, fmt.Errorf("%w: https is required", ErrForbiddenAddress)
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (t *guardedTransport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// maxAuthResponseBytes bounds metadata, registration and token answers.
const maxAuthResponseBytes = 1 << 20

// newAuthHTTPClient returns the client for requests to authorization servers.
// It follows redirects only of GET requests, whose URL is all they carry: a
// redirected POST would hand a code or a token to a host that nobody checked.
func newAuthHTTPClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if via[0].Method != http.MethodGet || len(via) > 3 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// newMCPHTTPClient returns the client for requests to the MCP server, which
// follows redirects within the server's origin only, so that a token never
// leaves for another host.
func newMCPHTTPClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
				return &ServerError{Reason: "it redirects to another origin, or too often"}
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
	resp, err := p.authHTTP.Do(req.WithContext(ctx))
	if err != nil {
		return nil, networkError(op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAuthResponseBytes+1))
	if err != nil {
		return nil, networkError(op, err)
	}
	if len(body) > maxAuthResponseBytes {
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
	var urlErr *url.Error
	timeout := false
	if errors.As(err, &urlErr) {
		timeout = urlErr.Timeout()
		err = urlErr.Err
	}
	if errors.Is(err, ErrForbiddenAddress) || errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrProhibitedPort) {
		return fmt.Errorf("oauthclient: %s: %w", op, ErrForbiddenAddress)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("oauthclient: %s: %w", op, err)
	}
	return &TemporaryError{Op: op, Timeout: timeout || errors.Is(err, context.DeadlineExceeded), Err: err}
}
