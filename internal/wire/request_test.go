package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

func answerEmpty(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, `{}`) }

// Each revision gets the headers and the _meta that it wants, and parameters as
// they are spelled.
func TestRequests(t *testing.T) {
	t.Parallel()
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"roots":{}}`
	for name, tc := range map[string]struct {
		version, params, want string
	}{
		"older":                     {"2025-11-25", `{"name":"echo","arguments":{"n":9007199254740993,"e":1.50}}`, `,"params":{"name":"echo","arguments":{"n":9007199254740993,"e":1.50}}`},
		"older without parameters":  {"2025-11-25", ``, ``},
		"older with meta":           {"2025-11-25", `{"_meta":{"a":1.0},"x":[]}`, `,"params":{"_meta":{"a":1.0},"x":[]}`},
		"newest":                    {"2026-07-28", ` {"name":"echo","arguments":{"n":9007199254740993,"e":1.50}} `, `,"params":{` + meta + `},"name":"echo","arguments":{"n":9007199254740993,"e":1.50}}`},
		"newest without parameters": {"2026-07-28", ``, `,"params":{` + meta + `}}`},
		"newest, empty parameters":  {"2026-07-28", `{ }`, `,"params":{` + meta + `}}`},
		"newest with meta":          {"2026-07-28", `{"x":1.0,"_meta":{"a":1.0,"io.modelcontextprotocol/protocolVersion":"forged"},"y":"_meta\"}"}`, `,"params":{` + meta + `,"a":1.0},"x":1.0,"y":"_meta\"}"}`},
		"newest with meta only":     {"2026-07-28", `{"_meta":{}}`, `,"params":{` + meta + `}}`},
		"newest with odd meta":      {"2026-07-28", `{"_meta":[],"x":1}`, `,"params":{` + meta + `},"x":1}`},
		"newest, meta in arguments": {"2026-07-28", `{"arguments":{"_meta":{"a":1}}}`, `,"params":{` + meta + `},"arguments":{"_meta":{"a":1}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerEmpty)
			f.Capabilities = json.RawMessage(`{"roots":{}}`)
			_, err := f.Call(t.Context(), connOf(tc.version), f.NewOp(), wire.Request{Method: "tools/call", Name: "echo", Params: json.RawMessage(tc.params)})
			require.NoError(t, err)
			got := f.request(0)
			require.Equal(t, `{"jsonrpc":"2.0","id":`+string(got.ID)+`,"method":"tools/call"`+tc.want+`}`, got.Body)
			require.Equal(t, tc.version, got.Header.Get("Mcp-Protocol-Version"))
			require.Equal(t, "application/json", got.Header.Get("Content-Type"))
			require.Equal(t, "application/json, text/event-stream", got.Header.Get("Accept"))
			if tc.version == "2026-07-28" {
				require.Equal(t, "tools/call", got.Header.Get("Mcp-Method"))
				require.Equal(t, "echo", got.Header.Get("Mcp-Name"))
				require.Empty(t, got.Header.Values("Mcp-Session-Id"))
			} else {
				require.Empty(t, got.Header.Values("Mcp-Method"))
				require.Empty(t, got.Header.Values("Mcp-Name"))
				require.Equal(t, "SESSION-C4N4RY", got.Header.Get("Mcp-Session-Id"))
			}
		})
	}
}

// Parameters that are no object are the caller's mistake, and are not sent.
func TestInvalidParameters(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerEmpty)
	for _, params := range []string{`[]`, `1`, `{"_meta":{}`} {
		_, err := f.Call(t.Context(), connOf("2026-07-28"), f.NewOp(), wire.Request{Method: "x", Params: json.RawMessage(params)})
		require.Error(t, err)
		require.True(t, wire.NotExecuted(err))
	}
	require.Empty(t, f.requests())
}

// All members of the client's name are sent, whatever their characters.
func TestClientInfo(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerEmpty)
	f.Info = &mcp.Implementation{Name: "na\"me\n", Version: "ü", Title: "t", Description: "d", WebsiteURL: "https://a.example", Icons: []mcp.Icon{{Source: "https://a.example/i"}}}
	_, err := f.Call(t.Context(), connOf("2026-07-28"), f.NewOp(), wire.Request{Method: "x"})
	require.NoError(t, err)
	var params struct {
		Meta struct {
			Info mcp.Implementation `json:"io.modelcontextprotocol/clientInfo"`
		} `json:"_meta"`
	}
	require.NoError(t, json.Unmarshal(f.request(0).Params, &params))
	require.Equal(t, *f.Info, params.Meta.Info)
}

// IDs and tokens fit into 32 bits, are positive and not those of the request
// before.
func TestIDs(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerEmpty)
	seen := make(map[int32]bool)
	op := f.NewOp()
	op.OnProgress = func(mcp.ProgressNotificationParams) {}
	for n := range 10 {
		_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
		require.NoError(t, err)
		r := f.request(n)
		var p struct {
			Meta struct {
				ProgressToken int32 `json:"progressToken"`
			} `json:"_meta"`
		}
		var id int32
		require.NoError(t, json.Unmarshal(r.Params, &p))
		require.NoError(t, json.Unmarshal(r.ID, &id))
		require.Positive(t, id)
		require.Positive(t, p.Meta.ProgressToken)
		seen[id], seen[p.Meta.ProgressToken] = true, true
	}
	require.Len(t, seen, 20)
}

// Progress of this call reaches the caller, in any spelling. Progress of other calls
// does not.
func TestProgress(t *testing.T) {
	t.Parallel()
	note := func(params string) string {
		return "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":" + params + "}\n\n"
	}
	f := newFake(t, answerText("text/event-stream",
		note(`{"progressToken":$TOKEN,"progress":1,"total":3,"message":"one"}`)+
			note(`{"progressToken":"$TOKEN","progress":"2","total":null,"message":7,"_meta":[]}`)+
			note(`{"progressToken":1.5,"progress":9}`)+note(`{"progress":9}`)+note(`[]`)+note(`null`)+
			note(`{"progressToken":$TOKEN.0,"progress":2.5,"_meta":{"a":1}}`)+answerEvent))
	for _, version := range []string{"2025-06-18", "2026-07-28"} {
		var got []string
		op := f.NewOp()
		op.OnProgress = func(p mcp.ProgressNotificationParams) {
			got = append(got, fmt.Sprintf("%v %v %q %v", p.Progress, p.Total, p.Message, p.Meta))
		}
		_, err := f.Call(t.Context(), connOf(version), op, toolCall)
		require.NoError(t, err)
		require.Equal(t, []string{`1 3 "one" map[]`, `2 0 "" map[]`, `2.5 0 "" map[a:1]`}, got)
	}
	_, err := f.call(t, "2025-06-18")
	require.NoError(t, err)
	require.NotContains(t, f.request(2).Body, "progressToken")
	op := f.NewOp()
	op.OnProgress = func(mcp.ProgressNotificationParams) {}
	_, err = f.Call(t.Context(), connOf("2025-06-18"), op, wire.Request{Method: "x", Params: json.RawMessage(`{"_meta":{"progressToken":"mine","b":2},"c":3}`)})
	require.NoError(t, err)
	require.Regexp(t, `"params":\{"_meta":\{"progressToken":\d+,"b":2\},"c":3\}`, f.request(3).Body)
}

// A request of the server is answered while the call goes on: ping by the
// package, others by the caller.
func TestServerRequests(t *testing.T) {
	t.Parallel()
	ask := func(id, method string) string {
		return "data: {\"jsonrpc\":\"2.0\",\"id\":" + id + ",\"method\":\"" + method + "\",\"params\":{\"n\":9007199254740993}}\n\n"
	}
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
		if m.Method == "" {
			w.WriteHeader(http.StatusTeapot) // a refusal is ignored
			return
		}
		stream(w, m, ask("7", "ping")+ask(`"a\"b"`, "elicitation/create")+ask("8", "roots/list")+ask("9", "sampling/createMessage")+answerEvent)
	})
	var asked []string
	op := f.NewOp()
	op.OnRequest = func(_ context.Context, method string, params json.RawMessage) (any, error) {
		asked = append(asked, method+string(params))
		switch method {
		case "elicitation/create":
			return map[string]any{"action": "decline"}, nil
		case "roots/list":
			return nil, &jsonrpc.Error{Code: -1, Message: "no", Data: json.RawMessage(`{"a":1}`)}
		}
		return nil, errors.New("SECRET")
	}
	_, err := f.Call(t.Context(), connOf("2025-06-18"), op, toolCall)
	require.NoError(t, err)
	require.Equal(t, []string{`elicitation/create{"n":9007199254740993}`, `roots/list{"n":9007199254740993}`, `sampling/createMessage{"n":9007199254740993}`}, asked)
	require.Equal(t, []string{"tools/call", "response", "response", "response", "response"}, f.requests())
	for n, want := range []string{
		`{"jsonrpc":"2.0","id":7,"result":{}}`,
		`{"jsonrpc":"2.0","id":"a\"b","result":{"action":"decline"}}`,
		`{"jsonrpc":"2.0","id":8,"error":{"code":-1,"message":"no","data":{"a":1}}}`,
		`{"jsonrpc":"2.0","id":9,"error":{"code":-32603,"message":"Internal error"}}`,
	} {
		r := f.request(n + 1)
		require.Equal(t, want, r.Body)
		require.Equal(t, "SESSION-C4N4RY", r.Header.Get("Mcp-Session-Id"))
		require.Equal(t, "2025-06-18", r.Header.Get("Mcp-Protocol-Version"))
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	}
}

// Without a function for them, requests of the server get the proper error; on
// the newest revision, which forbids them, they get nothing.
func TestServerRequestsUnanswered(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
		if m.Method == "" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		stream(w, m, strings.Repeat("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"roots/list\"}\n\n", 200)+answerEvent)
	})
	_, err := f.call(t, "2025-11-25")
	require.NoError(t, err)
	require.Equal(t, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`, f.request(1).Body)
	require.Len(t, f.requests(), 101, "a server cannot make the client send without end")
	_, err = f.call(t, "2026-07-28")
	require.NoError(t, err)
	require.Len(t, f.requests(), 102)
}
