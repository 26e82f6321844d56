package oauthclient

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Result is an answer of an MCP server, or an element of one. MarshalJSON
// returns the server's own JSON; Decode gives the SDK's type T, without the
// members that this cannot hold.
type Result[T any] struct{ raw json.RawMessage }

// MarshalJSON returns the result as the server sent it.
func (r Result[T]) MarshalJSON() ([]byte, error) { return r.raw, nil }

// UnmarshalJSON makes r the result that a server sent as data.
func (r *Result[T]) UnmarshalJSON(data []byte) error {
	r.raw = bytes.Clone(data)
	return nil
}

// Decode returns the result as the SDK's type.
func (r Result[T]) Decode() *T { return decode[T](r.raw) }

// ListPrompts returns all prompts of the server, over all pages. Errors are
// those of [MCPOAuthClient.CallTool], also of the methods below.
func (c *MCPOAuthClient) ListPrompts(ctx context.Context) ([]Result[mcp.Prompt], error) {
	return list[mcp.Prompt](ctx, c, "listing prompts", "prompts/list", "prompts")
}

// ListResources returns all resources of the server, over all pages.
func (c *MCPOAuthClient) ListResources(ctx context.Context) ([]Result[mcp.Resource], error) {
	return list[mcp.Resource](ctx, c, "listing resources", "resources/list", "resources")
}

// ListResourceTemplates returns all resource templates of the server, over all
// pages.
func (c *MCPOAuthClient) ListResourceTemplates(ctx context.Context) ([]Result[mcp.ResourceTemplate], error) {
	return list[mcp.ResourceTemplate](ctx, c, "listing resource templates", "resources/templates/list", "resourceTemplates")
}

// GetPrompt returns a prompt with its arguments filled in.
func (c *MCPOAuthClient) GetPrompt(ctx context.Context, params *mcp.GetPromptParams) (*Result[mcp.GetPromptResult], error) {
	return c.GetPromptAsking(ctx, params, Asking{})
}

// GetPromptAsking is GetPrompt for a caller that can ask the user. It returns
// [*InputRequiredError] with what the server wants to know.
func (c *MCPOAuthClient) GetPromptAsking(ctx context.Context, params *mcp.GetPromptParams, asking Asking) (*Result[mcp.GetPromptResult], error) {
	return get[mcp.GetPromptResult](ctx, c, asking, "getting a prompt", "prompts/get", params.Name, params, "messages", '[')
}

// ReadResource returns the contents of a resource.
func (c *MCPOAuthClient) ReadResource(ctx context.Context, params *mcp.ReadResourceParams) (*Result[mcp.ReadResourceResult], error) {
	return c.ReadResourceAsking(ctx, params, Asking{})
}

// ReadResourceAsking is ReadResource for a caller that can ask the user. It returns
// [*InputRequiredError] with what the server wants to know.
func (c *MCPOAuthClient) ReadResourceAsking(ctx context.Context, params *mcp.ReadResourceParams, asking Asking) (*Result[mcp.ReadResourceResult], error) {
	return get[mcp.ReadResourceResult](ctx, c, asking, "reading a resource", "resources/read", params.URI, params, "contents", '[')
}

// Complete returns completions for an argument of a prompt or of a resource
// template.
func (c *MCPOAuthClient) Complete(ctx context.Context, params *mcp.CompleteParams) (*Result[mcp.CompleteResult], error) {
	return get[mcp.CompleteResult](ctx, c, Asking{}, "completing an argument", "completion/complete", "", params, "completion", '{')
}

// Ping makes the server answer.
func (c *MCPOAuthClient) Ping(ctx context.Context) error {
	_, err := get[struct{}](ctx, c, Asking{}, "pinging", "ping", "", nil, "", 0)
	return err
}

// list returns the elements of all pages of a list.
func list[T any](ctx context.Context, c *MCPOAuthClient, name, method, member string) (all []Result[T], err error) {
	err = c.do(ctx, name, c.newOp(), func(ctx context.Context, op *operation) error {
		raws, err := c.listAll(ctx, op, method, member)
		all = make([]Result[T], len(raws))
		for i, raw := range raws {
			all[i] = Result[T]{raw}
		}
		return err
	})
	return all, err
}

// get sends one request with parameters of the SDK's. The result must have a
// member, if any is named, whose JSON starts with first.
func get[T any](ctx context.Context, c *MCPOAuthClient, asking Asking, name, method, target string, params any, member string, first byte) (*Result[T], error) {
	var encoded json.RawMessage
	if params != nil {
		var err error
		if encoded, err = json.Marshal(params); err != nil {
			return nil, err
		}
	}
	var result json.RawMessage
	err := c.doAsking(ctx, name, c.newAskingOp(asking), asking, func(ctx context.Context, op *operation) (err error) {
		result, err = c.ask(ctx, op, wire.Request{Method: method, Name: target, Params: encoded})
		return err
	})
	if err != nil {
		return nil, err
	}
	if member != "" && !hasMember(result, member, first) {
		return nil, &ServerError{Reason: "its result has no " + member}
	}
	return &Result[T]{result}, nil
}

// hasMember reports whether an object has a member whose JSON starts with first.
func hasMember(raw json.RawMessage, member string, first byte) (has bool) {
	wire.Members(raw, func(name, value []byte) {
		if string(name) == member {
			has = len(value) > 0 && value[0] == first
		}
	})
	return has
}
