package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

var (
	// ErrMalformed is the error of an answer that holds no response. A
	// [*MalformedError] says why.
	ErrMalformed = errors.New("wire: the answer of the server is not valid")
	// ErrTooLarge means that the answers of an operation have more bytes than
	// [Op.MaxBytes].
	ErrTooLarge = errors.New("wire: the answer of the server is too large")
	// ErrTooDeep means that an answer is nested deeper than 1,000 levels.
	ErrTooDeep = errors.New("wire: the answer of the server is nested too deep")
	// ErrBroken means that the connection or the event stream broke before the
	// answer. Whether the server executed the request is unknown.
	ErrBroken = errors.New("wire: the connection broke before the answer of the server")
	// ErrRedirect means that the server answered with a redirect that was not
	// followed, or that turned a POST into a GET.
	ErrRedirect = errors.New("wire: the server answered with a redirect")
	// ErrOldTransport means that the server speaks only the HTTP+SSE transport
	// of revision 2024-11-05.
	ErrOldTransport = errors.New("wire: the server speaks only the HTTP+SSE transport of MCP revision 2024-11-05")
	// ErrNoVersion means that client and server have no protocol revision in
	// common.
	ErrNoVersion = errors.New("wire: the server speaks no protocol revision that this client knows")
)

// MalformedError is an [ErrMalformed] with its reason.
type MalformedError struct {
	Reason string
}

func (e *MalformedError) Error() string { return ErrMalformed.Error() + ": " + e.Reason }

// Unwrap returns [ErrMalformed].
func (e *MalformedError) Unwrap() error { return ErrMalformed }

// StatusError is an answer with an HTTP status that carries no result.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // 0 if the server named none
	Text       string        // what the server said: at most 200 bytes of printable text on one line
}

func (e *StatusError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("wire: the server answered with HTTP status %d", e.Status)
	}
	return fmt.Sprintf("wire: the server answered with HTTP status %d: %s", e.Status, e.Text)
}

// RPCError is a JSON-RPC error of the server. It unwraps to the
// *[jsonrpc.Error], whose Data is as the server sent it.
type RPCError struct {
	Status int // the HTTP status of the answer
	Err    *jsonrpc.Error
}

func (e *RPCError) Error() string {
	return fmt.Sprintf("wire: the server answered with error %d: %s", e.Err.Code, clean(e.Err.Message))
}

// Unwrap returns the *[jsonrpc.Error].
func (e *RPCError) Unwrap() error { return e.Err }

// brokenError is an [ErrBroken] with its cause.
type brokenError struct{ cause error }

func (e *brokenError) Error() string   { return ErrBroken.Error() + ": " + e.cause.Error() }
func (e *brokenError) Unwrap() []error { return []error{ErrBroken, e.cause} }

// unsentError is an error of [Client.HTTP] that came before a byte of the
// request's body was read, or after a refusal: the server cannot have executed the
// request.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }

// MarkNotExecuted marks an error of [Client.HTTP] that came before the request was
// sent, or after the server had refused it, with a 401 for example.
func MarkNotExecuted(err error) error { return &unsentError{cause: err} }

// NotExecuted reports whether the server certainly did not execute the request
// that failed with err, so that the request may be sent again.
func NotExecuted(err error) bool {
	if errors.Is(err, ErrBroken) {
		return false
	}
	if _, unsent := errors.AsType[*unsentError](err); unsent {
		return true
	}
	status, code := failure(err)
	switch code {
	case jsonrpc.CodeInvalidParams, jsonrpc.CodeInternalError:
		return false // servers send these also for what a tool's result lacks
	}
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusTooManyRequests:
		return true
	}
	return code == codeHeaderMismatch || code == codeMissingCapability || code == codeUnsupportedVersion
}

// failure returns the HTTP status of an error of the server, and its JSON-RPC
// code, 0 if it has none.
func failure(err error) (status int, code int64) {
	if rpc, ok := errors.AsType[*RPCError](err); ok {
		return rpc.Status, rpc.Err.Code
	}
	if refusal, ok := errors.AsType[*StatusError](err); ok {
		return refusal.Status, 0
	}
	return 0, 0
}

// newStatusError makes the error of an answer without a JSON-RPC error.
func newStatusError(resp *http.Response, body []byte) *StatusError {
	e := &StatusError{Status: resp.StatusCode, Text: clean(string(body))}
	after := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		e.RetryAfter = max(0, time.Until(at))
	}
	return e
}

// newRPCError reads the error member of a response leniently: servers spell
// codes as strings, and errors as bare texts.
func newRPCError(status int, text []byte) *RPCError {
	e := &RPCError{Status: status, Err: &jsonrpc.Error{}}
	if message := Unquote(text); message != nil {
		e.Err.Message = string(message)
		return e
	}
	Members(text, func(name, value []byte) {
		switch string(name) {
		case "code":
			n, _ := number(value)
			e.Err.Code = int64(n)
		case "message":
			if e.Err.Message = string(Unquote(value)); value[0] != '"' {
				e.Err.Message = string(value)
			}
		case "data":
			e.Err.Data = json.RawMessage(bytes.Clone(value))
		}
	})
	return e
}

// minSecret is the length in bytes from which a text is taken for a secret. A
// shorter one could be part of any word.
const minSecret = 6

// redact takes the secrets of a request out of what the server said about it.
func redact(req *http.Request, text []byte) []byte {
	if req == nil {
		return text
	}
	_, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	secrets := []string{token, req.Header.Get("Mcp-Session-Id")}
	for _, cookie := range req.Cookies() {
		secrets = append(secrets, cookie.Value)
	}
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			text = bytes.ReplaceAll(text, []byte(secret), []byte("[redacted]"))
		}
	}
	return text
}

// maxText is the length in bytes of what is kept of a server's text.
const maxText = 200

// clean makes a server's text printable, in one line of at most maxText bytes.
func clean(text string) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError {
			space = b.Len() > 0
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		if b.Len()+utf8.RuneLen(r) > maxText {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}
