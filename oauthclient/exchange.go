package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// exchange follows one operation of the SDK through the HTTP requests that it
// makes. It travels in the operation's context, which the SDK hands on to
// every request, retries and resumed streams included.
//
// It keeps the server's result as it came: the SDK's types drop fields they do
// not know and turn large integers into floats.
type exchange struct {
	onProgress func(mcp.ProgressNotificationParams)
	abort      context.CancelFunc // ends the operation; may be nil

	mu      sync.Mutex
	sent    bool
	token   Secret // that was sent last
	refusal error
	result  json.RawMessage
	failure error // why an answer could not be used
	ended   bool  // an event stream ended
}

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// exchangeFrom returns the exchange of a request; a request without one, such
// as a notification in the background, gets a new one that nobody reads.
func exchangeFrom(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// markSent notes a request. A POST begins an answer anew: an operation can take
// several (SEP-2322), of which the last has the result.
func (x *exchange) markSent(method string, token Secret) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent, x.token = true, token
	if method == http.MethodPost {
		x.result, x.ended = nil, false
	}
}

func (x *exchange) wasSent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent
}

// refuse remembers and returns an error of obtaining a token, which would be
// the same for every further request of the operation: the SDK follows a
// failed server/discover with an initialize, which would only repeat discovery,
// registration and the failure.
func (x *exchange) refuse(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refusal = err
	return err
}

func (x *exchange) refused() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refusal
}

// raw returns the result, nil when there was none.
func (x *exchange) raw() json.RawMessage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.result
}

// fail notes why an answer cannot be used, and ends the operation: the SDK
// would take it for a broken connection and ask for the rest again and again.
func (x *exchange) fail(err error) {
	x.mu.Lock()
	if x.failure == nil {
		x.failure = err
	}
	x.mu.Unlock()
	if x.abort != nil {
		x.abort()
	}
}

// callError is [callError] with what only the exchange knows.
func (x *exchange) callError(ctx context.Context, op string, err error) error {
	x.mu.Lock()
	failure, brokeOff, token := x.failure, x.ended && x.result == nil, x.token
	x.mu.Unlock()
	switch {
	case failure != nil:
		return failure
	case brokeOff && ctx.Err() == nil && ownError(err) == nil:
		return brokenConnection(op)
	}
	return withoutToken(callError(ctx, op, err), token)
}

// withoutToken takes the token that a server was sent out of what it says of a
// failure, because errors are logged and shown.
func withoutToken(err error, token Secret) error {
	rpc, ok := errors.AsType[*jsonrpc.Error](err)
	if !ok || token.IsZero() || !strings.Contains(rpc.Message, token.Reveal()) && !bytes.Contains(rpc.Data, []byte(token.Reveal())) {
		return err
	}
	return &jsonrpc.Error{
		Code: rpc.Code, Message: strings.ReplaceAll(rpc.Message, token.Reveal(), redacted),
		Data: bytes.ReplaceAll(rpc.Data, []byte(token.Reveal()), []byte(redacted)),
	}
}

// capture looks at an answer before the SDK does, bounds it to limit bytes, and
// keeps what is malformed from the SDK, which would break the connection and
// with it every other call.
func (x *exchange) capture(req *http.Request, resp *http.Response, limit int64) error {
	if req.Method == http.MethodGet && req.Header.Get("Last-Event-ID") == "" {
		return nil // the standalone stream: endless by nature, each event limited by the SDK
	}
	switch mediaType(resp) {
	case "application/json":
		return x.captureJSON(req, resp, limit)
	case "text/event-stream":
		resp.Body = &capturedStream{ReadCloser: resp.Body, x: x, left: limit}
	default:
		resp.Body = &capturedStream{ReadCloser: resp.Body, x: x, left: limit, opaque: true}
	}
	return nil
}

// captureJSON reads an answer to its end.
func (x *exchange) captureJSON(req *http.Request, resp *http.Response, limit int64) error {
	var body bytes.Buffer
	body.Grow(int(min(max(resp.ContentLength, 0), limit, 1<<20)) + bytes.MinRead)
	_, err := body.ReadFrom(io.LimitReader(resp.Body, limit+1))
	_ = resp.Body.Close()
	switch {
	case err != nil:
		return networkError("reading the MCP server's answer", err)
	case int64(body.Len()) > limit:
		x.fail(errTooLarge)
		return errTooLarge
	}
	if body.Len() > 0 && !x.message(body.Bytes()) && isCall(req) {
		return errMalformed
	}
	resp.Body = io.NopCloser(bytes.NewReader(body.Bytes())) // not &body: the result is part of it
	return nil
}

// message looks at one JSON-RPC message of the answer and reports whether it is
// one. It keeps data, which must not be changed any more.
func (x *exchange) message(data []byte) bool {
	if result := plainResult(data); result != nil {
		x.setResult(result)
		return true
	}
	msg, err := jsonrpc.DecodeMessage(data)
	if err != nil {
		return false
	}
	switch m := msg.(type) {
	case *jsonrpc.Request:
		var p mcp.ProgressNotificationParams
		if m.Method == "notifications/progress" && x.onProgress != nil && json.Unmarshal(m.Params, &p) == nil {
			x.onProgress(p)
		}
	case *jsonrpc.Response:
		if m.Result != nil && !json.Valid(m.Result) {
			return false // the SDK's decoder is less strict
		}
		x.setResult(m.Result)
	}
	return true
}

func (x *exchange) setResult(result json.RawMessage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.result == nil { // the SDK stops at the first as well
		x.result = result
	}
}

// plainResult returns the result of a message that is a response to a call and
// nothing else, as nearly all are; nil for every other, which takes the SDK's
// decoder to judge. That one costs a warm call a tenth of its time.
func plainResult(data []byte) (result json.RawMessage) {
	if !json.Valid(data) {
		return nil
	}
	var version, id []byte
	count := 0
	ok := eachMember(data, func(name, value []byte) {
		switch count++; string(name) {
		case "jsonrpc":
			version = value
		case "id":
			id = value
		case "result":
			result = value
		}
	})
	plainID := len(id) > 0 && len(id) < 16 && bytes.Trim(id, "0123456789") == nil
	if !ok || count != 3 || string(version) != `"2.0"` || !plainID || len(result) == 0 || result[0] != '{' {
		return nil
	}
	return result
}

var (
	errTooLarge  = &ServerError{Reason: "it is larger than Config.MaxResponseBytes"}
	errMalformed = &ServerError{Reason: "it does not follow the protocol"}
)

// capturedStream is an event stream on its way to the SDK.
type capturedStream struct {
	io.ReadCloser
	x      *exchange
	left   int64
	opaque bool   // not an event stream, only bounded
	line   []byte // the unfinished line
	data   []byte // the data of the unfinished event
	other  bool   // that event is not one of MCP
}

func (b *capturedStream) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.x.fail(errTooLarge)
		return 0, errTooLarge
	}
	if b.opaque {
		return n, err
	}
	ok := b.events(p[:n])
	if err == io.EOF {
		ok = ok && b.events([]byte("\n\n")) // the SDK accepts an event that the end of the stream ends
	}
	if !ok && b.x.raw() == nil {
		b.x.fail(errMalformed)
		return 0, errMalformed
	}
	if err != nil {
		b.x.mu.Lock()
		b.x.ended = true
		b.x.mu.Unlock()
	}
	return n, err
}

// events cuts a stream into events (HTML standard, "Interpreting an event
// stream") and passes on their data. It reports whether all is well-formed.
func (b *capturedStream) events(chunk []byte) bool {
	for {
		line, rest, found := bytes.Cut(chunk, []byte("\n"))
		if !found {
			b.line = append(b.line, chunk...)
			return true
		}
		chunk = rest
		if len(b.line) > 0 {
			line = append(b.line, line...)
			b.line = b.line[:0]
		}
		if !b.field(bytes.TrimSuffix(line, []byte("\r"))) {
			return false
		}
	}
}

// field handles one line of a stream; an empty one ends the event. A line
// without a colon is a field in the standard, but not for the SDK.
func (b *capturedStream) field(line []byte) (ok bool) {
	if len(line) == 0 {
		ok = b.other || len(bytes.TrimSpace(b.data)) == 0 || b.x.message(b.data)
		b.data, b.other = nil, false
		return ok
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch string(name) {
	case "data":
		if len(b.data) > 0 {
			b.data = append(b.data, '\n')
		}
		b.data = append(b.data, value...)
	case "event":
		b.other = len(value) > 0 && string(value) != "message"
	}
	return found
}
