package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// olderAsker is a server of revision 2025-11-25, by the SDK, with a tool that asks
// and returns the answer.
func olderAsker() mcptest.Options {
	return mcptest.Options{Stateful: true, Configure: func(s *mcp.Server) {
		s.AddTool(&mcp.Tool{Name: "ask", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			answer, err := req.Session.Elicit(ctx, &mcp.ElicitParams{Message: "How old?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"age":{"type":"integer","minimum":18}},"required":["age"]}`)})
			if err != nil {
				return nil, err
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprint(answer.Action, answer.Content["age"])}}}, nil
		})
	}}
}

func asksUsers(c *session.Config) {
	sharedKeys(c)
	c.Client.AskUsers = oauthclient.ElicitationModes{Form: true, URL: true}
}

// events are those of a stream that goes on.
type events struct {
	t       *testing.T
	lines   *bufio.Scanner
	leave   context.CancelFunc
	seen    exchange
	written strings.Builder
}

func (b *browser) stream(t *testing.T, body string) *events {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	r, err := http.NewRequestWithContext(ctx, "POST", b.w.url+pathCall, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set(userHeader, b.user)
	resp, err := b.client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, 200, resp.StatusCode)
	return &events{t: t, lines: bufio.NewScanner(resp.Body), leave: leave, seen: exchange{"POST", pathCall, r.Header, body, 200, resp.Header, ""}}
}

// next returns the next event.
func (e *events) next() (name, data string) {
	e.t.Helper()
	for e.lines.Scan() {
		line := e.lines.Text()
		e.written.WriteString(line + "\n")
		switch {
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = strings.TrimPrefix(line, "data: ")
		case line == "" && data != "":
			return name, data
		}
	}
	e.seen.Answer = e.written.String()
	record(e.t, e.seen)
	return "", ""
}

func (e *events) input() httpapi.InputAsked {
	e.t.Helper()
	name, data := e.next()
	require.Equal(e.t, "input", name, data)
	var asked httpapi.InputAsked
	require.NoError(e.t, json.Unmarshal([]byte(data), &asked))
	return asked
}

func answerBody(id, inputID, answer string) string {
	return `{"sessionId":"` + id + `","inputId":"` + inputID + `","inputs":{"question":` + answer + `}}`
}

// The question comes as an event of the call's stream on one replica, and is
// answered by another request on the other, once.
func TestQuestionsInTheMiddleOfAStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, olderAsker())
	w.replica(t, byHeader, asksUsers)
	alice, bob := w.browser(t, "alice"), w.browser(t, "bob")
	id, his := alice.authorized(), bob.authorized()
	stream := alice.stream(t, `{"sessionId":"`+id+`","toolName":"ask","ask":["form"]}`)
	asked := stream.input()
	require.JSONEq(t, `{"question":{"method":"elicitation/create","params":{"mode":"form","message":"How old?","requestedSchema":{"type":"object","properties":{"age":{"type":"integer","minimum":18}},"required":["age"]}}}}`, string(asked.Requests))

	w.replica(t, byHeader, asksUsers)
	const good = `{"action":"accept","content":{"age":20}}`
	for name, tt := range map[string]struct {
		by     *browser
		body   string
		status int
		code   string
	}{
		"too young":                    {alice, answerBody(id, asked.InputID, `{"action":"accept","content":{"age":17}}`), 400, httpapi.CodeInvalidInput},
		"no answer":                    {alice, `{"sessionId":"` + id + `","inputId":"` + asked.InputID + `"}`, 400, httpapi.CodeInvalidInput},
		"another name":                 {alice, strings.Replace(answerBody(id, asked.InputID, good), "question", "q", 1), 400, httpapi.CodeInvalidInput},
		"no inputId":                   {alice, `{"sessionId":"` + id + `"}`, 400, httpapi.CodeInvalidRequest},
		"an unknown question":          {alice, answerBody(id, "x", good), 409, httpapi.CodeInputClosed},
		"another owner":                {bob, answerBody(id, asked.InputID, good), 404, httpapi.CodeSessionNotFound},
		"a question of another's call": {bob, answerBody(his, asked.InputID, good), 404, httpapi.CodeSessionNotFound},
	} {
		a := tt.by.send("POST", pathInput, tt.body)
		require.Equal(t, tt.status, a.status, "%s: %s", name, a.body)
		require.Equal(t, tt.code, a.ErrorResponse.Code, name)
	}
	a := alice.send("POST", pathInput, answerBody(id, asked.InputID, `{"action":"accept","content":{"age":17}}`))
	require.Equal(t, "The answer does not fit the question: age.", a.ErrorResponse.Error, "the person sees which field")

	a = alice.send("POST", pathInput, answerBody(id, asked.InputID, good))
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, `{"success":true}`, a.body)
	require.NotNil(t, a.InputAnswered)
	name, data := stream.next()
	require.Equal(t, "result", name, data)
	require.Contains(t, data, "accept20")
	name, _ = stream.next()
	require.Empty(t, name)
	a = alice.send("POST", pathInput, answerBody(id, asked.InputID, good))
	require.Equal(t, 409, a.status, "a replayed answer")
	require.Equal(t, httpapi.CodeInputClosed, a.ErrorResponse.Code)
	require.NotContains(t, w.log.String(), "accept20")
}

// A front end that closes its stream gives the question up.
func TestClosedStreamsEndQuestions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, olderAsker())
	w.replica(t, asksUsers)
	b := w.browser(t, "")
	id := b.authorized()
	stream := b.stream(t, `{"sessionId":"`+id+`","toolName":"ask","ask":["form","url"]}`)
	asked := stream.input()
	stream.leave()
	require.Eventually(t, func() bool {
		return b.send("POST", pathInput, answerBody(id, asked.InputID, `{"action":"maybe"}`)).status == 409
	}, time.Minute, 10*time.Millisecond, "an answer that would leave it open")
	require.Eventually(t, func() bool { return w.mcp.Count("notifications/cancelled") == 1 }, time.Minute, 10*time.Millisecond)
}

// A request without a stream, or without ask, shows no question: the server goes on
// without an answer.
func TestQuestionsWithoutAStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, olderAsker())
	w.replica(t, asksUsers)
	b := w.browser(t, "")
	id := b.authorized()
	for _, more := range []string{``, `,"ask":["form"]`} {
		a := b.send("POST", pathCall, `{"sessionId":"`+id+`","toolName":"ask"`+more+`}`)
		require.Equal(t, 200, a.status, a.body)
		require.Contains(t, a.body, "cancel")
	}
	a := b.call(id, "ask", `{}`, "Accept", "text/event-stream")
	require.Contains(t, a.body, "cancel")
	require.NotContains(t, a.body, "event: input")
}

// The URLs that a user must visit first reach a front end that can show them, and
// no other. Scripts are no URLs to visit.
func TestURLElicitationRequired(t *testing.T) {
	t.Parallel()
	const data = `{"elicitations":[{"mode":"url","url":"https://pay.example/1?a=1&b=2","elicitationId":"e","message":"Pay"}]}`
	for name, tt := range map[string]struct{ data, ask, code string }{
		"a front end that shows URLs": {data, `["url"]`, httpapi.CodeURLElicitation},
		"forms only":                  {data, `["form"]`, httpapi.CodeMCPError},
		"one that cannot ask":         {data, `[]`, httpapi.CodeMCPError},
		"a script":                    {strings.Replace(data, "https://pay", "javascript:alert(1)//", 1), `["url"]`, httpapi.CodeMCPError},
		"a script beside a URL":       {`{"elicitations":[{"mode":"url","url":"javascript:alert(1)","URL":"https://pay.example/1"}]}`, `["url"]`, httpapi.CodeMCPError},
		"another list of URLs":        {`{"elicitations":[{"url":"javascript:alert(1)"}],"Elicitations":[{"url":"https://pay.example/1"}]}`, `["url"]`, httpapi.CodeMCPError},
		"a URL that is no text":       {`{"elicitations":[{"url":["https://pay.example/1"]}]}`, `["url"]`, httpapi.CodeMCPError},
		"no URLs":                     {`{"elicitations":[]}`, `["url"]`, httpapi.CodeMCPError},
		"no data":                     {``, `["url"]`, httpapi.CodeMCPError},
	} {
		f := &fake{err: &jsonrpc.Error{Code: -32042, Message: "Pay first", Data: json.RawMessage(tt.data)}}
		h, _ := newFake(t, f)
		for _, body := range []string{anyCall, anyPrompt, anyRead} {
			path := map[string]string{anyCall: pathCall, anyPrompt: pathPrompt, anyRead: pathResource}[body]
			w := request(t, h, "POST", path, body[:len(body)-1]+`,"ask":`+tt.ask+`}`)
			require.Equal(t, 400, w.Code, name)
			answer := errorOf(t, w)
			require.Equal(t, tt.code, answer.Code, name)
			require.Equal(t, "Pay first", answer.Error)
			require.EqualValues(t, -32042, *answer.RPCCode)
			if tt.code == httpapi.CodeURLElicitation {
				require.Equal(t, data, string(answer.RPCData))
			} else {
				require.Nil(t, answer.RPCData, name)
			}
		}
	}
	f := &fake{err: &jsonrpc.Error{Code: -32042, Message: "Pay first", Data: json.RawMessage(data)}, progress: oneStep}
	f.progress = func(ctx context.Context, push func(mcp.ProgressNotificationParams)) error {
		push(mcp.ProgressNotificationParams{Progress: 1})
		return f.err
	}
	h, _ := newFake(t, f)
	w := request(t, h, "POST", pathCall, anyCall[:len(anyCall)-1]+`,"ask":["url"]}`, "Accept", "text/event-stream")
	require.Contains(t, w.Body.String(), `event: error`+"\n"+`data: {"error":"Pay first","code":"url_elicitation_required","rpcCode":-32042,"rpcData":`+data+"}\n\n")
}

func TestAnswerInputFailures(t *testing.T) {
	t.Parallel()
	for code, tt := range map[string]struct {
		err    error
		status int
		text   string
	}{
		httpapi.CodeInputClosed:      {session.ErrInputClosed, 409, "This question waits for no answer any more."},
		httpapi.CodeInvalidInput:     {&session.InvalidInputError{Field: "a\nb\u202e", Reason: "x"}, 400, "The answer does not fit the question: a b."},
		httpapi.CodeStoreUnavailable: {&session.StoreError{Op: "x", Err: errors.New("down")}, 503, ""},
		httpapi.CodeSessionNotFound:  {session.ErrNotFound, 404, ""},
	} {
		f := &fake{err: tt.err}
		h, log := newFake(t, f)
		w := request(t, h, "POST", pathInput, anyInput)
		require.Equal(t, tt.status, w.Code)
		require.Equal(t, code, errorOf(t, w).Code)
		if tt.text != "" {
			require.Equal(t, tt.text, errorOf(t, w).Error)
		}
		require.NotContains(t, log.String(), "9007199254740993")
		require.Equal(t, []string{"answer i"}, f.called())
		require.Equal(t, `{"question":{"action":"accept","content":{"n":9007199254740993}}}`, string(f.args.(json.RawMessage)))
	}
}
