package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// transport carries the requests of one connection to its MCP server. It does
// what the SDK's own hook for authorization cannot: it sends a token on every
// request, refreshes with the caller's context and without the SDK's lock,
// tells a second 401 from a first, and turns every failure into an error of
// this package that leaves the SDK's connection usable.
type transport struct {
	base     http.RoundTripper
	provider *OAuthProvider
	limit    int64
	last     atomic.Pointer[Secret] // the token sent last, for the DELETE after a disconnect
}

// maxRenewals bounds how often one request is sent again with another token.
const maxRenewals = 2

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeFrom(req.Context())
	if err := x.refused(); err != nil {
		return nil, err // asking again within one operation gives the same answer
	}
	if req.Method == http.MethodDelete {
		return t.endSession(req)
	}
	for renewals := 0; ; renewals++ {
		creds, err := t.provider.fresh(req.Context())
		if err != nil {
			return nil, x.refuse(err)
		}
		x.markSent(req.Method, creds.AccessToken)
		resp, err := t.send(req, creds.AccessToken)
		if err != nil {
			return nil, networkError("reaching the MCP server", err)
		}
		again, err := t.check(req, resp, creds.AccessToken, renewals < maxRenewals)
		if err != nil {
			return nil, err
		}
		if !again {
			if err := x.capture(req, resp, t.limit); err != nil {
				return nil, err
			}
			return resp, nil
		}
	}
}

// send sends a copy of req with a token; req itself must not be changed
// ([http.RoundTripper]).
func (t *transport) send(req *http.Request, token Secret) (*http.Response, error) {
	out := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	t.last.Store(&token)
	if !token.IsZero() {
		out.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	return t.base.RoundTrip(out)
}

// check decides about an answer: nil and false pass it on, true sends the
// request again. When it returns an error or true, the answer is consumed.
func (t *transport) check(req *http.Request, resp *http.Response, sent Secret, mayRenew bool) (again bool, err error) {
	status, x := resp.StatusCode, exchangeFrom(req.Context())
	if req.Method == http.MethodGet && status != http.StatusUnauthorized {
		return false, nil // the SDK knows what a refused stream means
	}
	switch {
	case status == http.StatusUnauthorized:
		ch := parseChallenge(resp.Header)
		drain(resp)
		if !mayRenew {
			return false, x.refuse(t.provider.authorize(req.Context(), ch))
		}
		err := x.refuse(t.provider.unauthorized(req.Context(), sent, ch))
		return err == nil, err
	case status == http.StatusForbidden && parseChallenge(resp.Header).errorCode == "insufficient_scope":
		ch := parseChallenge(resp.Header)
		drain(resp)
		return false, x.refuse(t.provider.forbidden(req.Context(), ch))
	case status == http.StatusNotFound && req.Header.Get("Mcp-Session-Id") != "":
		drain(resp)
		return false, errSessionLost
	case status >= 500 || status == http.StatusTooManyRequests:
		drain(resp)
		return false, &TemporaryError{Op: "calling the MCP server", StatusCode: status, RetryAfter: parseRetryAfter(resp.Header, t.provider.cfg.Now())}
	case status >= 400:
		return false, refusal(resp)
	case !readable(resp) && isCall(req):
		// The SDK would break the connection.
		drain(resp)
		return false, &ServerError{Reason: "it is neither JSON nor an event stream"}
	}
	return false, nil
}

// readable tells whether the SDK can read an answer.
func readable(resp *http.Response) bool {
	t := mediaType(resp)
	return t == "application/json" || t == "text/event-stream" || resp.StatusCode >= 300
}

// mediaType returns an answer's content type without parameters.
func mediaType(resp *http.Response) string {
	value := resp.Header.Get("Content-Type")
	if value == "application/json" || value == "text/event-stream" { // the hot path
		return value
	}
	t, _, _ := mime.ParseMediaType(value)
	return t
}

// isCall tells a request that needs an answer from a notification or response.
func isCall(req *http.Request) bool {
	if req.Method != http.MethodPost || req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	return json.NewDecoder(body).Decode(&m) == nil && m.ID != nil && m.Method != ""
}

// refusal reads the body of a 4xx: with a JSON-RPC error in it, the SDK takes
// it from there (nil); without, the status is all there is to say.
func refusal(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	if msg, decodeErr := jsonrpc.DecodeMessage(body); err == nil && decodeErr == nil {
		if r, ok := msg.(*jsonrpc.Response); ok && r.Error != nil {
			resp.Body = io.NopCloser(bytes.NewReader(body))
			return nil
		}
	}
	return &ServerError{StatusCode: resp.StatusCode}
}

// endSession sends the DELETE that ends an MCP session, with the token that the
// session used last: by now the store may hold none. Its failure never asks
// the user for anything.
func (t *transport) endSession(req *http.Request) (*http.Response, error) {
	var token Secret
	if last := t.last.Load(); last != nil {
		token = *last
	}
	resp, err := t.send(req, token)
	if err != nil {
		return nil, networkError("ending the MCP session", err)
	}
	return resp, nil
}

// drain reads a little of an answer nobody wants, so that its connection can
// be used again, and closes it.
func drain(resp *http.Response) {
	if resp == nil || resp.Body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

// callError turns what an SDK call returned into an error of this package (or
// the server's *jsonrpc.Error, or the context's error). The SDK's texts can
// contain a session ID or a URL, so they are not passed on.
func callError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errCallTimeout) {
		return fmt.Errorf("oauthclient: %s: %w", op, ctx.Err())
	}
	if own := ownError(err); own != nil {
		return own
	}
	switch {
	case errors.Is(err, ErrForbiddenAddress):
		return fmt.Errorf("oauthclient: %s: %w", op, ErrForbiddenAddress)
	case errors.Is(err, errSessionLost):
		return &ServerError{StatusCode: http.StatusNotFound}
	case errors.Is(err, context.DeadlineExceeded):
		return &TemporaryError{Op: op, Timeout: true}
	case errors.Is(err, mcp.ErrConnectionClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return brokenConnection(op)
	}
	return errMalformed
}

func brokenConnection(op string) error {
	return &TemporaryError{Op: op, Err: errors.New("the connection broke; whether the server acted is unknown")}
}

// ownError finds the error of this package, or the server's JSON-RPC error, in
// the chain that the SDK and net/http wrapped around it.
func ownError(err error) error {
	for _, find := range []func(error) error{
		as[*AuthorizationRequiredError], as[*TemporaryError], as[*StorageError], as[*InsufficientScopeError],
		as[*AuthorizationError], as[*RegistrationRequiredError], as[*MismatchError], as[*DiscoveryError], as[*ServerError], rpcError,
	} {
		if own := find(err); own != nil {
			return own
		}
	}
	return nil
}

// rpcError finds the JSON-RPC error with which the server answered; nil if there
// is none. The SDK marks its own errors with the same type.
func rpcError(err error) error {
	rpc, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok || slices.Contains([]string{"rejected by transport", "client is closing", "server is closing"}, rpc.Message) {
		return nil
	}
	return rpc
}

// as finds an error of type E in a chain; nil if there is none.
func as[E error](err error) error {
	if own, ok := errors.AsType[E](err); ok {
		return own
	}
	return nil
}
