package wire_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/ports"
	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// What real servers send in a JSON body is read.
func TestJSONAnswers(t *testing.T) {
	t.Parallel()
	const ok = `{"jsonrpc":"2.0","id":$ID,"result":{"n":9007199254740993,"e":1.50}}`
	for name, tc := range map[string]struct{ contentType, body string }{
		"plain":                  {"application/json", ok},
		"charset":                {"Application/JSON; charset=utf-8", ok},
		"text/json":              {"text/json", ok},
		"no content type":        {"", ok},
		"another content type":   {"text/plain", ok},
		"byte order mark":        {"application/json", "\xef\xbb\xbf" + ok},
		"white space":            {"application/json", "\r\n\t " + ok + "\n\n"},
		"ID as a string":         {"application/json", strings.Replace(ok, "$ID", `"$ID"`, 1)},
		"ID as a float":          {"application/json", strings.Replace(ok, "$ID", `$ID.0`, 1)},
		"ID null":                {"application/json", strings.Replace(ok, "$ID", `null`, 1)},
		"no ID":                  {"application/json", strings.Replace(ok, `"id":$ID,`, ``, 1)},
		"foreign ID":             {"application/json", strings.Replace(ok, "$ID", `"other"`, 1)},
		"ID last":                {"application/json", `{"result":{"n":9007199254740993,"e":1.50},"id":$ID}`},
		"no version, null error": {"application/json", `{"id":$ID,"error":null,"result":{"n":9007199254740993,"e":1.50}}`},
		"escaped name":           {"application/json", strings.Replace(ok, `"result"`, `"res\u0075lt"`, 1)},
		"batch":                  {"application/json", `[` + ok + `]`},
		"batch with others":      {"application/json", `[{"jsonrpc":"2.0","method":"notifications/message"},1,null,{},` + ok + `,{"jsonrpc":"2.0","id":-1,"result":{}}]`},
		"batch, foreign ID":      {"application/json", `[{"jsonrpc":"2.0","method":"x"},` + strings.Replace(ok, "$ID", "7", 1) + `]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerText(tc.contentType, tc.body))
			for _, version := range []string{"2026-07-28", "2025-06-18"} {
				got, err := f.call(t, version)
				require.NoError(t, err)
				require.Equal(t, `{"n":9007199254740993,"e":1.50}`, string(got), "as the server spelled it")
			}
			require.Len(t, f.requests(), 2)
		})
	}
}

// An answer of another form is an error at once, which says why.
func TestJSONAnswersRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ contentType, body, reason string }{
		"empty":             {"application/json", "", "empty"},
		"spaces":            {"application/json", " \n", "empty"},
		"byte order mark":   {"application/json", "\xef\xbb\xbf", "empty"},
		"HTML":              {"text/html; charset=utf-8", "<html>log in</html>", "HTML"},
		"HTML without type": {"", "<!doctype html>", "HTML"},
		"HTML as JSON":      {"application/json", "<html>", "HTML"},
		"text":              {"text/plain", "hello", "no JSON-RPC message"},
		"broken JSON":       {"application/json", `{"jsonrpc":`, "no JSON-RPC message"},
		"invalid inside":    {"application/json", `{"jsonrpc":"2.0","id":$ID,"result":{"a":01}}`, "no JSON-RPC message"},
		"trailing text":     {"application/json", `{"jsonrpc":"2.0","id":$ID,"result":{}} x`, "no JSON-RPC message"},
		"array":             {"application/json", `[]`, "no response"},
		"number":            {"application/json", `1`, "no JSON-RPC message"},
		"object":            {"application/json", `{}`, "no response"},
		"only notification": {"application/json", `{"jsonrpc":"2.0","method":"x"}`, "no response"},
		"two foreign":       {"application/json", `[{"id":-1,"result":{}},{"id":-2,"result":{}}]`, "no response"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newFake(t, answerText(tc.contentType, tc.body)).call(t, "2025-06-18")
			requireMalformed(t, err, tc.reason)
		})
	}
	for _, status := range []int{200, 202, 204} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(status) })
			_, err := f.call(t, "2025-06-18")
			requireMalformed(t, err, "empty")
		})
	}
}

// An error of the server comes with its data and its HTTP status, in any
// spelling.
func TestRPCErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		member string
		want   jsonrpc.Error
	}{
		"plain":           {200, `{"code":-32602,"message":"no such tool","data":{"n":9007199254740993}}`, jsonrpc.Error{Code: -32602, Message: "no such tool", Data: []byte(`{"n":9007199254740993}`)}},
		"URL elicitation": {200, `{"code":-32042,"message":"visit","data":{"elicitations":[{"url":"https://a.example"}]}}`, jsonrpc.Error{Code: -32042, Message: "visit", Data: []byte(`{"elicitations":[{"url":"https://a.example"}]}`)}},
		"400":             {400, `{"code":-32021,"message":"m","data":{"requiredCapabilities":{}}}`, jsonrpc.Error{Code: -32021, Message: "m", Data: []byte(`{"requiredCapabilities":{}}`)}},
		"500":             {500, `{"code":-32603,"message":"m"}`, jsonrpc.Error{Code: -32603, Message: "m"}},
		"code as string":  {200, `{"code":"-32000","message":7}`, jsonrpc.Error{Code: -32000, Message: "7"}},
		"code as float":   {200, `{"code":-32000.0,"message":"m"}`, jsonrpc.Error{Code: -32000, Message: "m"}},
		"bare text":       {200, `"out of order"`, jsonrpc.Error{Message: "out of order"}},
		"empty":           {200, `{}`, jsonrpc.Error{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) { fail(w, tc.status, m, tc.member) })
			op := f.NewOp()
			_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
			var own *wire.RPCError
			require.ErrorAs(t, err, &own)
			require.Equal(t, tc.status, own.Status)
			var got *jsonrpc.Error
			require.ErrorAs(t, err, &got)
			require.Equal(t, tc.want, *got)
		})
	}
}

// An HTTP status without a JSON-RPC error tells what the server said, in one
// bounded line without the secrets of the request.
func TestStatusErrors(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, _ rpc) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "slow\x1b[31m\n\tdown "+r.Header.Get("Mcp-Session-Id")+" \u202e"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+strings.Repeat(" ä", 200))
	})
	f.HTTP.Transport = bearer{f.HTTP.Transport}
	_, err := f.call(t, "2025-06-18")
	var status *wire.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusTooManyRequests, status.Status)
	require.Equal(t, 7*time.Second, status.RetryAfter)
	require.True(t, strings.HasPrefix(status.Text, "slow [31m down [redacted] [redacted] ä ä"), status.Text)
	require.LessOrEqual(t, len(status.Text), 200)
	require.NotContains(t, err.Error(), "C4N4RY")

	f = newFake(t, func(w http.ResponseWriter, r *http.Request, _ rpc) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no backend "+r.Header.Get("Cookie"))
	})
	f.HTTP.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.AddCookie(&http.Cookie{Name: "lb", Value: "C00KIE-C4N4RY"})
		return http.DefaultTransport.RoundTrip(r)
	})
	_, err = f.call(t, "2025-06-18")
	require.ErrorAs(t, err, &status)
	require.Equal(t, "no backend lb=[redacted]", status.Text)

	f = newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		fail(w, 400, m, `{"code":-32000,"message":"no `+r.Header.Get("Mcp-Session-Id")+`","data":"`+r.Header.Get("Mcp-Session-Id")+`"}`)
	})
	_, err = f.call(t, "2025-06-18")
	var own *wire.RPCError
	require.ErrorAs(t, err, &own)
	require.Equal(t, `no [redacted]`, own.Err.Message)
	require.Equal(t, `"[redacted]"`, string(own.Err.Data))
}

// A refusal in an event stream is read, and not waited for.
func TestRefusalInStream(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusBadRequest)
		stream(w, m, "event: message\ndata: {\"id\":$ID,\"error\":{\"code\":-32000,\"message\":\"m\"}}\n\n")
		<-r.Context().Done()
	})
	_, err := f.call(t, "2025-06-18")
	var own *wire.RPCError
	require.ErrorAs(t, err, &own)
	require.Equal(t, 400, own.Status)
	require.EqualValues(t, -32000, own.Err.Code)
}

// bearer sends a token, as the transport of oauthclient does.
type bearer struct{ base http.RoundTripper }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer TOKEN-C4N4RY")
	return b.base.RoundTrip(r)
}

// Bytes are bounded over all answers of an operation, after decompression.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", "text/event-stream"} {
		for _, zipped := range []bool{false, true} {
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
				w.Header().Set("Content-Type", contentType)
				var out io.Writer = w
				if zipped {
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					defer func() { _ = z.Close() }()
					out = z
				}
				for range 1 << 12 {
					if _, err := io.WriteString(out, ": "+strings.Repeat(" ", 1022)); err != nil {
						return
					}
				}
			})
			op := f.NewOp()
			_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
			require.ErrorIs(t, err, wire.ErrTooLarge, contentType)
			require.Negative(t, op.MaxBytes)
		}
	}
	f := newFake(t, answerText("application/json", `{"jsonrpc":"2.0","id":$ID,"result":{"x":"`+strings.Repeat("x", 400)+`"}}`))
	op := f.NewOp()
	op.MaxBytes = 1000
	for range 2 {
		_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
		require.NoError(t, err)
	}
	_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.ErrorIs(t, err, wire.ErrTooLarge)
}

// Nesting is bounded before anything recursive reads it.
func TestTooDeep(t *testing.T) {
	t.Parallel()
	deep := `{"jsonrpc":"2.0","id":$ID,"result":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`
	_, err := newFake(t, answerText("application/json", deep)).call(t, "2025-06-18")
	require.NoError(t, err)
	deeper := strings.Replace(strings.Replace(deep, "[", "[[", 1), "]", "]]", 1)
	for contentType, text := range map[string]string{"application/json": deeper, "text/event-stream": "data: " + deeper + "\n\n", "text/json": "[" + deep + "]"} {
		_, err := newFake(t, answerText(contentType, text)).call(t, "2025-06-18")
		require.ErrorIs(t, err, wire.ErrTooDeep, contentType)
	}
}

// A redirect is not followed, and an answer to a GET that a POST became is not
// read.
func TestRedirect(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
			if r.URL.Path == "/elsewhere" {
				result(w, rpc{ID: []byte("1")}, `{}`)
				return
			}
			http.Redirect(w, r, "/elsewhere", status)
		})
		_, err := f.call(t, "2025-06-18")
		require.ErrorIs(t, err, wire.ErrRedirect)
		require.Len(t, f.requests(), 1)
		f.HTTP = &http.Client{Transport: f.HTTP.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		_, err = f.call(t, "2025-06-18")
		if status < 307 {
			require.ErrorIs(t, err, wire.ErrRedirect)
		} else {
			require.NoError(t, err)
		}
	}
}

// A body that breaks off is a broken connection.
func TestTruncated(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{}}`)
	})
	op := f.NewOp()
	_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.ErrorIs(t, err, wire.ErrBroken)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.False(t, wire.NotExecuted(err))
	require.True(t, op.Sent)
}

// What the server certainly did not execute may be sent again, and does not
// count as sent.
func TestNotExecuted(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 405, 410, 429} {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(status) })
		op := f.NewOp()
		_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
		require.True(t, wire.NotExecuted(err), status)
		require.False(t, op.Sent)
	}
	for _, status := range []int{500, 502, 503, 504, 408, 409} {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(status) })
		op := f.NewOp()
		_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
		require.False(t, wire.NotExecuted(err), status)
		require.True(t, op.Sent)
	}
	for code, want := range map[string]bool{"-32020": true, "-32022": true, "-32602": false, "-32603": false, "-32000": true} {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
			fail(w, 400, m, `{"code":`+code+`,"message":"m"}`)
		})
		_, err := f.call(t, "2025-06-18")
		require.Equal(t, want, wire.NotExecuted(err), code)
	}
	require.False(t, wire.NotExecuted(nil))
	require.False(t, wire.NotExecuted(context.Canceled))
}

// A request that did not get as far as the server is not executed; one that the
// server read may have been.
func TestNotSent(t *testing.T) {
	t.Parallel()
	address, err := ports.Refused()
	require.NoError(t, err)
	c := newClient("http://" + address)
	op := c.NewOp()
	_, err = c.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.True(t, wire.NotExecuted(err))
	require.False(t, op.Sent)
	var wrapped interface{ Timeout() bool }
	require.ErrorAs(t, err, &wrapped)
	require.NotContains(t, err.Error(), "Post", "no url.Error")

	refusal := errors.New("refused by the transport")
	c.HTTP = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, refusal })}
	_, err = c.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.ErrorIs(t, err, refusal)
	require.True(t, wire.NotExecuted(err))
	c.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return nil, refusal
	})}
	_, err = c.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.ErrorIs(t, err, refusal)
	require.False(t, wire.NotExecuted(err))
	require.True(t, op.Sent)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
