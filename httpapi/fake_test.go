package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

const publicURL = "https://app.example"

// canary is in every secret that a fake hands out or is given.
const canary = "C4N4RY"

// fake is a manager that does what a test says, and notes what it was asked.
type fake struct {
	err      error
	info     session.Info
	infos    []session.Info
	attempt  session.AttemptInfo
	tools    []*oauthclient.Tool
	page     oauthclient.Page
	result   *oauthclient.CallToolResult
	progress func(ctx context.Context, push func(mcp.ProgressNotificationParams)) error
	clientID string
	keySet   []byte
	metadata oauthex.ClientRegistrationMetadata
	counter  store.Counter
	reading  time.Duration // that finding out the status takes
	removed  bool          // the session, while its status is waited for

	mu       sync.Mutex
	calls    []string
	caller   session.Caller
	params   session.ConnectParams
	session  string
	response oauthclient.AuthorizationResponse
	args     any
	ask      session.Ask
}

func (f *fake) note(call string, caller session.Caller, sessionID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	f.caller, f.session = caller, sessionID
}

// got notes the arguments of a call.
func (f *fake) got(args any, ask session.Ask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.args, f.ask = args, ask
}

func (f *fake) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fake) Connect(_ context.Context, caller session.Caller, p session.ConnectParams) (session.Info, error) {
	f.note("connect", caller, "")
	f.params = p
	return f.info, f.err
}

func (f *fake) FinishAuth(_ context.Context, caller session.Caller, id string, r oauthclient.AuthorizationResponse) (session.Info, error) {
	f.note("finish", caller, id)
	f.response = r
	return f.info, f.err
}

func (f *fake) CallbackRefused(context.Context, oauthclient.AuthorizationResponse) {}

func (f *fake) RemoveClient(_ context.Context, caller session.Caller, id string) error {
	f.note("remove", caller, id)
	return f.err
}

func (f *fake) ListTools(_ context.Context, caller session.Caller, id string) ([]*oauthclient.Tool, error) {
	f.note("list", caller, id)
	return f.tools, f.err
}

func resultOf[T any](raw string) (r oauthclient.Result[T]) {
	_ = r.UnmarshalJSON([]byte(raw))
	return r
}

func (f *fake) ListPrompts(_ context.Context, caller session.Caller, id string) ([]oauthclient.Result[mcp.Prompt], error) {
	f.note("list prompts", caller, id)
	return []oauthclient.Result[mcp.Prompt]{resultOf[mcp.Prompt](`{"name":"hello","x":9007199254740993}`)}, f.err
}

func (f *fake) ListResources(_ context.Context, caller session.Caller, id string) ([]oauthclient.Result[mcp.Resource], error) {
	f.note("list resources", caller, id)
	return []oauthclient.Result[mcp.Resource]{resultOf[mcp.Resource](`{"uri":"file:///a","name":"a"}`)}, f.err
}

func (f *fake) ListResourceTemplates(_ context.Context, caller session.Caller, id string) ([]oauthclient.Result[mcp.ResourceTemplate], error) {
	f.note("list templates", caller, id)
	return []oauthclient.Result[mcp.ResourceTemplate]{resultOf[mcp.ResourceTemplate](`{"uriTemplate":"file:///{x}","name":"x"}`)}, f.err
}

func (f *fake) ListPage(_ context.Context, caller session.Caller, id string, list oauthclient.List, cursor string) (oauthclient.Page, error) {
	f.note("page of "+string(list)+" "+cursor, caller, id)
	return f.page, f.err
}

func (f *fake) GetPromptAsking(_ context.Context, caller session.Caller, id string, p *mcp.GetPromptParams, ask session.Ask) (*oauthclient.Result[mcp.GetPromptResult], error) {
	f.note("prompt "+p.Name, caller, id)
	f.got(p.Arguments, ask)
	return new(resultOf[mcp.GetPromptResult](`{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}],"x":9007199254740993}`)), f.err
}

func (f *fake) ReadResourceAsking(_ context.Context, caller session.Caller, id string, p *mcp.ReadResourceParams, ask session.Ask) (*oauthclient.Result[mcp.ReadResourceResult], error) {
	f.note("read "+p.URI, caller, id)
	f.got(nil, ask)
	return new(resultOf[mcp.ReadResourceResult](`{"contents":[{"uri":"file:///a","text":"x"}],"x":9007199254740993}`)), f.err
}

func (f *fake) Complete(_ context.Context, caller session.Caller, id string, p *mcp.CompleteParams) (*oauthclient.Result[mcp.CompleteResult], error) {
	f.note("complete", caller, id)
	f.got(p, session.Ask{})
	return new(resultOf[mcp.CompleteResult](`{"completion":{"values":["a"],"x":9007199254740993}}`)), f.err
}

func (f *fake) Server(_ context.Context, caller session.Caller, id string) (oauthclient.ServerDescription, error) {
	f.note("server", caller, id)
	return oauthclient.ServerDescription{ProtocolVersion: "2026-07-28", Info: json.RawMessage(`{"name":"x","version":"1"}`), Instructions: "Be kind."}, f.err
}

func (f *fake) CallToolAsking(ctx context.Context, caller session.Caller, id, name string, args any, ask session.Ask, push func(mcp.ProgressNotificationParams)) (*oauthclient.CallToolResult, error) {
	f.note("call "+name, caller, id)
	f.got(args, ask)
	if f.progress != nil && push != nil {
		if err := f.progress(ctx, push); err != nil {
			return nil, err
		}
	}
	return f.result, f.err
}

func (f *fake) AnswerInput(_ context.Context, caller session.Caller, id, inputID string, inputs json.RawMessage) error {
	f.note("answer "+inputID, caller, id)
	f.got(inputs, session.Ask{})
	return f.err
}

func (f *fake) WaitStatus(ctx context.Context, caller session.Caller, id, attemptID string, until func(session.Info, session.AttemptInfo) bool) error {
	f.note(strings.TrimSuffix("status "+attemptID, " "), caller, id)
	if f.err != nil {
		return f.err
	}
	select {
	case <-time.After(f.reading):
	case <-ctx.Done():
		return ctx.Err()
	}
	if until(f.info, f.attempt) {
		return nil
	}
	<-ctx.Done()
	if f.removed {
		return session.ErrNotFound
	}
	return ctx.Err()
}

func (f *fake) Sessions(_ context.Context, caller session.Caller) ([]session.Info, error) {
	f.note("sessions", caller, "")
	return f.infos, f.err
}

func (f *fake) ClientMetadata(callbackURLs ...string) (string, oauthex.ClientRegistrationMetadata) {
	return f.clientID, oauthclient.Shared{ClientMetadata: f.metadata}.RegistrationMetadata(callbackURLs...)
}

func (f *fake) ClientKeySet() ([]byte, error) { return f.keySet, nil }

func (f *fake) Counter() store.Counter { return f.counter }

func (f *fake) Observer() oauthclient.Observer { return nil }

func (f *fake) Describe(string) (key, server string) { return "", "" }

// newFake returns a handler on a fake, and where its log goes.
func newFake(t testing.TB, f *fake, change ...func(*httpapi.Config)) (*httpapi.Handler, *bytes.Buffer) {
	t.Helper()
	if f.result == nil {
		f.result = new(oauthclient.CallToolResult)
		_ = json.Unmarshal([]byte(`{"content":[{"type":"text","text":"done"}]}`), f.result)
	}
	if f.info.ID.IsZero() {
		f.info = session.Info{ID: oauthclient.NewSecret("S-" + canary), Status: session.StatusConnected}
	}
	log := new(bytes.Buffer)
	cfg := httpapi.Config{
		PublicURL: publicURL,
		Logger:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, fn := range change {
		fn(&cfg)
	}
	h, err := httpapi.NewWith(f, cfg)
	require.NoError(t, err)
	return h, log
}

// request is one request to a handler; pairs are headers.
func request(t testing.TB, h http.Handler, method, path, body string, pairs ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, publicURL+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	toHost(r, h)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	record(t, exchange{method, path, r.Header, body, w.Code, w.Header(), w.Body.String()})
	return w
}

// toHost sends a request to the Host that a handler on loopback insists on.
func toHost(r *http.Request, h http.Handler) {
	if own, ok := h.(*httpapi.Handler); ok && own.PublicHost() != "" {
		r.Host = own.PublicHost()
	}
}

func errorOf(t testing.TB, w *httptest.ResponseRecorder) httpapi.ErrorResponse {
	t.Helper()
	var response httpapi.Response
	require.Equal(t, "application/json", w.Header().Get("Content-Type"), w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &response), w.Body)
	require.True(t, httpapi.IsConnectError(response), w.Body)
	return *response.ErrorResponse
}

func readAll(t testing.TB, r io.ReadCloser) string {
	t.Helper()
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(body)
}

const (
	pathConnect    = "/api/mcp/auth/connect"
	pathCallback   = "/api/mcp/auth/callback"
	pathDisconnect = "/api/mcp/auth/disconnect"
	pathStatus     = "/api/mcp/auth/status"
	pathSessions   = "/api/mcp/auth/sessions"
	pathList       = "/api/mcp/tool/list"
	pathCall       = "/api/mcp/tool/call"
	pathInput      = "/api/mcp/tool/input"
	pathPrompts    = "/api/mcp/prompt/list"
	pathPrompt     = "/api/mcp/prompt/get"
	pathResources  = "/api/mcp/resource/list"
	pathTemplates  = "/api/mcp/resource/templates"
	pathResource   = "/api/mcp/resource/read"
	pathCompletion = "/api/mcp/completion"
	pathServer     = "/api/mcp/server"
	pathMetadata   = "/api/mcp/client-metadata.json"
	pathKeySet     = "/api/mcp/jwks.json"

	anyConnect  = `{"serverUrl":"https://mcp.example/mcp"}`
	anyCall     = `{"sessionId":"s","toolName":"echo"}`
	anyInput    = `{"sessionId":"s","inputId":"i","inputs":{"question":{"action":"accept","content":{"n":9007199254740993}}}}`
	anyPrompt   = `{"sessionId":"s","name":"hello","arguments":{"who":"x"}}`
	anyRead     = `{"sessionId":"s","uri":"file:///a"}`
	anyComplete = `{"sessionId":"s","ref":{"type":"ref/prompt","name":"hello"},"argument":{"name":"who","value":"a"}}`
	anySession  = `{"sessionId":"s"}`
)
