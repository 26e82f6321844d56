package session

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// ListPrompts returns all prompts of the session's server; see
// [oauthclient.MCPOAuthClient.ListPrompts]. Errors are those of
// [Manager.CallTool], also of the methods below.
func (m *Manager) ListPrompts(ctx context.Context, caller Caller, sessionID string) ([]oauthclient.Result[mcp.Prompt], error) {
	return ask(ctx, m, caller, sessionID, (*oauthclient.MCPOAuthClient).ListPrompts)
}

// ListResources returns all resources of the session's server.
func (m *Manager) ListResources(ctx context.Context, caller Caller, sessionID string) ([]oauthclient.Result[mcp.Resource], error) {
	return ask(ctx, m, caller, sessionID, (*oauthclient.MCPOAuthClient).ListResources)
}

// ListResourceTemplates returns all resource templates of the session's server.
func (m *Manager) ListResourceTemplates(ctx context.Context, caller Caller, sessionID string) ([]oauthclient.Result[mcp.ResourceTemplate], error) {
	return ask(ctx, m, caller, sessionID, (*oauthclient.MCPOAuthClient).ListResourceTemplates)
}

// ListPage returns one page of a list; an empty cursor asks for the first.
func (m *Manager) ListPage(ctx context.Context, caller Caller, sessionID string, list oauthclient.List, cursor string) (oauthclient.Page, error) {
	page, err := ask(ctx, m, caller, sessionID, func(client *oauthclient.MCPOAuthClient, ctx context.Context) (oauthclient.Page, error) {
		return client.ListPage(ctx, list, cursor)
	})
	if err != nil || list != oauthclient.ListTools {
		return page, err
	}
	return m.filterPage(ctx, caller, sessionID, page)
}

// GetPrompt returns a prompt with its arguments filled in.
func (m *Manager) GetPrompt(ctx context.Context, caller Caller, sessionID string, params *mcp.GetPromptParams) (*oauthclient.Result[mcp.GetPromptResult], error) {
	return ask(ctx, m, caller, sessionID, func(client *oauthclient.MCPOAuthClient, ctx context.Context) (*oauthclient.Result[mcp.GetPromptResult], error) {
		return client.GetPrompt(ctx, params)
	})
}

// ReadResource returns the contents of a resource.
func (m *Manager) ReadResource(ctx context.Context, caller Caller, sessionID string, params *mcp.ReadResourceParams) (*oauthclient.Result[mcp.ReadResourceResult], error) {
	return ask(ctx, m, caller, sessionID, func(client *oauthclient.MCPOAuthClient, ctx context.Context) (*oauthclient.Result[mcp.ReadResourceResult], error) {
		return client.ReadResource(ctx, params)
	})
}

// Complete returns completions for an argument of a prompt or of a resource
// template.
func (m *Manager) Complete(ctx context.Context, caller Caller, sessionID string, params *mcp.CompleteParams) (*oauthclient.Result[mcp.CompleteResult], error) {
	return ask(ctx, m, caller, sessionID, func(client *oauthclient.MCPOAuthClient, ctx context.Context) (*oauthclient.Result[mcp.CompleteResult], error) {
		return client.Complete(ctx, params)
	})
}

// Server returns what the session's server said of itself. It asks the server
// only if there is no connection yet.
func (m *Manager) Server(ctx context.Context, caller Caller, sessionID string) (d oauthclient.ServerDescription, err error) {
	s, err := m.usable(ctx, caller, sessionID)
	if err != nil {
		return d, err
	}
	m.touch(ctx, s)
	// It calls run and not use, because Server may read the record alone.
	err = m.run(ctx, caller, s, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		d, err = client.Server(ctx)
		return err
	})
	return d, err
}

// ask returns what a method of a session's client returns.
func ask[T any](ctx context.Context, m *Manager, caller Caller, sessionID string, method func(*oauthclient.MCPOAuthClient, context.Context) (T, error)) (result T, err error) {
	err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		result, err = method(client, ctx)
		return err
	})
	return result, err
}
