package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Tool is a tool of an MCP server. Beside the SDK's view of it, it keeps the
// server's own JSON, which MarshalJSON returns unchanged: fields that the SDK
// does not know and numbers of any size survive.
type Tool struct {
	*mcp.Tool
	raw json.RawMessage
}

// MarshalJSON returns the tool as the server sent it.
func (t Tool) MarshalJSON() ([]byte, error) {
	if t.raw != nil {
		return t.raw, nil
	}
	return json.Marshal(t.Tool)
}

// CallToolResult is the result of a tool call. Beside the SDK's view of it, it
// keeps the server's own JSON, which MarshalJSON returns.
type CallToolResult struct {
	*mcp.CallToolResult
	raw json.RawMessage
}

// MarshalJSON returns the result as the server sent it, with content and
// isError made explicit where the server left them out.
func (r CallToolResult) MarshalJSON() ([]byte, error) {
	if r.raw != nil {
		return r.raw, nil
	}
	typed, err := json.Marshal(r.CallToolResult)
	if err != nil {
		return nil, err
	}
	return completeResult(typed)
}

// completeResult adds content and isError to a result without them. Names are
// compared exactly, unlike in encoding/json's structs: a reader that tells a
// result by these members must find them, not some other spelling.
func completeResult(raw json.RawMessage) (json.RawMessage, error) {
	var content, isError []byte
	ok := eachMember(raw, func(name, value []byte) {
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
	switch {
	case hasContent && hasIsError:
		return raw, nil
	case hasContent && isError == nil: // most servers leave it out
		body := bytes.TrimRight(raw, " \t\r\n")
		return append(body[:len(body)-1:len(body)-1], `,"isError":false}`...), nil
	}
	return replaceMembers(raw, hasContent, hasIsError)
}

// replaceMembers is completeResult for the rare result that has no content, or
// something else under these names.
func replaceMembers(raw json.RawMessage, hasContent, hasIsError bool) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, errMalformed
	}
	if !hasContent {
		members["content"] = json.RawMessage("[]")
	}
	if !hasIsError {
		members["isError"] = json.RawMessage("false")
	}
	return json.Marshal(members)
}

// ListTools returns all tools of the server, over all pages. The SDK leaves
// out tools whose definition breaks the protocol.
//
// Errors are those of [MCPOAuthClient.CallTool]; more than Config.MaxTools
// tools, or a server whose pages never end, are a [*ServerError].
func (c *MCPOAuthClient) ListTools(ctx context.Context) ([]*Tool, error) {
	tools := []*Tool{}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page, next, err := c.listPage(ctx, cursor)
		if err != nil {
			return nil, err
		}
		tools = append(tools, page...)
		if seen[next] || len(tools) > c.cfg.MaxTools || len(seen) > c.cfg.MaxTools {
			return nil, &ServerError{Reason: "its list of tools does not end, or exceeds Config.MaxTools"}
		}
		if next == "" {
			return tools, nil
		}
		seen[next], cursor = true, next
	}
}

// listPage gets one page. The SDK may answer from its cache (SEP-2549), in
// which case the server's own JSON is that of the page as it was fetched.
func (c *MCPOAuthClient) listPage(ctx context.Context, cursor string) ([]*Tool, string, error) {
	x := &exchange{}
	var result *mcp.ListToolsResult
	err := c.do(ctx, "listing tools", x, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		var params *mcp.ListToolsParams // empty params would cost SDKs on both sides two more decodings
		if cursor != "" {
			params = &mcp.ListToolsParams{Cursor: cursor}
		}
		result, err = session.ListTools(ctx, params)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cached, ok := c.pages[cursor]; ok && cached.result == result {
		return cached.tools, result.NextCursor, nil
	}
	tools := pairTools(result.Tools, x.raw())
	if result.GetTTLMs() > 0 {
		c.pages[cursor] = toolPage{result, tools}
	}
	return tools, result.NextCursor, nil
}

// toolPage is a page that the SDK may have cached.
type toolPage struct {
	result *mcp.ListToolsResult
	tools  []*Tool
}

// pairTools joins the SDK's tools, of which some may have been left out, with
// the server's JSON for them, which has the same order.
func pairTools(tools []*mcp.Tool, result json.RawMessage) []*Tool {
	out := make([]*Tool, len(tools))
	for i, tool := range tools {
		out[i] = &Tool{Tool: tool}
	}
	var list []byte // absent or odd: the SDK's view alone remains
	eachMember(result, func(name, value []byte) {
		if string(name) == "tools" {
			list = value
		}
	})
	next := 0
	eachElement(list, func(raw []byte) {
		if next < len(out) && toolName(raw) == out[next].Name {
			out[next].raw = raw
			next++
		}
	})
	return out
}

// toolName returns the name in a tool's JSON.
func toolName(raw []byte) (s string) {
	eachMember(raw, func(name, value []byte) {
		if string(name) == "name" {
			s = string(unquote(value))
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
// [*TemporaryError], [*ServerError], or the server's [*jsonrpc.Error]. Only a
// call that the server certainly did not execute is sent again.
func (c *MCPOAuthClient) CallTool(ctx context.Context, name string, args any) (*CallToolResult, error) {
	return c.CallToolProgress(ctx, name, args, nil)
}

// CallToolProgress is CallTool with the server's progress notifications, each
// passed to onProgress before the result is returned. The answer is not read
// on while onProgress runs. Cancelling ctx cancels the call at the server.
func (c *MCPOAuthClient) CallToolProgress(ctx context.Context, name string, args any, onProgress func(mcp.ProgressNotificationParams)) (*CallToolResult, error) {
	if name == "" {
		return nil, errors.New("oauthclient: CallTool: the tool name is empty")
	}
	if args == nil {
		args = json.RawMessage("{}")
	}
	x := &exchange{onProgress: onProgress}
	var result *mcp.CallToolResult
	err := c.do(ctx, "calling the tool", x, func(ctx context.Context, session *mcp.ClientSession) (err error) {
		params := &mcp.CallToolParams{Name: name, Arguments: args}
		if onProgress != nil {
			params.SetProgressToken(c.nextToken())
		}
		result, err = session.CallTool(ctx, params)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &CallToolResult{CallToolResult: result}
	if raw := x.raw(); raw != nil {
		if out.raw, err = completeResult(raw); err != nil {
			return nil, err
		}
	}
	return out, nil
}
