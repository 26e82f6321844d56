package mcptest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

func TestProtocolVersions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts    mcptest.Options
		version string
		session bool
	}{
		"stateless":      {mcptest.Options{}, "2026-07-28", false},
		"stateful":       {mcptest.Options{Stateful: true}, "2025-11-25", true},
		"older":          {mcptest.Options{ProtocolVersions: []string{"2025-06-18"}}, "2025-06-18", false},
		"older stateful": {mcptest.Options{Stateful: true, ProtocolVersions: []string{"2025-03-26"}}, "2025-03-26", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, tc.opts)
			session := connect(t, srv, nil)
			require.Equal(t, tc.version, session.InitializeResult().ProtocolVersion)
			require.Equal(t, tc.session, session.ID() != "")
			_, err := call(t, session, "echo", map[string]any{"a": 1})
			require.NoError(t, err)
			require.Equal(t, tc.version == "2026-07-28", srv.Count("initialize") == 0)
			require.NoError(t, session.Close())
			require.Equal(t, tc.session, srv.CountHTTP(http.MethodDelete) == 1)
		})
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{
		"stateless": {}, "stateful": {Stateful: true}, "JSON": {JSONResponse: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, opts)
			session := connect(t, srv, nil)

			_, err := call(t, session, "echo", json.RawMessage(`{"big":9007199254740993}`))
			require.NoError(t, err)
			result, err := call(t, session, "add", map[string]any{"a": 2, "b": 40})
			require.NoError(t, err)
			require.Equal(t, "42", result.Content[0].(*mcp.TextContent).Text)
			result, err = call(t, session, "fail", nil)
			require.NoError(t, err)
			require.True(t, result.IsError)
			_, err = call(t, session, "protocol_error", nil)
			var rpcErr *jsonrpc.Error
			require.ErrorAs(t, err, &rpcErr)
			require.EqualValues(t, jsonrpc.CodeInvalidParams, rpcErr.Code)
			result, err = call(t, session, "rich", nil)
			require.NoError(t, err)
			require.Len(t, result.Content, 5)
			require.Equal(t, "trace-1", result.Meta["example.org/trace"])
			result, err = call(t, session, "admin", nil)
			require.NoError(t, err, "an open server has no scopes")
			require.False(t, result.IsError)
			require.Equal(t, 6, srv.Count("tools/call"))
			require.Equal(t, "rich", srv.RPC("tools/call")[4].Tool)
		})
	}
}

func TestEchoKeepsBytes(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{JSONResponse: true})
	body := bodyOf(t, post(t, srv, "", "tools/call", map[string]any{
		"name": "echo", "arguments": json.RawMessage(`{"z":9007199254740993,"a":1.10}`),
	}))
	require.Contains(t, body, `"structuredContent":{"z":9007199254740993,"a":1.10}`)
	require.Contains(t, body, `{\"z\":9007199254740993,\"a\":1.10}`)
}

func TestPages(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{ExtraTools: 17, PageSize: 10})
	session := connect(t, srv, nil)
	var names []string
	for tool, err := range session.Tools(t.Context(), nil) {
		require.NoError(t, err)
		names = append(names, tool.Name)
	}
	require.Len(t, names, 25)
	require.Contains(t, names, "tool_017")
	require.Equal(t, 3, srv.Count("tools/list"))
}

func TestSlow(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"stateless": {}, "stateful": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, opts)
			var mu sync.Mutex
			var progress []float64
			session, err := dial(t, srv, nil, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, req *mcp.ProgressNotificationClientRequest) {
					mu.Lock()
					defer mu.Unlock()
					progress = append(progress, req.Params.Progress)
				},
			})
			require.NoError(t, err)
			params := &mcp.CallToolParams{Name: "slow", Arguments: map[string]any{"count": 4, "intervalMs": 1}}
			params.SetProgressToken("p-1")
			_, err = session.CallTool(t.Context(), params)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(progress) == 4
			}, 30*time.Second, time.Millisecond)

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			called := make(chan error, 1)
			go func() {
				_, err := session.CallTool(ctx, &mcp.CallToolParams{
					Name: "slow", Arguments: map[string]any{"count": 1, "intervalMs": 60_000},
				})
				called <- err
			}()
			require.Eventually(t, func() bool { return srv.Executed("slow") == 2 }, 30*time.Second, time.Millisecond)
			cancel()
			require.ErrorIs(t, <-called, context.Canceled)
			require.Eventually(t, func() bool { return srv.Cancelled() == 1 }, 30*time.Second, time.Millisecond)
		})
	}
}

func TestKillSessions(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{Stateful: true})
	session := connect(t, srv, nil)
	srv.KillSessions()
	_, err := call(t, session, "echo", nil)
	require.ErrorIs(t, err, mcp.ErrSessionMissing)
	requests := srv.RPC("tools/call")
	require.Equal(t, http.StatusNotFound, requests[len(requests)-1].Status)
	_, err = call(t, connect(t, srv, nil), "echo", nil)
	require.NoError(t, err)
}

func TestSessionsAreBoundToTheirUser(t *testing.T) {
	t.Parallel()
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as, Stateful: true})
	session := connect(t, srv, newHandler(t))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, srv.URL(), nil)
	require.NoError(t, err)
	req.Header.Set("Mcp-Session-Id", session.ID())
	req.Header.Set("Authorization", "Bearer "+as.Issue("mallory", srv.URL()))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{})
	srv.FailNext(1, http.StatusTooManyRequests, 2*time.Second)
	resp := callTool(t, srv, "", "echo")
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "2", resp.Header.Get("Retry-After"))

	srv.FailNextRPC("tools/call", 1, http.StatusBadGateway, 0)
	require.Equal(t, http.StatusOK, post(t, srv, "", "tools/list", nil).StatusCode)
	resp = callTool(t, srv, "", "echo")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Retry-After"))

	srv.SetOutage(authtest.StatusOutage(http.StatusServiceUnavailable))
	require.Equal(t, http.StatusServiceUnavailable, callTool(t, srv, "", "echo").StatusCode)
	srv.SetOutage(nil)
	require.Zero(t, srv.Executed("echo"))

	srv.DropNextRPC("tools/call", 1)
	_, err := call(t, connect(t, srv, nil), "echo", nil)
	require.Error(t, err)
	require.Equal(t, 1, srv.Executed("echo"), "done, only the answer was lost")

	release := srv.BlockRPC("tools/call")
	done := make(chan struct{})
	go func() { defer close(done); callTool(t, srv, "", "echo") }()
	require.Eventually(t, func() bool { return srv.Count("tools/call") == 5 }, 30*time.Second, time.Millisecond)
	require.Equal(t, 1, srv.Executed("echo"))
	release()
	<-done
	require.Equal(t, 2, srv.Executed("echo"))

	release = srv.Block()
	go release()
	require.Equal(t, http.StatusOK, callTool(t, srv, "", "echo").StatusCode)

	srv.SetDelay(20 * time.Millisecond)
	start := time.Now()
	callTool(t, srv, "", "echo")
	require.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	srv.Reset()
	require.Empty(t, srv.Requests())
	require.Zero(t, srv.Count("tools/call"))
}

func TestRaw(t *testing.T) {
	t.Parallel()
	for name, asJSON := range map[string]bool{"JSON": true, "event stream": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, mcptest.Options{
				JSONResponse: asJSON, Raw: mcptest.RawTools(mcptest.ExoticResult, mcptest.ExoticTool),
			})
			require.Contains(t, bodyOf(t, post(t, srv, "", "tools/list", nil)), mcptest.ExoticTool)
			require.Contains(t, bodyOf(t, callTool(t, srv, "", "exotic")), mcptest.ExoticResult)

			session := connect(t, srv, nil)
			tools, err := session.ListTools(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, "exotic", tools.Tools[0].Name)
		})
	}
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t, mcptest.Options{Raw: func(method string, params json.RawMessage) *mcptest.RawReply {
			if method != "tools/call" {
				return nil
			}
			return &mcptest.RawReply{Error: fmt.Appendf(nil, `{"code":-32000,"message":"no","data":%s}`, params)}
		}})
		_, err := call(t, connect(t, srv, nil), "x", nil)
		require.ErrorContains(t, err, "no")
	})
	require.True(t, json.Valid([]byte(mcptest.ExoticTool)))
	require.True(t, json.Valid([]byte(mcptest.ExoticResult)))
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{Configure: func(server *mcp.Server) {
		server.AddPrompt(&mcp.Prompt{Name: "hello"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Description: "hi"}, nil
		})
	}})
	result, err := connect(t, srv, nil).GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "hello"})
	require.NoError(t, err)
	require.Equal(t, "hi", result.Description)
}

func TestRecordedRequest(t *testing.T) {
	t.Parallel()
	srv := newServer(t, mcptest.Options{})
	_, err := call(t, connect(t, srv, nil), "echo", map[string]any{"a": 1})
	require.NoError(t, err)
	req := srv.RPC("tools/call")[0]
	require.Equal(t, mcptest.EndpointMCP, req.Endpoint)
	require.Equal(t, "echo", req.Tool)
	require.Equal(t, "2026-07-28", req.Header.Get("Mcp-Protocol-Version"))
	require.NotEmpty(t, req.RPCID)
	require.Contains(t, string(req.Params), `"a":1`)
	require.Equal(t, http.StatusOK, req.Status)

	quiet := newServer(t, mcptest.Options{DiscardRequests: true})
	connect(t, quiet, nil)
	require.Empty(t, quiet.Requests())
	require.Equal(t, 1, quiet.Count("server/discover"))
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	as := newAuth(t, authtest.Options{})
	srv := newServer(t, mcptest.Options{Auth: as, Stateful: true})
	session := connect(t, srv, newHandler(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, _ = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "add", Arguments: map[string]int{"a": i, "b": i}})
			srv.Requests()
			srv.Tokens()
			as.Requests("")
			as.Counts()
		})
	}
	wg.Wait()
	require.Equal(t, 8, srv.Executed("add"))
}

func TestStartReportsMistakes(t *testing.T) {
	t.Parallel()
	for _, opts := range []mcptest.Options{{Path: "mcp"}, {SharedOrigin: true}, {Addr: "127.0.0.1:99999"}} {
		_, err := mcptest.Start(opts)
		require.ErrorContains(t, err, "mcptest: ")
		require.Panics(t, func() { mcptest.New(opts) })
	}
}

func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	srv := mcptest.New(mcptest.Options{Stateful: true})
	session := connect(t, srv, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL(), nil)
	require.NoError(t, err)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Mcp-Session-Id", session.ID())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	start := time.Now()
	srv.Close()
	_, _ = io.ReadAll(resp.Body)
	require.Less(t, time.Since(start), 30*time.Second)
}
