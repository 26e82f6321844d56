package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// directScenarios are those without authorization.
var directScenarios = map[string]func(context.Context, string, settings) error{
	"initialize":                          listTools,
	"request-metadata":                    connectOnly,
	"json-schema-ref-no-deref":            listTools,
	"tools_call":                          callAll(json.RawMessage(`{"a":5,"b":3}`)),
	"sse-retry":                           callAll(nil),
	"elicitation-sep1034-client-defaults": callAll(nil),
	"http-invalid-tool-headers":           callAll(json.RawMessage(`{"region":"us-west1"}`)),
	"sep-2322-client-request-state":       requestState,
	"http-standard-headers":               standardHeaders,
	"http-custom-headers":                 customHeaders,
	"json-schema-2020-12-preservation":    echoSchema,
}

// withClient connects an MCPOAuthClient. A server that asks for elicitation
// gets the answer of an agreeable user.
func withClient(ctx context.Context, serverURL string, fn func(*oauthclient.MCPOAuthClient) error) error {
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL:   serverURL,
		CallbackURL: "http://127.0.0.1/callback",
		Shared: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Elicit: func(_ context.Context, params *mcp.ElicitParams) (*mcp.ElicitResult, error) {
				content := map[string]any{}
				if schema, ok := params.RequestedSchema.(map[string]any); ok {
					if properties, ok := schema["properties"].(map[string]any); ok && properties["confirmed"] != nil {
						content["confirmed"] = true
					}
				}
				return &mcp.ElicitResult{Action: "accept", Content: content}, nil
			},
		},
	})
	if err != nil {
		return err
	}
	if err := client.Connect(ctx); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return fn(client)
}

func connectOnly(ctx context.Context, serverURL string, _ settings) error {
	return withClient(ctx, serverURL, func(*oauthclient.MCPOAuthClient) error { return nil })
}

func listTools(ctx context.Context, serverURL string, _ settings) error {
	return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
		_, err := c.ListTools(ctx)
		return err
	})
}

// callAll calls every tool that the server lists with the same arguments.
func callAll(args json.RawMessage) func(context.Context, string, settings) error {
	return func(ctx context.Context, serverURL string, _ settings) error {
		return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
			tools, err := c.ListTools(ctx)
			if err != nil {
				return fmt.Errorf("list: %w", err)
			}
			for _, tool := range tools {
				var arguments any
				if args != nil {
					arguments = args
				}
				if _, err := c.CallTool(ctx, tool.Name, arguments); err != nil {
					return fmt.Errorf("call %s: %w", tool.Name, err)
				}
			}
			return nil
		})
	}
}

// requestState calls the tools of SEP-2322, one of which must be refused here.
func requestState(ctx context.Context, serverURL string, _ settings) error {
	return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
		for _, tool := range []string{"test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_unrelated", "test_mrtr_no_result_type"} {
			if _, err := c.CallTool(ctx, tool, nil); err != nil {
				log.Printf("call %s: %v", tool, err)
			}
		}
		return nil
	})
}

// standardHeaders uses tools, resources and prompts once each.
func standardHeaders(ctx context.Context, serverURL string, _ settings) error {
	return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
		tools, err := c.ListTools(ctx)
		if err != nil {
			return err
		}
		if len(tools) > 0 {
			_, _ = c.CallTool(ctx, tools[0].Name, nil)
		}
		if list, err := c.ListResources(ctx); err == nil && len(list) > 0 {
			_, _ = c.ReadResource(ctx, &mcp.ReadResourceParams{URI: list[0].Decode().URI})
		}
		if list, err := c.ListPrompts(ctx); err == nil && len(list) > 0 {
			_, _ = c.GetPrompt(ctx, &mcp.GetPromptParams{Name: list[0].Decode().Name})
		}
		return nil
	})
}

// customHeaders makes the calls that the suite asks for; it judges them.
func customHeaders(ctx context.Context, serverURL string, s settings) error {
	return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
		if _, err := c.ListTools(ctx); err != nil {
			return err
		}
		for _, call := range s.ToolCalls {
			if _, err := c.CallTool(ctx, call.Name, call.Arguments); err != nil {
				log.Printf("call %s: %v", call.Name, err)
			}
		}
		return nil
	})
}

// echoSchema sends a tool's input schema back to the server as it came.
func echoSchema(ctx context.Context, serverURL string, _ settings) error {
	return withClient(ctx, serverURL, func(c *oauthclient.MCPOAuthClient) error {
		tools, err := c.ListTools(ctx)
		if err != nil {
			return err
		}
		for _, tool := range tools {
			if tool.Name != "json_schema_2020_12_tool" {
				continue
			}
			encoded, err := json.Marshal(tool)
			if err != nil {
				return err
			}
			var raw struct {
				InputSchema json.RawMessage `json:"inputSchema"`
			}
			if err := json.Unmarshal(encoded, &raw); err != nil {
				return err
			}
			_, err = c.CallTool(ctx, "json_schema_echo", map[string]any{"schema": raw.InputSchema})
			return err
		}
		return fmt.Errorf("the tool to echo is not listed")
	})
}
