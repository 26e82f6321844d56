package wire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// FuzzScan compares the scanner with encoding/json: both accept the same text,
// and find the same parts in it.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[{}],"\u0063":"\ud800"}`, `[1.5e-3,true,"x\\",-0]`, "[\"\x1f\"]", `{"a":1,"a":2}`, `[0.1E+2, 00]`, `["abcdefgh\"ijklmno` + "\xff" + `"]`, strings.Repeat("[", 1001)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var values [][]byte
		object := wire.Members(text, func(_, value []byte) { values = append(values, value) })
		array := !object && wire.Elements(text, func(value []byte) { values = append(values, value) })
		trimmed := bytes.TrimLeft(text, " \t\r\n")
		bracket := len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[')
		if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) <= 1000 {
			require.Equal(t, bracket && json.Valid(text), object || array)
		}
		switch {
		case array:
			var want []json.RawMessage
			require.NoError(t, json.Unmarshal(text, &want))
			require.Len(t, values, len(want))
			for i := range want {
				require.Equal(t, string(want[i]), string(values[i]))
			}
		case object:
			got, want := make(map[string]string), make(map[string]json.RawMessage)
			wire.Members(text, func(name, value []byte) { got[strings.ToValidUTF8(string(name), "\ufffd")] = string(value) })
			require.NoError(t, json.Unmarshal(text, &want))
			for name, value := range want {
				if !strings.Contains(name, "\ufffd") {
					require.Equal(t, string(value), got[name])
				}
			}
		}
	})
}

// FuzzJSONAnswer has any JSON body for an answer: a result is JSON that the
// body contains, and nothing else is more than an error.
func FuzzJSONAnswer(f *testing.F) {
	for _, seed := range []string{`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`, `[{"id":1,"method":"ping"},{"id":"x","error":{"code":"1","message":[]}}]`, `{"error":"x"}`, `{"method":"notifications/progress","params":{"progressToken":1}}`, "<html>", "\xef\xbb\xbf{}"} {
		f.Add([]byte(seed), uint16(200), "application/json")
	}
	f.Fuzz(func(t *testing.T, body []byte, status uint16, contentType string) {
		if status < 200 || status > 599 || mediaTypeIsStream(contentType) {
			return
		}
		got, err := outcome(t, int(status), contentType, bytes.NewReader(body), "2025-06-18")
		if err == "" {
			require.True(t, json.Valid([]byte(got)))
			require.Contains(t, string(body), got)
		}
	})
}

func mediaTypeIsStream(contentType string) bool {
	return strings.Contains(strings.ToLower(contentType), "event-stream")
}

// FuzzStream cuts an event stream into chunks, which makes no difference.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{answerEvent, "\xef\xbb\xbfevent: message\r\ndata: {\"id\":null,\r\ndata:\"result\":[]}\r\n\r\n", ": x\rdata: {\"id\":2,\"error\":{\"code\":1}}\r\r", "id: 1\ndata: {\"id\":\"x\",\"result\":1}", "data\ndata\n\n\nevent: x\ndata: {\"result\":1}\n\n", "data: [{\"method\":\"notifications/progress\",\"params\":{\"progressToken\":0}},{\"result\":null}]\n\n"} {
		f.Add([]byte(seed), []byte{1})
		f.Add([]byte(seed), []byte{7, 1, 0, 30})
	}
	f.Add([]byte(strings.Repeat("data: x\n", 3000)+"\n"+answerEvent), []byte{200})
	f.Fuzz(func(t *testing.T, body, cuts []byte) {
		whole, wholeErr := outcome(t, 200, "text/event-stream", bytes.NewReader(body), "2026-07-28")
		parts, partsErr := outcome(t, 200, "text/event-stream", &chunks{text: body, sizes: cuts}, "2026-07-28")
		require.Equal(t, whole, parts)
		require.Equal(t, wholeErr, partsErr)
	})
}

// outcome returns the result and the error of a call that is answered so.
func outcome(t *testing.T, status int, contentType string, body io.Reader, version string) (result, failure string) {
	t.Helper()
	c := newClient("https://mcp.example")
	c.MaxBytes = 1 << 16
	c.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet { // no standalone stream
			return &http.Response{StatusCode: http.StatusMethodNotAllowed, Header: http.Header{}, Body: http.NoBody}, nil
		}
		sent, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.True(t, json.Valid(sent), "%s", sent)
		answer := body
		body = strings.NewReader("") // to what the client answers
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(answer), ContentLength: -1}, nil
	})}
	op := c.NewOp()
	op.OnProgress = func(mcp.ProgressNotificationParams) {}
	op.OnRequest = func(_ context.Context, _ string, params json.RawMessage) (any, error) {
		require.True(t, params == nil || json.Valid(params))
		return params, nil
	}
	text, err := c.Call(t.Context(), connOf(version), op, toolCall)
	if err != nil {
		return "", err.Error()
	}
	return string(text), ""
}

// chunks gives a text in pieces of the sizes, again and again.
type chunks struct {
	text, sizes []byte
	n           int
}

func (c *chunks) Read(b []byte) (int, error) {
	size := 1
	if len(c.sizes) > 0 {
		size = int(c.sizes[c.n%len(c.sizes)]) + 1
		c.n++
	}
	n := copy(b[:min(size, len(b))], c.text)
	if c.text = c.text[n:]; n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
