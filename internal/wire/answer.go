package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// exchange sends one request and reads its answer.
type exchange struct {
	c       *Client
	conn    *Conn
	op      *Op
	id      int64
	token   int64 // of progress, 0 for none
	status  int   // the HTTP status of what is read
	secrets *http.Request

	answered bool
	result   json.RawMessage
	err      error // the server's
	otherIDs int   // number of responses with another ID; result and err are those of the last one
	pooled   bool  // the text is in a buffer of the pool, so what is kept must be cloned
	replies  int   // requests of the server that were answered
	asked    asked // requests of the server that are answered beside
	// standalone says that what is read is the stream of no request.
	standalone bool
}

// cancelTimeout bounds notifications/cancelled.
const cancelTimeout = 2 * time.Second

// exchange sends a request and reads its answer. It also returns the header of
// the HTTP answer.
func (c *Client) exchange(ctx context.Context, conn *Conn, op *Op, r Request) (json.RawMessage, http.Header, error) {
	if c.Observe != nil {
		return c.observed(ctx, conn, op, r)
	}
	x := &exchange{c: c, conn: conn, op: op, id: randomID(), token: r.token}
	body, err := c.request(conn, r, x.id, r.token)
	if err != nil {
		return nil, nil, err
	}
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var s *silence
	if r.patience > 0 {
		inner, s = withPatience(inner, stop, r.patience)
		defer s.end()
	}
	resp, err := c.send(inner, http.MethodPost, conn.header(r, acceptAnswer), body)
	var header http.Header
	if err == nil {
		header = resp.Header
		if s != nil {
			s.begin()
		}
		err = x.readAlone(inner, stop, resp)
	}
	switch {
	case err == nil:
		return x.result, header, x.err
	case ctx.Err() == nil && s != nil && s.over.Load():
		return nil, nil, errSilent
	case ctx.Err() == nil:
		return nil, nil, err
	}
	if _, unsent := errors.AsType[*unsentError](err); unsent {
		return nil, nil, &unsentError{cause: ctx.Err()}
	}
	x.cancel(ctx, r.Method)
	return nil, nil, ctx.Err()
}

// cancel tells the server that the caller has given up, on revisions where the
// end of the HTTP request does not say so. A ping is no work to stop, and
// initialize must not be cancelled.
func (x *exchange) cancel(ctx context.Context, method string) {
	if modern(x.conn.Version) || method == "initialize" || method == "ping" {
		return
	}
	// The context has ended, and the server does not know it yet.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer stop()
	body := strconv.AppendInt([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), x.id, 10)
	_ = x.c.notify(ctx, x.conn, append(body, `,"reason":"the client has stopped waiting"}}`...)) // notify has logged it
}

// notify posts a message that has no answer. It logs a refusal, and returns
// an error of [Client.HTTP].
func (c *Client) notify(ctx context.Context, conn *Conn, body []byte) error {
	header := conn.header(Request{}, acceptAnswer)
	header["Content-Type"] = []string{"application/json"}
	resp, err := c.send(ctx, http.MethodPost, header, body)
	if err != nil {
		c.Log.DebugContext(ctx, "MCP notification failed", "error", err)
		return err
	}
	if resp.StatusCode >= 300 {
		c.Log.DebugContext(ctx, "the MCP server refused a notification or response", "status", resp.StatusCode)
	}
	drain(resp)
	return nil
}

// readAlone is read that leaves no work beside it when it returns, or when a function
// of the host panics.
func (x *exchange) readAlone(ctx context.Context, stop func(), resp *http.Response) error {
	defer x.asked.end()
	return x.read(ctx, stop, resp)
}

// read reads an answer up to the response, whatever its form.
func (x *exchange) read(ctx context.Context, stop func(), resp *http.Response) error {
	x.status, x.secrets = resp.StatusCode, resp.Request
	kind := mediaType(resp.Header)
	if resp.StatusCode >= 300 {
		defer func() { _ = resp.Body.Close() }()
		return x.refusal(resp)
	}
	if kind == "text/event-stream" {
		return x.stream(ctx, stop, resp)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := readAll(resp.Body, resp.ContentLength, x.op)
	if err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, byteOrderMark)
	first := skipSpace(text, 0)
	switch {
	case first == len(text):
		return &MalformedError{Reason: "it is empty"}
	case kind == "text/html" || text[first] == '<':
		return &MalformedError{Reason: "it is an HTML page"}
	}
	if err := x.messages(ctx, text); err != nil {
		return err
	}
	return x.settle(&MalformedError{Reason: "it has no response, or several"})
}

// settle takes the only response of an answer, whatever its ID.
func (x *exchange) settle(otherwise error) error {
	if x.answered || x.otherIDs == 1 {
		return nil
	}
	return otherwise
}

// maxRefusal bounds what is read of an answer that refuses the request.
const maxRefusal = 64 << 10

// refusal makes the error of an HTTP status.
func (x *exchange) refusal(resp *http.Response) error {
	limit := &Op{MaxBytes: min(x.op.MaxBytes, maxRefusal)}
	x.op.MaxBytes -= limit.MaxBytes
	text, err := readRefusal(resp, limit)
	x.op.MaxBytes += limit.MaxBytes
	if err == nil {
		var own error
		_ = visitMessages(bytes.TrimPrefix(text, byteOrderMark), func(m message) {
			if !m.isError() || m.err[0] != '{' {
				return // a text is what gateways say, and is no JSON-RPC
			}
			rpc := newRPCError(resp.StatusCode, redact(x.secrets, m.err))
			if rpc.Err.Code < 0 || !temporary(resp.StatusCode) {
				own = rpc
			}
		})
		if own != nil {
			return own
		}
	}
	return newStatusError(resp, redact(x.secrets, text))
}

// temporary reports whether an HTTP status says that the server is in trouble, or
// is asked too much. Its body is then the JSON-RPC error of an MCP server only
// if it has such a code: gateways send their own objects.
func temporary(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// readRefusal reads what a server says of its refusal. Of an event stream, which
// may stay open, it is the first event.
func readRefusal(resp *http.Response, limit *Op) ([]byte, error) {
	if mediaType(resp.Header) != "text/event-stream" {
		return readAll(resp.Body, resp.ContentLength, limit)
	}
	e := newEvents(resp.Body, limit)
	defer e.release()
	first, err := e.next()
	return bytes.Clone(first.data), err
}

// messages handles the messages of one JSON text.
func (x *exchange) messages(ctx context.Context, text []byte) error {
	return visitMessages(text, func(m message) {
		switch {
		case x.answered:
		case m.method != nil && m.id != nil:
			x.reply(ctx, m)
		case m.method != nil:
			x.notification(m)
		case m.isResponse():
			x.response(m)
		}
	})
}

// response keeps a response, which is the answer if the ID is ours or none.
func (x *exchange) response(m message) {
	if n, ok := number(m.id); m.id == nil || ok && n == float64(x.id) {
		x.answered = true
	} else {
		x.otherIDs++
	}
	x.result, x.err = m.result, nil
	if x.pooled {
		x.result = bytes.Clone(m.result)
	}
	if m.isError() {
		x.result, x.err = nil, newRPCError(x.status, redact(x.secrets, m.err))
	}
}

// message is a JSON-RPC message, cut into its members. An absent member and,
// for the ID, null is nil.
type message struct{ id, method, params, result, err []byte }

func (m *message) isError() bool {
	return m.method == nil && m.err != nil && (m.result == nil || string(m.result) == "null" || m.err[0] == '{')
}

func (m *message) isResponse() bool { return m.result != nil || m.isError() }

// visitMessages visits the messages of a JSON text, which is a message or a
// batch. What is no object is skipped. It returns a [*MalformedError] or
// ErrTooDeep.
func visitMessages(text []byte, visit func(message)) error {
	first := skipSpace(text, 0)
	if first < len(text) && text[first] == '[' {
		if end := skipWhole(text); end < 0 {
			return invalid(end)
		}
		Elements(text, func(value []byte) {
			var m message
			if Members(value, m.set) {
				visit(m)
			}
		})
		return nil
	}
	var m message
	if end := parts(text, '{', func(name, value []byte) { m.set(Unquote(name), value) }); end < 0 {
		return invalid(end)
	}
	visit(m)
	return nil
}

func invalid(end int) error {
	if end == tooDeep {
		return ErrTooDeep
	}
	return &MalformedError{Reason: "it is no JSON-RPC message"}
}

// set keeps a member.
func (m *message) set(name, value []byte) {
	null := string(value) == "null"
	switch string(name) {
	case "id":
		if m.id = value; null {
			m.id = nil
		}
	case "method":
		m.method = Unquote(value)
	case "params":
		m.params = value
	case "result":
		m.result = value
	case "error":
		if m.err = value; null {
			m.err = nil
		}
	}
}

// number reads a number in any spelling, a JSON string included.
func number(text []byte) (float64, bool) {
	if unquoted := Unquote(text); unquoted != nil {
		text = unquoted
	}
	n, err := strconv.ParseFloat(string(text), 64)
	return n, err == nil
}

// readAll reads a body within the limit of op. hint is the length that the
// server announced.
func readAll(body io.Reader, hint int64, op *Op) ([]byte, error) {
	buf := make([]byte, 0, min(max(hint+1, 512), 64<<10))
	for idle := 0; ; {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := readSome(body, buf[len(buf):cap(buf)], op)
		buf = buf[:len(buf)+n]
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		case idle == maxIdle:
			return buf, &brokenError{cause: io.ErrNoProgress}
		}
	}
}

// maxIdle is how often in a row a body may give no bytes and no error.
const maxIdle = 100

// readSome reads once within the limit of op. Errors but [io.EOF] are
// ErrBroken or ErrTooLarge.
func readSome(body io.Reader, buf []byte, op *Op) (int, error) {
	if int64(len(buf)) > op.MaxBytes {
		buf = buf[:max(op.MaxBytes, 0)+1]
	}
	n, err := body.Read(buf)
	op.MaxBytes -= int64(n)
	switch {
	case op.MaxBytes < 0:
		return 0, ErrTooLarge
	case err != nil && err != io.EOF:
		return n, &brokenError{cause: err}
	}
	return n, err
}

// mediaType returns an answer's content type without parameters.
func mediaType(header http.Header) string {
	value := header.Get("Content-Type")
	if value == "application/json" || value == "text/event-stream" {
		return value
	}
	value, _, _ = strings.Cut(value, ";")
	return strings.ToLower(strings.TrimSpace(value))
}

// byteOrderMark may stand before a text.
var byteOrderMark = []byte("\xef\xbb\xbf")

// maxDrain bounds what is read of an answer so that its connection can be used
// again.
const maxDrain = 16 << 10

// drain reads the short rest of an answer, so that its connection can be used
// again, and closes it. It does not wait for an event stream to end.
func drain(resp *http.Response) {
	if resp.ContentLength != 0 && mediaType(resp.Header) != "text/event-stream" {
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	}
	_ = resp.Body.Close()
}
