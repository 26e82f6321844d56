// Mcpgo is an MCP server made with mark3labs/mcp-go, whose tool asks the user. It
// listens on a free port of 127.0.0.1, with sessions, and serves the revisions
// that its arguments name, or all.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	options := []server.StreamableHTTPOption{server.WithStateful(true)}
	if len(os.Args) > 1 {
		options = append(options, server.WithStreamableHTTPProtocolVersions(os.Args[1:]...))
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, server.NewStreamableHTTPServer(newServer(), options...)))
}

func newServer() *server.MCPServer {
	s := server.NewMCPServer("interop", "1.0.0", server.WithElicitation(), server.WithCompletions(), server.WithInstructions("Be kind."),
		server.WithPromptCompletionProvider(completions{}), server.WithResourceCompletionProvider(completions{}))
	s.AddTool(mcp.NewTool("book", mcp.WithDescription("Asks for how many.")), book)
	s.AddPrompt(mcp.NewPrompt("greet", mcp.WithArgument("language", mcp.RequiredArgument())), greet)
	s.AddResource(mcp.NewResource("docs://welcome", "welcome"), read)
	s.AddResourceTemplate(mcp.NewResourceTemplate("docs://{page}", "page"), read)
	return s
}

// book asks once.
func book(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	answer, answered := server.InputResponse(req.Params.InputResponses, "guests")
	if !answered {
		return server.NewInputRequestBuilder("").Elicit("guests", mcp.ElicitationParams{
			Mode: "form", Message: "How many?",
			RequestedSchema: json.RawMessage(`{"type":"object","required":["guests"],"properties":{"guests":{"type":"integer","minimum":1}}}`),
		}).ToolResult(), nil
	}
	if err := answer.DecodeFor(mcp.MethodElicitationCreate); err != nil {
		return nil, err
	}
	if answer.Elicitation.Action != mcp.ElicitationResponseActionAccept {
		return mcp.NewToolResultText("not booked: " + string(answer.Elicitation.Action)), nil
	}
	content, err := json.Marshal(answer.Elicitation.Content)
	return mcp.NewToolResultText("booked " + string(content)), err
}

func greet(_ context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	text := "Greet in " + req.Params.Arguments["language"] + "."
	return &mcp.GetPromptResult{Messages: []mcp.PromptMessage{mcp.NewPromptMessage(mcp.RoleUser, mcp.NewTextContent(text))}}, nil
}

func read(_ context.Context, req mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
	return []mcp.ResourceContents{mcp.TextResourceContents{URI: req.Params.URI, MIMEType: "text/plain", Text: "This is " + req.Params.URI + "."}}, nil
}

// completions complete every argument alike.
type completions struct{}

func complete(value string) (*mcp.Completion, error) {
	var values []string
	for _, candidate := range []string{"Danish", "Dutch", "Greek"} {
		if strings.HasPrefix(candidate, value) {
			values = append(values, candidate)
		}
	}
	return &mcp.Completion{Values: values}, nil
}

// CompletePromptArgument implements [server.PromptCompletionProvider].
func (completions) CompletePromptArgument(_ context.Context, _ string, argument mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return complete(argument.Value)
}

// CompleteResourceArgument implements [server.ResourceCompletionProvider].
func (completions) CompleteResourceArgument(_ context.Context, _ string, argument mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return complete(argument.Value)
}
