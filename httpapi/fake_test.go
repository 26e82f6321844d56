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
	result   *oauthclient.CallToolResult
	progress func(ctx context.Context, push func(mcp.ProgressNotificationParams)) error
	clientID string
	keySet   []byte
	metadata oauthex.ClientRegistrationMetadata
	counter  store.Counter

	mu       sync.Mutex
	calls    []string
	caller   session.Caller
	params   session.ConnectParams
	session  string
	response oauthclient.AuthorizationResponse
	args     any
}

func (f *fake) note(call string, caller session.Caller, sessionID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	f.caller, f.session = caller, sessionID
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

func (f *fake) RemoveClient(_ context.Context, caller session.Caller, id string) error {
	f.note("remove", caller, id)
	return f.err
}

func (f *fake) ListTools(_ context.Context, caller session.Caller, id string) ([]*oauthclient.Tool, error) {
	f.note("list", caller, id)
	return f.tools, f.err
}

func (f *fake) CallTool(ctx context.Context, caller session.Caller, id, name string, args any) (*oauthclient.CallToolResult, error) {
	return f.CallToolProgress(ctx, caller, id, name, args, nil)
}

func (f *fake) CallToolProgress(ctx context.Context, caller session.Caller, id, name string, args any, push func(mcp.ProgressNotificationParams)) (*oauthclient.CallToolResult, error) {
	f.note("call "+name, caller, id)
	f.args = args
	if f.progress != nil && push != nil {
		if err := f.progress(ctx, push); err != nil {
			return nil, err
		}
	}
	return f.result, f.err
}

func (f *fake) Status(_ context.Context, caller session.Caller, id string) (session.Info, error) {
	f.note("status", caller, id)
	return f.info, f.err
}

func (f *fake) Attempt(_ context.Context, caller session.Caller, id, attemptID string) (session.AttemptInfo, error) {
	f.note("attempt "+attemptID, caller, id)
	return f.attempt, f.err
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
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	record(t, exchange{method, path, r.Header, body, w.Code, w.Header(), w.Body.String()})
	return w
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
	pathMetadata   = "/api/mcp/client-metadata.json"
	pathKeySet     = "/api/mcp/jwks.json"

	anyConnect = `{"serverUrl":"https://mcp.example/mcp"}`
	anyCall    = `{"sessionId":"s","toolName":"echo"}`
	anySession = `{"sessionId":"s"}`
)
