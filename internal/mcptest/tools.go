package mcptest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const anyObject = `{"type":"object"}`

// Tools returns the names of the tools every server has, sorted:
//
//   - echo returns its arguments as they are, as structured content and text
//   - add returns the sum of the integers a and b
//   - fail returns a result with isError
//   - slow sends count progress notifications, intervalMs apart
//   - rich returns content of every kind, and _meta
//   - admin needs the scope admin
//   - whoami returns user, client and scopes of the token
//   - protocol_error answers with a JSON-RPC error
func Tools() []string {
	return []string{"add", "admin", "echo", "fail", "protocol_error", "rich", "slow", "whoami"}
}

func (s *Server) addTools(server *mcp.Server) {
	add := func(name, description, schema string, h mcp.ToolHandler) {
		server.AddTool(&mcp.Tool{Name: name, Description: description, InputSchema: json.RawMessage(schema)},
			func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				s.mu.Lock()
				s.counts.tools[name]++
				s.mu.Unlock()
				return h(ctx, req)
			})
	}
	add("echo", "Returns its arguments.", anyObject, echo)
	add("add", "Adds two integers.",
		`{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"]}`, sum)
	add("fail", "Returns an error result.", anyObject, fail)
	add("slow", "Reports progress, then returns.",
		`{"type":"object","properties":{"count":{"type":"integer"},"intervalMs":{"type":"integer"}}}`, s.slow)
	add("rich", "Returns content of every kind.", anyObject, rich)
	add("admin", "Needs the scope admin.", anyObject, admin)
	add("whoami", "Says who the token belongs to.", anyObject, whoami)
	add("protocol_error", "Answers with a JSON-RPC error.", anyObject, protocolError)
	for i := range s.opts.ExtraTools {
		add(fmt.Sprintf("tool_%03d", i+1), "One of many.", anyObject, echo)
	}
}

func text(format string, args ...any) []mcp.Content {
	return []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}
}

func echo(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	args := req.Params.Arguments
	if len(args) == 0 {
		args = json.RawMessage("{}")
	}
	return &mcp.CallToolResult{Content: text("%s", args), StructuredContent: args}, nil
}

func sum(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	var args struct{ A, B int64 }
	if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "a and b must be integers"}
	}
	return &mcp.CallToolResult{
		Content:           text("%d", args.A+args.B),
		StructuredContent: map[string]int64{"sum": args.A + args.B},
	}, nil
}

func fail(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: text("the tool failed"), IsError: true}, nil
}

func admin(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return &mcp.CallToolResult{Content: text("done as admin")}, nil
}

func protocolError(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return nil, &jsonrpc.Error{
		Code: jsonrpc.CodeInvalidParams, Message: "refused at the protocol level",
		Data: json.RawMessage(`{"reason":"on purpose"}`),
	}
}

func whoami(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	who := struct {
		User   string   `json:"user"`
		Client string   `json:"client"`
		Scopes []string `json:"scopes"`
	}{Scopes: []string{}}
	if req.Extra != nil && req.Extra.TokenInfo != nil {
		info := req.Extra.TokenInfo
		who.User = info.UserID
		who.Client, _ = info.Extra[clientKey].(string)
		who.Scopes = append(who.Scopes, info.Scopes...)
	}
	return &mcp.CallToolResult{Content: text("%s", who.User), StructuredContent: who}, nil
}

func (s *Server) slow(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	args := struct{ Count, IntervalMs int }{Count: 3, IntervalMs: 10}
	if len(req.Params.Arguments) > 0 {
		if err := json.Unmarshal(req.Params.Arguments, &args); err != nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "count and intervalMs must be integers"}
		}
	}
	token := req.Params.GetProgressToken()
	for i := range args.Count {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.cancelled++
			s.mu.Unlock()
			return nil, fmt.Errorf("mcptest: slow: %w", ctx.Err())
		case <-time.After(time.Duration(args.IntervalMs) * time.Millisecond):
		}
		if token == nil {
			continue
		}
		err := req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
			ProgressToken: token, Progress: float64(i + 1), Total: float64(args.Count),
			Message: fmt.Sprintf("step %d of %d", i+1, args.Count),
		})
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("mcptest: slow: %w", err)
		}
	}
	return &mcp.CallToolResult{Content: text("%d steps", args.Count)}, nil
}

func rich(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	size := int64(42)
	return &mcp.CallToolResult{
		Meta: mcp.Meta{"example.org/trace": "trace-1"},
		Content: []mcp.Content{
			&mcp.TextContent{
				Text: "<b>caf\u00e9 & co</b>", Meta: mcp.Meta{"example.org/part": 1},
				Annotations: &mcp.Annotations{Audience: []mcp.Role{"user"}, Priority: 0.5},
			},
			&mcp.ImageContent{Data: []byte("not really a png"), MIMEType: "image/png"},
			&mcp.AudioContent{Data: []byte("not really a wav"), MIMEType: "audio/wav"},
			&mcp.ResourceLink{
				URI: "file:///readme.md", Name: "readme", Title: "Read me",
				MIMEType: "text/markdown", Size: &size,
			},
			&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{
				URI: "file:///note.txt", MIMEType: "text/plain", Text: "a note",
			}},
		},
		StructuredContent: json.RawMessage(`{"big":9007199254740993,"nested":{"list":[1,2.50,null]}}`),
	}, nil
}
