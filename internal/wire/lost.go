package wire

import (
	"context"
	"net/http"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// Lost reports whether err, an error of [Client.Call] on conn, means that conn
// is of no use any more. It may send one request to find out.
func (c *Client) Lost(ctx context.Context, conn *Conn, op *Op, err error) bool {
	status, code := failure(err)
	switch {
	case status == 0, status >= 500 && code == 0:
		return false
	case code == codeMissingCapability, code == codeURLElicitation:
		return false
	case code == codeUnsupportedVersion:
		return true
	case code == codeHeaderMismatch:
		return !modern(conn.Version)
	case aboutCaller(status):
		return false
	case modern(conn.Version):
		// Servers of this revision answer these codes with a 4xx.
		known := code == jsonrpc.CodeMethodNotFound || code == jsonrpc.CodeInvalidParams
		return status >= 400 && !known && c.forgotten(ctx, conn, op)
	case conn.SessionID == "":
		return status >= 400 && c.refusesPing(ctx, conn, op)
	case status == http.StatusNotFound && code != jsonrpc.CodeMethodNotFound:
		return true
	case code != 0, status == http.StatusBadRequest, status == http.StatusNotFound, status == http.StatusGone:
		return c.refusesPing(ctx, conn, op)
	}
	return false
}

// forgotten reports whether server/discover shows that the server does not speak
// the revision of conn any more.
func (c *Client) forgotten(ctx context.Context, conn *Conn, op *Op) bool {
	result, status, code := c.probe(ctx, conn, op, "server/discover")
	switch supported := (&Conn{}).discovered(result); {
	case result != nil:
		return supported != nil && !slices.Contains(supported, conn.Version)
	case code == codeHeaderMismatch, code == codeMissingCapability:
		return false
	}
	return code != 0 || status >= 400 && status < 500
}

// refusesPing reports whether the server refuses a ping on conn.
func (c *Client) refusesPing(ctx context.Context, conn *Conn, op *Op) bool {
	_, status, code := c.probe(ctx, conn, op, "ping")
	if code == jsonrpc.CodeMethodNotFound && status != http.StatusNotFound {
		return false // the server has found the session, and does not know the method
	}
	return code != 0 || status >= 400 && status < 500
}

// probe sends a request to see how the server answers: with a result, with a
// refusal that says something about conn, or (0, 0) with neither.
func (c *Client) probe(ctx context.Context, conn *Conn, op *Op, method string) (result []byte, status int, code int64) {
	result, _, err := c.exchange(ctx, conn, op, Request{Method: method, patience: c.DiscoverTimeout})
	if status, code = failure(err); aboutCaller(status) {
		return nil, 0, 0
	}
	return result, status, code
}

// aboutCaller reports whether an HTTP status is about the caller's rights, or
// the rate or time of requests, and not about what the request asks for.
func aboutCaller(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return false
}
