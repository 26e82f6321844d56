package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"

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

	mu       sync.Mutex
	sent     bool
	refusal  error
	result   json.RawMessage
	oversize bool
	broken   bool
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
func (x *exchange) markSent(method string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent = true
	if method == http.MethodPost {
		x.result, x.broken = nil, false
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

func (x *exchange) tooLarge() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.oversize
}

// brokeOff tells whether an answer ended before its result came.
func (x *exchange) brokeOff() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.broken && x.result == nil
}

// callError is [callError] with what only the exchange knows.
func (x *exchange) callError(ctx context.Context, op string, err error) error {
	switch {
	case x.tooLarge():
		return &ServerError{Reason: "it is larger than Config.MaxResponseBytes"}
	case x.brokeOff() && ctx.Err() == nil && ownError(err) == nil:
		return brokenConnection(op)
	}
	return callError(ctx, op, err)
}

// capture wraps an answer's body so that it ends after limit bytes and its
// messages are seen here before the SDK acts on them.
func (x *exchange) capture(resp *http.Response, limit int64) io.ReadCloser {
	if resp.Request != nil && resp.Request.Method == http.MethodGet && resp.Request.Header.Get("Last-Event-ID") == "" {
		return resp.Body // the standalone stream: endless by nature, each event limited by the SDK
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	body := &capturedBody{
		ReadCloser: resp.Body, x: x, left: limit,
		sse: mediaType == "text/event-stream", json: mediaType == "application/json",
	}
	if body.json && resp.ContentLength > 0 {
		body.line = make([]byte, 0, min(resp.ContentLength, limit, 1<<20))
	}
	return body
}

// message looks at one JSON-RPC message of the answer.
func (x *exchange) message(data []byte) {
	var m struct {
		Method string          `json:"method"`
		Result json.RawMessage `json:"result"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(data, &m) != nil {
		return // the SDK will say what is wrong with it
	}
	switch {
	case m.Method == "notifications/progress" && x.onProgress != nil:
		var p mcp.ProgressNotificationParams
		if json.Unmarshal(m.Params, &p) == nil {
			x.onProgress(p)
		}
	case m.Method == "" && m.Result != nil:
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.result == nil { // the SDK stops at the first as well
			x.result = m.Result
		}
	}
}

// errTooLarge ends an answer that exceeds [Config.MaxResponseBytes].
var errTooLarge = errors.New("oauthclient: the answer is too large")

// capturedBody is an answer's body on its way to the SDK.
type capturedBody struct {
	io.ReadCloser
	x         *exchange
	left      int64
	sse, json bool
	line      []byte // the unfinished line of an SSE stream, or the whole JSON body
	data      []byte // the data of the unfinished SSE event
	other     bool   // that event is not one of MCP
}

func (b *capturedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.x.mu.Lock()
		b.x.oversize = true
		b.x.mu.Unlock()
		return 0, errTooLarge
	}
	switch {
	case b.json:
		b.line = append(b.line, p[:n]...)
		if err == io.EOF && len(b.line) > 0 {
			b.x.message(b.line)
			b.line = nil
		}
	case b.sse:
		b.events(p[:n])
		if err == io.EOF {
			b.events([]byte("\n\n")) // the SDK accepts an event that the end of the stream ends
		}
	}
	if err != nil && (b.sse || err != io.EOF) {
		b.x.mu.Lock()
		b.x.broken = true
		b.x.mu.Unlock()
	}
	return n, err
}

// events cuts a stream into events (HTML standard, "Interpreting an event
// stream") and passes on their data.
func (b *capturedBody) events(chunk []byte) {
	for {
		line, rest, found := bytes.Cut(chunk, []byte("\n"))
		if !found {
			b.line = append(b.line, chunk...)
			return
		}
		chunk = rest
		if len(b.line) > 0 {
			line = append(b.line, line...)
			b.line = b.line[:0]
		}
		b.field(bytes.TrimSuffix(line, []byte("\r")))
	}
}

// field handles one line of a stream; an empty one ends the event.
func (b *capturedBody) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch {
	case len(line) == 0:
		if len(b.data) > 0 && !b.other {
			b.x.message(b.data)
		}
		b.data, b.other = b.data[:0], false
	case string(name) == "data":
		if len(b.data) > 0 {
			b.data = append(b.data, '\n')
		}
		b.data = append(b.data, value...)
	case string(name) == "event":
		b.other = len(value) > 0 && string(value) != "message"
	}
}
