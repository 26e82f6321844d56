package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

const question = `{"method":"elicitation/create","params":{"mode":"form","message":"Sure?","url":"https://pay.example/1","requestedSchema":{"type":"object","properties":{}},"x":9007199254740993}}`

// askingServer asks before it does anything, with a state that must come back.
func askingServer(t *testing.T, mode string) mcptest.Options {
	t.Helper()
	results := map[string]string{
		"tools/call":     `{"resultType":"complete","content":[],"isError":false}`,
		"prompts/get":    `{"resultType":"complete","messages":[]}`,
		"resources/read": `{"resultType":"complete","contents":[]}`,
	}
	return mcptest.Options{JSONResponse: true, Raw: func(method string, params json.RawMessage) *mcptest.RawReply {
		switch {
		case results[method] == "":
			return nil
		case !bytes.Contains(params, []byte(`"elicitation":{`)): // not declared
			return &mcptest.RawReply{Error: json.RawMessage(`{"code":-32602,"message":"cannot ask"}`)}
		case !bytes.Contains(params, []byte(`"inputResponses":{"q":{"action":"accept","content":{"n":9007199254740993}}}`)) || !bytes.Contains(params, []byte(`"requestState":"exactly \u003cthis\u003e"`)):
			return &mcptest.RawReply{Result: json.RawMessage(`{"resultType":"input_required","requestState":"exactly \u003cthis\u003e","inputRequests":{"q":` + strings.Replace(question, `"form"`, `"`+mode+`"`, 1) + `}}`)}
		}
		return &mcptest.RawReply{Result: json.RawMessage(results[method])}
	}}
}

func sharedKeys(c *session.Config) { c.SealKeys = [][]byte{bytes.Repeat([]byte{7}, 32)} }

// A question is answered in another request, on another replica.
func TestServersAskInTwoRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, askingServer(t, "form"))
	w.replica(t, sharedKeys)
	b := w.browser(t, "")
	id := b.authorized()
	for path, args := range map[string]string{
		pathCall:     `"toolName":"echo","toolArgs":{"a":1}`,
		pathPrompt:   `"name":"hello","arguments":{"a":"1"}`,
		pathResource: `"uri":"file:///a"`,
	} {
		body := `{"sessionId":"` + id + `",` + args
		a := b.send("POST", path, body+`}`)
		require.Equal(t, 400, a.status, "front ends that cannot ask never see a question: %s", a.body)

		a = b.send("POST", path, body+`,"ask":["form"]}`)
		require.Equal(t, 202, a.status, a.body)
		require.NotNil(t, a.InputRequired)
		require.Equal(t, `{"q":`+question+`}`, string(a.InputRequired.InputRequired.Requests))
		state := a.InputRequired.InputRequired.State
		require.NotContains(t, a.body, "exactly")

		w.replica(t, sharedKeys)
		calls := w.mcp.Count("tools/call")
		for name, bad := range map[string]string{
			"another question":  `,"ask":["form"],"inputs":{"other":{"action":"accept"}},"state":"` + state + `"}`,
			"no answer":         `,"ask":["form"],"inputs":{},"state":"` + state + `"}`,
			"an unknown action": `,"ask":["form"],"inputs":{"q":{"action":"maybe"}},"state":"` + state + `"}`,
			"another state":     `,"ask":["form"],"inputs":{"q":{"action":"accept"}},"state":"` + changed(state, len(state)/2) + `"}`,
			"another last bit":  `,"ask":["form"],"inputs":{"q":{"action":"accept"}},"state":"` + changed(state, len(state)-1) + `"}`,
			"a line break":      `,"ask":["form"],"inputs":{"q":{"action":"accept"}},"state":"` + state + `\n"}`,
			"no state at all":   `,"ask":["form"],"inputs":{"q":{"action":"accept"}},"state":"x"}`,
		} {
			a := b.send("POST", path, body+bad)
			require.Equal(t, 400, a.status, "%s: %s", name, a.body)
			require.Equal(t, httpapi.CodeInvalidInput, a.ErrorResponse.Code, name)
		}
		answers := `,"ask":["form"],"inputs":{"q":{"action":"accept","content":{"n":9007199254740993}}},"state":"` + state + `"}`
		other := strings.NewReplacer(`"a":1`, `"a":2`, `"a":"1"`, `"a":"2"`, `///a`, `///b`).Replace(body)
		require.Equal(t, httpapi.CodeInvalidInput, b.send("POST", path, other+answers).ErrorResponse.Code, "other arguments")
		stranger := w.browser(t, "")
		require.Equal(t, httpapi.CodeInvalidInput, stranger.send("POST", path, strings.Replace(body, id, stranger.authorized(), 1)+answers).ErrorResponse.Code, "another session")
		require.Equal(t, calls, w.mcp.Count("tools/call"), "the server was not asked")

		a = b.send("POST", path, body+answers)
		require.Equal(t, 200, a.status, a.body)
	}
}

// changed returns a base64url text with the lowest bit of one character flipped.
func changed(text string, at int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return text[:at] + string(alphabet[strings.IndexByte(alphabet, text[at])^1]) + text[at+1:]
}

func TestStatesExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, askingServer(t, "form"))
	w.replica(t, sharedKeys, func(c *session.Config) { c.InputTTL = time.Nanosecond })
	b := w.browser(t, "")
	body := `{"sessionId":"` + b.authorized() + `","toolName":"echo","ask":["form"]`
	a := b.send("POST", pathCall, body+`}`)
	require.Equal(t, 202, a.status, a.body)
	a = b.send("POST", pathCall, body+`,"inputs":{"q":{"action":"accept"}},"state":"`+a.InputRequired.InputRequired.State+`"}`)
	require.Equal(t, httpapi.CodeInvalidInput, a.ErrorResponse.Code)
}

// Without keys a state is sealed all the same, with a key of the replica's.
func TestStatesAreSealedWithoutKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, askingServer(t, "url"))
	w.replica(t)
	b := w.browser(t, "")
	body := `{"sessionId":"` + b.authorized() + `","toolName":"echo"`
	require.Equal(t, 502, b.send("POST", pathCall, body+`,"ask":["form"]}`).status, "a mode that was not declared")
	a := b.send("POST", pathCall, body+`,"ask":["form","url"]}`)
	require.Equal(t, 202, a.status, a.body)
	answers := `,"ask":["url"],"inputs":{"q":{"action":"accept","content":{"n":9007199254740993}}},"state":"` + a.InputRequired.InputRequired.State + `"}`
	require.Equal(t, 200, b.send("POST", pathCall, body+answers).status)
	w.replica(t)
	require.Equal(t, httpapi.CodeInvalidInput, b.send("POST", pathCall, body+answers).ErrorResponse.Code)
}

func TestAskIsChecked(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	for _, more := range []string{`"ask":["voice"]`, `"ask":["form"],"inputs":{}`, `"ask":["form"],"state":"s"`, `"inputs":{},"state":"s"`, `"ask":["form"],"inputs":[],"state":"s"`} {
		for _, body := range []string{anyCall, anyPrompt, anyRead} {
			path := map[string]string{anyCall: pathCall, anyPrompt: pathPrompt, anyRead: pathResource}[body]
			require.Equal(t, 400, request(t, h, "POST", path, body[:len(body)-1]+","+more+"}").Code, more)
		}
	}
	require.Empty(t, f.called())
}

// A stream that has begun ends with the question.
func TestQuestionsInAStream(t *testing.T) {
	t.Parallel()
	f := &fake{err: &session.InputRequiredError{Requests: json.RawMessage(`{}`), State: "sealed"}}
	h, _ := newFake(t, f)
	w := request(t, h, "POST", pathCall, anyCall[:len(anyCall)-1]+`,"ask":["form"]}`, "Accept", "text/event-stream")
	require.Equal(t, 202, w.Code, "before the first event")
	require.True(t, f.ask.Form)
	require.NotNil(t, f.ask.OnInput, "questions of older servers can be asked in the stream")
	f.progress = oneStep
	w = request(t, h, "POST", pathCall, anyCall[:len(anyCall)-1]+`,"ask":["form"]}`, "Accept", "text/event-stream")
	require.Equal(t, 200, w.Code)
	require.True(t, strings.HasSuffix(w.Body.String(), "event: inputRequired\ndata: {\"inputRequired\":{\"requests\":{},\"state\":\"sealed\"}}\n\n"), w.Body)
}

func oneStep(_ context.Context, push func(mcp.ProgressNotificationParams)) error {
	push(mcp.ProgressNotificationParams{Progress: 1})
	return nil
}
