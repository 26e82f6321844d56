package wire

import (
	"context"
	"net/http"

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
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
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

// forgotten reports whether the server does not speak the revision of conn any
// more, without a doubt.
func (c *Client) forgotten(ctx context.Context, conn *Conn, op *Op) bool {
	probe := &Op{MaxBytes: op.MaxBytes}
	defer func() { op.MaxBytes = probe.MaxBytes }()
	found, versions, err := c.discover(ctx, probe)
	if err != nil || ctx.Err() != nil {
		_, code := failure(err)
		return code == codeUnsupportedVersion
	}
	return found == nil && versions != nil
}

// refusesPing reports whether the server refuses a ping on conn. A server that
// does not know the method has found the session.
func (c *Client) refusesPing(ctx context.Context, conn *Conn, op *Op) bool {
	ctx, stop := context.WithTimeout(ctx, c.DiscoverTimeout)
	defer stop()
	probe := &Op{MaxBytes: op.MaxBytes}
	defer func() { op.MaxBytes = probe.MaxBytes }()
	_, _, err := c.exchange(ctx, conn, probe, Request{Method: "ping"})
	status, code := failure(err)
	switch status {
	case 0, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	if code != 0 {
		return code != jsonrpc.CodeMethodNotFound || status == http.StatusNotFound
	}
	return status < 500
}
