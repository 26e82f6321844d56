package oauthclient_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Arguments reach the server to the letter, whatever they are given as.
func TestArgumentFidelity(t *testing.T) {
	t.Parallel()
	const exotic = `{"big":9007199254740993,"neg":-9223372036854775808,"huge":123456789012345678901234567890,"ratio":1.10,"z":{"b":null,"a":[1,2.50]},"html":"<&>"}`
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	var decoded map[string]any
	decoder := json.NewDecoder(strings.NewReader(`{"big":9007199254740993}`))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&decoded))
	rows := []struct {
		name string
		args any
		want string
	}{
		{"raw", json.RawMessage(exotic), exotic},
		{"json.Number", decoded, `{"big":9007199254740993}`},
		{"struct", struct {
			Big int64 `json:"big"`
		}{9007199254740993}, `{"big":9007199254740993}`},
		{"nil", nil, `{}`},
		{"empty", json.RawMessage(`{}`), `{}`},
	}
	for _, row := range rows {
		w.mcp.Reset()
		result, err := c.CallTool(t.Context(), "echo", row.args)
		require.NoError(t, err, row.name)
		var params struct{ Arguments json.RawMessage }
		require.NoError(t, json.Unmarshal(w.mcp.RPC("tools/call")[0].Params, &params))
		requireSameJSON(t, row.want, string(params.Arguments))
		data, err := json.Marshal(result)
		require.NoError(t, err)
		var back struct{ StructuredContent json.RawMessage }
		require.NoError(t, json.Unmarshal(data, &back))
		requireSameJSON(t, row.want, string(back.StructuredContent))
	}
}

func TestArgumentsThatCannotBeSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.mcp.Reset()
	_, err := c.CallTool(t.Context(), "echo", map[string]any{"f": func() {}})
	require.Error(t, err)
	_, err = c.CallTool(t.Context(), "", nil)
	require.Error(t, err)
	require.Zero(t, w.mcp.Count("tools/call"))
	require.NoError(t, w.call(c), "the connection goes on")
}

func TestResultFidelity(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			result := mcptest.ExoticResult
			wire.opts.Raw = mcptest.RawTools(result, mcptest.ExoticTool)
			w := newWorld(t, authtest.Options{}, wire.opts)
			got, err := w.connected().CallTool(t.Context(), "exotic", nil)
			require.NoError(t, err)
			data, err := json.Marshal(got)
			require.NoError(t, err)
			requireSameJSON(t, result, string(data))
			data, err = json.Marshal(*got)
			require.NoError(t, err)
			requireSameJSON(t, result, string(data))
			require.Equal(t, "done", got.Decode().Content[0].(*mcp.TextContent).Text)
		})
	}
}

func TestResultMembersMadeExplicit(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, result, want string }{
		{"empty", `{}`, `{"content":[],"isError":false}`},
		{"spaces", ` { } `, `{"content":[],"isError":false}`},
		{"content only", `{"content":[]}`, `{"content":[],"isError":false}`},
		{"other spelling", `{"Content":[],"IsError":true}`, `{"Content":[],"IsError":true,"content":[],"isError":false}`},
		{"null", `{"content":null,"isError":null}`, `{"content":[],"isError":false}`},
		{"structured only", `{"structuredContent":{"n":9007199254740993}}`, `{"content":[],"isError":false,"structuredContent":{"n":9007199254740993}}`},
		{"complete", `{"isError":true,"content":[]}`, `{"isError":true,"content":[]}`},
		{"no isError", " { \"content\" : [ {\"type\":\"text\",\"text\":\"}\"} ] , \"z\":{\"isError\":true} } ", `{"content":[{"type":"text","text":"}"}],"z":{"isError":true},"isError":false}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true, JSONResponse: true, Raw: mcptest.RawTools(row.result)})
			got, err := w.connected().CallTool(t.Context(), "any", nil)
			require.NoError(t, err)
			data, err := json.Marshal(got)
			require.NoError(t, err)
			requireSameJSON(t, row.want, string(data))
		})
	}
}

// An event stream is cut into events wherever the network cuts it.
func TestEventStreamForms(t *testing.T) {
	t.Parallel()
	const result = `"result":{"resultType":"complete","content":[{"type":"text","text":"hi"}],"isError":false,"x":9007199254740993}}`
	rows := []struct{ name, stream string }{
		{"usual", "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":%ID%,%RESULT%\n\n"},
		{"CRLF", "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":%ID%,%RESULT%\r\n\r\n"},
		{"several data lines", "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":%ID%,%RESULT%\n\n"},
		{"no space after the colon", "data:{\"jsonrpc\":\"2.0\",\"id\":%ID%,%RESULT%\n\n"},
		{"comments and other events before", ": ping\n\nevent: ping\ndata: {\"result\":{\"x\":0}}\n\nid: 7\nretry: 1\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":%ID%,%RESULT%\n\n"},
		{"ended by the end of the stream", "data: {\"jsonrpc\":\"2.0\",\"id\":%ID%,%RESULT%"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected()
			for _, chunk := range []int{1, 7, 1 << 20} {
				w.mcp.SetOutage(func(rw http.ResponseWriter, r *http.Request) {
					var m struct{ ID json.RawMessage }
					_ = json.NewDecoder(r.Body).Decode(&m)
					stream := strings.NewReplacer("%ID%", string(m.ID), "%RESULT%", result).Replace(row.stream)
					rw.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
					for len(stream) > 0 {
						n := min(chunk, len(stream))
						_, _ = rw.Write([]byte(stream[:n]))
						_ = http.NewResponseController(rw).Flush()
						stream = stream[n:]
					}
				})
				got, err := c.CallTool(t.Context(), "any", nil)
				require.NoError(t, err)
				data, err := json.Marshal(got)
				require.NoError(t, err)
				require.Contains(t, string(data), `"x":9007199254740993`, "%d bytes at a time", chunk)
			}
		})
	}
}

func TestProtocolErrorIsTheServers(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			_, err := c.CallTool(t.Context(), "protocol_error", nil)
			var rpc *jsonrpc.Error
			require.ErrorAs(t, err, &rpc)
			require.EqualValues(t, jsonrpc.CodeInvalidParams, rpc.Code)
			require.Equal(t, "refused at the protocol level", rpc.Message)
			require.JSONEq(t, `{"reason":"on purpose"}`, string(rpc.Data))
			_, err = c.CallTool(t.Context(), "no_such_tool", nil)
			require.ErrorAs(t, err, &rpc)
			require.Equal(t, 1, w.mcp.Executed("protocol_error"))
			require.NoError(t, w.call(c), "the connection goes on")
		})
	}
}

// A JSON-RPC error may come with a status of its own.
func TestProtocolErrorWithHTTPStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.connected()
	w.mcp.SetOutage(authtest.Body(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad"}}`))
	var rpc *jsonrpc.Error
	require.ErrorAs(t, w.call(c), &rpc)
	require.Equal(t, "bad", rpc.Message)
	w.mcp.SetOutage(authtest.Body(422, "application/json", `{"detail":"bad"}`))
	var server *oauthclient.ServerError
	require.ErrorAs(t, w.call(c), &server)
	require.Equal(t, 422, server.StatusCode)
	w.mcp.SetOutage(nil)
	require.NoError(t, w.call(c), "the connection goes on")
}

func TestErrorResultIsAResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	result, err := w.connected().CallTool(t.Context(), "fail", nil)
	require.NoError(t, err)
	require.True(t, result.IsError)
	require.Equal(t, "the tool failed", result.Decode().Content[0].(*mcp.TextContent).Text)
}

func TestProgress(t *testing.T) {
	t.Parallel()
	for _, stateful := range []bool{false, true} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: stateful})
		c := w.connected()
		var steps []float64
		result, err := c.CallToolProgress(t.Context(), "slow", map[string]int{"count": 4, "intervalMs": 1}, func(p mcp.ProgressNotificationParams) {
			steps = append(steps, p.Progress)
			require.EqualValues(t, 4, p.Total)
		})
		require.NoError(t, err)
		require.False(t, result.IsError)
		require.Equal(t, []float64{1, 2, 3, 4}, steps)
		_, err = c.CallTool(t.Context(), "slow", map[string]int{"count": 1, "intervalMs": 1})
		require.NoError(t, err)
		calls := w.mcp.RPC("tools/call")
		require.Contains(t, string(calls[0].Params), "progressToken")
		require.NotContains(t, string(calls[1].Params), "progressToken", "the caller does not listen")
	}
}

func TestCancellationReachesTheServer(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			if !wire.opts.Stateful && wire.opts.ProtocolVersions != nil {
				t.Skip("the SDK's server cannot tell which call a cancellation is about")
			}
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := c.CallTool(ctx, "slow", map[string]int{"count": 1, "intervalMs": 60_000})
				done <- err
			}()
			require.Eventually(t, func() bool { return w.mcp.Executed("slow") == 1 }, 30*time.Second, time.Millisecond)
			cancel()
			err := <-done
			require.ErrorIs(t, err, context.Canceled)
			var temporary *oauthclient.TemporaryError
			require.NotErrorAs(t, err, &temporary)
			require.Eventually(t, func() bool { return w.mcp.Cancelled() == 1 }, 30*time.Second, time.Millisecond)
			require.NoError(t, w.call(c), "the connection goes on")
		})
	}
}

func TestCallTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.connected()
	c := w.client(func(cfg *oauthclient.Config) { cfg.CallTimeout = 100 * time.Millisecond })
	_, err := c.CallTool(t.Context(), "slow", map[string]int{"count": 1, "intervalMs": 60_000})
	require.True(t, requireTemporary(t, err).Timeout)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = c.CallTool(ctx, "slow", map[string]int{"count": 1, "intervalMs": 60_000})
	require.ErrorIs(t, err, context.DeadlineExceeded, "the caller's own deadline is the caller's")
	var temporary *oauthclient.TemporaryError
	require.NotErrorAs(t, err, &temporary)
}

func TestMaxResponseBytes(t *testing.T) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, wire.opts)
			c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxResponseBytes = 64 << 10 })
			_, err := c.CallTool(t.Context(), "echo", map[string]string{"x": strings.Repeat("x", 10<<10)})
			require.NoError(t, err)
			_, err = c.CallTool(t.Context(), "echo", map[string]string{"x": strings.Repeat("x", 40<<10)}) // twice in the answer
			var limit *oauthclient.ResponseLimitError
			require.ErrorAs(t, err, &limit)
			require.Equal(t, "MaxResponseBytes", limit.Limit)
			require.Equal(t, 2, w.mcp.Executed("echo"))
			require.NoError(t, w.call(c), "the client goes on")
		})
	}
}

// A stream that can be resumed must not be asked for again and again, and an
// answer is measured decompressed.
func TestMaxResponseBytesOfHostileAnswers(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"resumable stream", func(rw http.ResponseWriter, r *http.Request) {
			authtest.Body(200, "text/event-stream", "id: 1\ndata: \n\ndata: "+strings.Repeat("x", 64<<10))(rw, r)
		}},
		{"many small events", func(rw http.ResponseWriter, r *http.Request) {
			authtest.Body(200, "text/event-stream", strings.Repeat(": ping\n\n", 64<<10))(rw, r)
		}},
		{"decompressed", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.Header().Set("Content-Encoding", "gzip")
			compressed := gzip.NewWriter(rw)
			_, _ = compressed.Write(make([]byte, 64<<10))
			_ = compressed.Close()
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.connected(func(cfg *oauthclient.Config) { cfg.MaxResponseBytes = 32 << 10 })
			w.mcp.Reset()
			w.mcp.SetOutage(row.answer)
			var limit *oauthclient.ResponseLimitError
			require.ErrorAs(t, w.call(c), &limit)
			require.Equal(t, "MaxResponseBytes", limit.Limit)
			require.Zero(t, w.mcp.CountHTTP(http.MethodGet))
			w.mcp.SetOutage(nil)
			require.NoError(t, w.call(c))
		})
	}
}

func TestMaxResponseBytesAtConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	c := w.client(func(cfg *oauthclient.Config) { cfg.MaxResponseBytes = 100 })
	w.finish(c, w.begin(c))
	var limit *oauthclient.ResponseLimitError
	require.ErrorAs(t, c.Connect(t.Context()), &limit)
	require.Equal(t, "MaxResponseBytes", limit.Limit)
}
