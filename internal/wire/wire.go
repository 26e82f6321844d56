// Package wire is MCP's client side over streamable HTTP, for the protocol
// revisions 2025-03-26 to 2026-07-28, and nothing else: no OAuth, no stores.
//
// A connection is data ([Conn]). One operation is one HTTP request, which the
// goroutine that asks also reads, up to the response. Nothing runs after an
// operation has returned, and nothing is kept but what the caller passes.
package wire

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Client is what all operations on one MCP server share. It is immutable.
type Client struct {
	// URL is the MCP endpoint.
	URL string
	// HTTP has the transport that sends the requests, which adds authorization
	// and cookies, and CheckRedirect, which decides about redirects; without it
	// none is followed. The other fields are not used.
	HTTP *http.Client
	// Info is the client's name and version.
	Info *mcp.Implementation
	// Capabilities are the client's capabilities, a JSON object.
	Capabilities json.RawMessage
	// Handshake are the capabilities that initialize declares, for all requests of an MCP
	// session. Nil: Capabilities.
	Handshake json.RawMessage
	// DiscoverTimeout bounds how long the server may take to answer
	// server/discover, and other requests that only find something out.
	DiscoverTimeout time.Duration
	// MaxBytes bounds the answers of an operation, see [Op].
	MaxBytes int64
	// Log gets debug records without secrets. It is never nil.
	Log *slog.Logger
	// Observe, if set, is called for each request.
	Observe Observe
}

// Conn is the result of a negotiation. It is never changed: callers that add
// headers change a copy.
type Conn struct {
	Version      string          `json:"version"`
	Capabilities json.RawMessage `json:"capabilities,omitempty"` // of the server, as it sent them
	ServerInfo   json.RawMessage `json:"server_info,omitempty"`
	Instructions string          `json:"instructions,omitempty"`
	SessionID    string          `json:"session_id,omitempty"` // Mcp-Session-Id, a secret
	Declared     json.RawMessage `json:"declared,omitempty"`   // the client's capabilities, of initialize
	// Headers says for each tool which argument goes into which Mcp-Param
	// header. Tools without annotations are absent.
	Headers map[string][]Header `json:"headers,omitempty"`
	// Listed reports whether Headers comes from a complete tools/list.
	Listed bool `json:"listed,omitempty"`
}

// Op is one operation. Its limits hold for all of its requests and pages. An Op
// is for one goroutine.
type Op struct {
	// MaxBytes is how many bytes the answers may still have, decompressed. It
	// counts down.
	MaxBytes int64
	// OnProgress gets the progress of a call, in the calling goroutine. Nil: the
	// server is not asked for progress.
	OnProgress func(mcp.ProgressNotificationParams)
	// OnRequest answers requests of the server (elicitation/create,
	// sampling/createMessage, roots/list). Nil, or an
	// error that is a *jsonrpc.Error, is answered with "method not found" or
	// with that error. The package itself answers ping.
	OnRequest func(ctx context.Context, method string, params json.RawMessage) (result any, err error)
	// Asks says that OnRequest may take long, because it asks a user. It then runs
	// beside the reading of the answer, for one request of a stream after the
	// other, and for those of the standalone stream, too, which a tools/call holds
	// then. Its context ends when the server withdraws the request, and with the
	// call; it has returned when [Client.Call] returns.
	Asks bool
	// Sent is set once the server may have executed a request of [Client.Call].
	// A request for which [NotExecuted] is true does not count.
	Sent bool
}

// Request is what [Client.Call] sends.
type Request struct {
	Method string
	// Name is the name of the tool or prompt, or the URI of the resource.
	Name string
	// Params is a JSON object, or nil.
	Params json.RawMessage
	// Arguments are the tool's arguments, which Mcp-Param headers repeat.
	Arguments json.RawMessage

	token    int64         // asks for progress, unless 0
	patience time.Duration // how long the server may take to answer; 0: as long as the context
}

// NewOp returns an operation with the limits of the client.
func (c *Client) NewOp() *Op { return &Op{MaxBytes: c.MaxBytes} }

// Call sends one request and returns the result as the server spelled it. What
// the server answers with a JSON-RPC error is a [*RPCError], with another HTTP
// status a [*StatusError].
func (c *Client) Call(ctx context.Context, conn *Conn, op *Op, r Request) (result json.RawMessage, err error) {
	before := op.Sent
	op.Sent = true
	if op.OnProgress != nil {
		r.token = randomID()
	}
	call := func() { result, _, err = c.exchange(ctx, conn, op, r) }
	if c.listens(conn, op, r) {
		c.listenDuring(ctx, conn, op, call)
	} else {
		call()
	}
	if err != nil && NotExecuted(err) {
		op.Sent = before
	}
	return result, err
}

// End ends the MCP session of conn. Without a session ID it does nothing. A
// server that does not know the session, or does not let clients end sessions,
// is no error.
func (c *Client) End(ctx context.Context, conn *Conn) error {
	if conn.SessionID == "" {
		return nil
	}
	resp, err := c.send(ctx, http.MethodDelete, conn.header(Request{}, ""), nil)
	if err != nil {
		return err
	}
	defer drain(resp)
	switch status := resp.StatusCode; {
	case status < 300, status == http.StatusNotFound, status == http.StatusGone, status == http.StatusMethodNotAllowed:
		return nil
	}
	return &StatusError{Status: resp.StatusCode}
}
