package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Tool is a tool of an MCP server, as the server described it. MarshalJSON
// returns the server's own JSON, with all its members and numbers of any size.
type Tool struct {
	// Name is the tool's name.
	Name string
	raw  json.RawMessage
}

// MarshalJSON returns the tool as the server sent it.
func (t Tool) MarshalJSON() ([]byte, error) {
	if t.raw == nil {
		return json.Marshal(map[string]string{"name": t.Name})
	}
	return t.raw, nil
}

// UnmarshalJSON makes t the tool that a server described as data.
func (t *Tool) UnmarshalJSON(data []byte) error {
	*t = Tool{Name: stringMember(data, "name"), raw: bytes.Clone(data)}
	return nil
}

// Decode returns the tool as the SDK's type. Members that this cannot hold are
// left out.
func (t Tool) Decode() *mcp.Tool { return decode[mcp.Tool](t.raw) }

// CallToolResult is the result of a tool call, as the server sent it.
type CallToolResult struct {
	// IsError reports that the tool ran and says that it failed.
	IsError bool
	raw     json.RawMessage
}

// MarshalJSON returns the result as the server sent it, with content and
// isError made explicit where the server left them out.
func (r CallToolResult) MarshalJSON() ([]byte, error) {
	if r.raw == nil {
		return json.Marshal(map[string]any{"content": []any{}, "isError": r.IsError})
	}
	return r.raw, nil
}

// UnmarshalJSON makes r the result that a server sent as data.
func (r *CallToolResult) UnmarshalJSON(data []byte) error {
	result, err := newCallToolResult(bytes.Clone(data))
	if err == nil {
		*r = *result
	}
	return err
}

// Decode returns the result as the SDK's type. Members that this cannot hold,
// such as content of an unknown type, are left out.
func (r CallToolResult) Decode() *mcp.CallToolResult { return decode[mcp.CallToolResult](r.raw) }

// Text returns the texts in the content, joined by newlines, for a chat or a
// model. It leaves out pictures, sounds and resources, and structured content,
// which a server should repeat as text.
func (r CallToolResult) Text() string {
	var texts []string
	for _, content := range r.Decode().Content {
		if text, ok := content.(*mcp.TextContent); ok {
			texts = append(texts, text.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// newCallToolResult adds content and isError to a result without them. Names
// are compared exactly, unlike in encoding/json's structs: a reader that tells a
// result by these members must find them, not some other spelling.
func newCallToolResult(raw json.RawMessage) (*CallToolResult, error) {
	var content, isError []byte
	ok := wire.Members(raw, func(name, value []byte) {
		switch string(name) {
		case "content":
			content = value
		case "isError":
			isError = value
		}
	})
	if !ok {
		return nil, &ServerError{Reason: "a tool result is not an object"}
	}
	hasContent := bytes.HasPrefix(content, []byte("["))
	hasIsError := string(isError) == "true" || string(isError) == "false"
	result := &CallToolResult{IsError: string(isError) == "true", raw: raw}
	switch {
	case hasContent && hasIsError:
		return result, nil
	case hasContent && isError == nil: // most servers leave it out
		body := bytes.TrimRight(raw, " \t\r\n")
		result.raw = append(body[:len(body)-1:len(body)-1], `,"isError":false}`...)
		return result, nil
	}
	if !hasContent && content != nil && string(content) != "null" && string(content) != "{}" {
		return nil, &ServerError{Reason: "the content of a tool result is not a list"}
	}
	var err error
	result.raw, err = replaceMembers(raw, hasContent, hasIsError)
	return result, err
}

// replaceMembers completes the rare result that has no content, or something
// else under these names.
func replaceMembers(raw json.RawMessage, hasContent, hasIsError bool) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, &ServerError{Reason: "a tool result is not an object"}
	}
	if !hasContent {
		members["content"] = json.RawMessage("[]")
	}
	if !hasIsError {
		members["isError"] = json.RawMessage("false")
	}
	return json.Marshal(members)
}

// ListTools returns all tools of the server, over all pages, in the time of one
// call. On revision 2026-07-28 tools whose x-mcp-header annotations are invalid
// are left out, as the specification demands.
//
// Errors are those of [MCPOAuthClient.CallTool]; more than Shared.MaxTools
// tools, or a server whose pages never end, are a [*ResponseLimitError].
func (c *MCPOAuthClient) ListTools(ctx context.Context) ([]*Tool, error) {
	var tools []*Tool
	err := c.do(ctx, "listing tools", c.newOp(), func(ctx context.Context, op *operation) (err error) {
		tools, err = c.listTools(ctx, op)
		return err
	})
	return tools, err
}

// listTools lists the tools, and saves which of their arguments go into headers
// if that has changed.
func (c *MCPOAuthClient) listTools(ctx context.Context, op *operation) ([]*Tool, error) {
	raws, err := c.listAll(ctx, op, "tools/list", "tools")
	if err != nil {
		return nil, err
	}
	tools := make([]*Tool, 0, len(raws))
	headers := make(map[string][]wire.Header)
	modern := op.connection.conn().Version >= modernVersion
	for _, raw := range raws {
		tool := &Tool{Name: stringMember(raw, "name"), raw: raw}
		if modern {
			annotated, err := wire.ToolHeaders(raw)
			if err != nil {
				c.cfg.Logger.WarnContext(ctx, "mcpoauth: a tool is left out", "server", withoutQuery(c.cfg.ServerURL), "tool", tool.Name, "error", err)
				continue
			}
			if len(annotated) > 0 {
				headers[tool.Name] = annotated
			}
		}
		tools = append(tools, tool)
	}
	if modern {
		err = c.annotate(ctx, op, headers)
	}
	return tools, err
}

// annotate makes headers those of the operation's connection. Where they do not
// fit into its stored form, they stay in the memory of this process: another
// process would find nothing new in the store.
func (c *MCPOAuthClient) annotate(ctx context.Context, op *operation, headers map[string][]wire.Header) error {
	old := op.connection
	if old.conn().Listed && maps.EqualFunc(old.conn().Headers, headers, func(a, b []wire.Header) bool { return reflect.DeepEqual(a, b) }) {
		return nil
	}
	conn := *old.conn()
	conn.Headers, conn.Listed = headers, true
	updated := newConnection(&conn, c.cookies.present(old))
	if stored := updated.stored().conn(); stored == nil || !stored.Listed {
		op.connection = c.keepLocal(old, &conn)
		return nil
	}
	op.connection = updated // right for this operation, also where another process saves its own
	_, err := c.save(ctx, old, updated)
	return err
}

// listAll returns the elements of all pages of a list.
func (c *MCPOAuthClient) listAll(ctx context.Context, op *operation, method, member string) (all []json.RawMessage, err error) {
	seen := map[string]bool{}
	for cursor := ""; ; {
		var params json.RawMessage
		if cursor != "" {
			encoded, err := json.Marshal(map[string]string{"cursor": cursor})
			if err != nil {
				return nil, err
			}
			params = encoded
		}
		page, err := op.request(ctx, wire.Request{Method: method, Params: params})
		if err != nil {
			return nil, err
		}
		var list, next []byte
		wire.Members(page, func(name, value []byte) {
			switch string(name) {
			case member:
				list = value
			case "nextCursor":
				next = value
			}
		})
		wire.Elements(list, func(value []byte) { all = append(all, value) })
		cursor = string(wire.Unquote(next))
		if seen[cursor] || len(all) > c.cfg.MaxTools || len(seen) > c.cfg.MaxTools {
			return nil, &ResponseLimitError{Limit: "MaxTools"}
		}
		if cursor == "" {
			return all, nil
		}
		seen[cursor] = true
	}
}

// stringMember returns a member that is a string.
func stringMember(raw []byte, member string) (s string) {
	wire.Members(raw, func(name, value []byte) {
		if string(name) == member {
			s = string(wire.Unquote(value))
		}
	})
	return s
}

// CallTool calls a tool. args is anything that encodes to a JSON object; a
// [json.RawMessage] is sent as it is; nil means no arguments.
//
// A result with IsError is a result: the tool ran and says that it failed.
// Errors: [*AuthorizationRequiredError] when the user must authorize (also on
// a connection that worked so far), [*InsufficientScopeError],
// [*TemporaryError], [*ServerError], [*ResponseLimitError], or the server's
// [*jsonrpc.Error]. Only a call that the server certainly did not execute is
// sent again.
func (c *MCPOAuthClient) CallTool(ctx context.Context, name string, args any) (*CallToolResult, error) {
	return c.CallToolProgress(ctx, name, args, nil)
}

// CallToolProgress is CallTool with the server's progress notifications, each
// passed to onProgress before the result is returned. The answer is not read
// on while onProgress runs. Cancelling ctx cancels the call at the server.
func (c *MCPOAuthClient) CallToolProgress(ctx context.Context, name string, args any, onProgress func(mcp.ProgressNotificationParams)) (*CallToolResult, error) {
	return c.CallToolAsking(ctx, name, args, Asking{}, onProgress)
}

// CallToolAsking is CallToolProgress for a caller that can ask the user. It returns
// [*InputRequiredError] with what the server wants to know.
func (c *MCPOAuthClient) CallToolAsking(ctx context.Context, name string, args any, asking Asking, onProgress func(mcp.ProgressNotificationParams)) (*CallToolResult, error) {
	if name == "" {
		return nil, errors.New("oauthclient: CallTool: the tool name is empty")
	}
	arguments, err := encodeArguments(args)
	if err != nil {
		return nil, err
	}
	op := c.newAskingOp(asking)
	op.OnProgress = onProgress
	var result json.RawMessage
	err = c.doAsking(ctx, "calling the tool", op, asking, func(ctx context.Context, op *operation) (err error) {
		result, err = c.callTool(ctx, op, name, arguments)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newCallToolResult(result)
}

// callTool calls a tool with the headers that its annotations ask for. If the
// server wants other headers, its tools have changed: callTool lists them again
// and repeats the call once.
func (c *MCPOAuthClient) callTool(ctx context.Context, op *operation, name string, arguments json.RawMessage) (json.RawMessage, error) {
	if conn := op.connection.conn(); conn.Version >= modernVersion && !conn.Listed {
		if err := c.listForCall(ctx, op); err != nil {
			return nil, err
		}
	}
	encodedName, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	params := make(json.RawMessage, 0, len(encodedName)+len(arguments)+32)
	params = append(append(append(append(params, `{"name":`...), encodedName...), `,"arguments":`...), arguments...)
	params = append(params, '}')
	r := wire.Request{Method: "tools/call", Name: name, Params: params, Arguments: arguments}
	result, err := c.ask(ctx, op, r)
	if err == nil || !wrongHeaders(err) || op.connection.conn().Version < modernVersion {
		return result, err
	}
	before := op.connection
	if listErr := c.listForCall(ctx, op); listErr != nil || before == op.connection {
		return nil, err
	}
	return c.ask(ctx, op, r)
}

// listForCall lists the tools for the headers of a call. A listing runs no tool, so
// it does not count as sent.
func (c *MCPOAuthClient) listForCall(ctx context.Context, op *operation) error {
	before := op.Sent
	_, err := c.listTools(ctx, op)
	op.Sent = before
	return err
}

// codeHeaderMismatch is the JSON-RPC error of a request whose Mcp-Param headers
// are missing or differ from its body (revision 2026-07-28).
const codeHeaderMismatch = -32020

// wrongHeaders reports whether a refusal may be about a request's headers.
func wrongHeaders(err error) bool {
	if rpc, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return rpc.Code == codeHeaderMismatch
	}
	status, ok := errors.AsType[*wire.StatusError](err)
	return ok && status.Status == http.StatusBadRequest
}

// encodeArguments returns the arguments of a call as a JSON object.
func encodeArguments(args any) (json.RawMessage, error) {
	switch args := args.(type) {
	case nil:
		return json.RawMessage("{}"), nil
	case json.RawMessage:
		if len(args) == 0 {
			return json.RawMessage("{}"), nil
		}
		if !json.Valid(args) {
			return nil, errors.New("oauthclient: CallTool: the arguments are not valid JSON")
		}
		return args, nil
	}
	encoded, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("oauthclient: CallTool: the arguments cannot be encoded: %w", err)
	}
	if string(encoded) == "null" {
		return json.RawMessage("{}"), nil
	}
	return encoded, nil
}
