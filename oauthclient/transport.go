package oauthclient

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// transport carries the requests of one connection to its MCP server: it adds
// the access token and the cookies, and answers a 401 or a request for more
// scopes with the authorization that it takes.
type transport struct {
	core     *core
	provider *OAuthProvider
	read     atomic.Pointer[Credentials] // just read from the store, for the first request; may be nil
	sent     atomic.Pointer[[]string]    // the values of the connection's headers, as sent last
}

// sentValues returns the values of the headers that were sent last.
func (t *transport) sentValues() []string {
	if sent := t.sent.Load(); sent != nil {
		return *sent
	}
	return nil
}

// maxRenewals bounds how often one request is sent again with another token.
const maxRenewals = 2

// RoundTrip implements [http.RoundTripper]. A call that was answered 401 was
// not executed, so it may be sent again. Beside the errors of the network it
// returns those of [OAuthProvider.Authorize].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if req.Method == http.MethodDelete {
		// It ends an MCP session, for which no user is asked for anything.
		creds, err := t.provider.load(ctx)
		if err != nil {
			return nil, err
		}
		return t.send(req, creds)
	}
	read := t.read.Swap(nil)
	for renewals := 0; ; renewals++ {
		creds, err := t.provider.fresh(ctx, read)
		if err != nil {
			return nil, wire.MarkNotExecuted(err)
		}
		read = nil
		resp, err := t.send(req, creds)
		if err != nil {
			return nil, err
		}
		refused := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
		if refused && t.provider.cfg.HeadersAuthenticate {
			drain(resp)
			return nil, &CredentialsRejectedError{StatusCode: resp.StatusCode}
		}
		switch resp.StatusCode {
		case http.StatusUnauthorized:
			ch := parseChallenge(resp.Header)
			drain(resp)
			if renewals == maxRenewals {
				err := t.provider.rejected(ctx, creds.AccessToken, ch)
				if err == nil { // another replica has a further token, but enough were rejected
					err = &TokenRejectedError{Resource: creds.Resource}
				}
				return nil, wire.MarkNotExecuted(err)
			}
			if err := t.provider.unauthorized(ctx, creds.AccessToken, ch); err != nil {
				return nil, wire.MarkNotExecuted(err)
			}
		case http.StatusForbidden:
			ch := parseChallenge(resp.Header)
			if ch.errorCode != "insufficient_scope" {
				return resp, nil
			}
			drain(resp)
			err := t.provider.forbidden(ctx, creds.AccessToken, ch)
			if err == nil && renewals == maxRenewals {
				err = &InsufficientScopeError{Scopes: ch.scopes}
			}
			if err != nil {
				return nil, wire.MarkNotExecuted(err)
			}
		default:
			return resp, nil
		}
	}
}

// send sends a request with a token and cookies, and once more with a nonce if
// the server asks for one (RFC 9449 section 9): that is no refusal of the token.
func (t *transport) send(req *http.Request, creds Credentials) (*http.Response, error) {
	if t.provider.cfg.HeadersAuthenticate {
		creds = creds.withoutTokens()
	}
	key, err := t.provider.boundTo(creds)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return t.sendOnce(req, creds, nil, "")
	}
	var resp *http.Response
	err = key.negotiate(req.URL, "reaching the MCP server", func(nonce string) (answer http.Header, code string, err error) {
		drain(resp)
		if resp, err = t.sendOnce(req, creds, key, nonce); err != nil {
			return nil, "", err
		}
		if resp.StatusCode == http.StatusUnauthorized {
			code = parseChallenge(resp.Header).errorCode
		}
		return resp.Header, code, nil
	})
	if err != nil {
		drain(resp)
		return nil, err
	}
	return resp, nil
}

// sendOnce sends a copy of req with a token and cookies; req itself must not be
// changed ([http.RoundTripper]).
func (t *transport) sendOnce(req *http.Request, creds Credentials, key *proofKey, nonce string) (*http.Response, error) {
	out := req.WithContext(req.Context())
	out.Header = make(http.Header, len(req.Header)+2)
	for name, values := range req.Header {
		out.Header[name] = values
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	if err := t.provider.authorizeRequest(out, creds.AccessToken, key, nonce); err != nil {
		return nil, err
	}
	sent, err := t.provider.addHeaders(out)
	if err != nil {
		return nil, err
	}
	if len(sent) > 0 {
		t.sent.Store(&sent)
	}
	connection := t.core.full(creds.Connection)
	t.core.cookies.send(out, connection)
	out, end := t.provider.cfg.observeHTTP(out, "")
	resp, err := t.provider.cfg.Transport.RoundTrip(out)
	end(resp, err)
	if err != nil {
		return nil, networkError("reaching the MCP server", err)
	}
	redactChallenge(resp.Header, sent)
	t.core.cookies.receive(resp, connection, t.provider.cfg.Now())
	return resp, nil
}

// endTransport sends the request that ends an MCP session, with credentials that are no
// longer stored.
type endTransport struct {
	transport
	creds Credentials
}

// RoundTrip implements [http.RoundTripper].
func (b *endTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return b.send(req, b.creds)
}

var errRedirect = &ServerError{Reason: "it redirects to another origin, too often, or in a way that loses the request"}

// redirectWithinOrigin is the CheckRedirect of requests to an MCP server. It
// follows 307 and 308 within the server's origin, so that a token never leaves
// for another host, and a POST never becomes a GET.
func redirectWithinOrigin(maxRedirects int) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || req.Method != via[0].Method || req.URL.Scheme != via[0].URL.Scheme || !strings.EqualFold(req.URL.Host, via[0].URL.Host) {
			return errRedirect
		}
		return nil
	}
}

// drain reads a little of an answer that is not used, so that its connection
// can be used again, and closes it.
func drain(resp *http.Response) {
	if resp == nil || resp.Body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
