package main

import (
	"context"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// languages are what the prompt can be completed with.
var languages = []string{"Basque", "Danish", "Dutch", "English", "Finnish", "French", "German", "Greek", "Italian", "Polish", "Spanish"}

// chapters are the pages of the manual, which are resources.
var chapters = map[string]string{
	"welcome":   "# Welcome\n\nTools return text, pictures, sounds and resources.",
	"questions": "# Questions\n\nA tool may ask you something in the middle of its work.",
	"safety":    "# Safety\n\nWhatever a server returns is shown as it is: <b>this is not bold</b>.",
}

// clock is a page of an MCP App. The web page shows it, and does not run it.
const clock = `<!doctype html><title>Clock</title><script>document.body.textContent = new Date();</script>`

// describe says what the server with everything can do, and completes arguments.
func describe(o *mcp.ServerOptions) {
	o.Instructions = "Book tables only when the user has named a restaurant.\nRead manual://safety before you show what a tool returned."
	o.CompletionHandler = func(_ context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
		values := languages
		if req.Params.Argument.Name == "chapter" {
			values = []string{"questions", "safety", "welcome"}
		}
		values = slices.DeleteFunc(slices.Clone(values), func(value string) bool {
			return !strings.HasPrefix(strings.ToLower(value), strings.ToLower(req.Params.Argument.Value))
		})
		return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: values, Total: len(values)}}, nil
	}
}

// offer adds prompts and resources.
func offer(server *mcp.Server) {
	server.AddPrompt(&mcp.Prompt{
		Name: "translate", Title: "Translate a text", Description: "Asks a model to translate.",
		Arguments: []*mcp.PromptArgument{
			{Name: "text", Title: "Text", Required: true},
			{Name: "language", Title: "Language", Description: "With suggestions of the server.", Required: true},
		},
	}, func(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		args := req.Params.Arguments
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{
			{Role: "user", Content: &mcp.TextContent{Text: "Translate into " + args["language"] + ":\n\n" + args["text"]}},
			{Role: "assistant", Content: &mcp.TextContent{Text: "Here is the translation:"}},
		}}, nil
	})
	read := func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		uri := req.Params.URI
		text, found := chapters[strings.TrimPrefix(uri, "manual://")]
		mimeType := "text/markdown"
		if uri == "ui://clock" {
			text, found, mimeType = clock, true, "text/html;profile=mcp-app"
		}
		if !found {
			return nil, mcp.ResourceNotFoundError(uri)
		}
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, MIMEType: mimeType, Text: text}}}, nil
	}
	server.AddResource(&mcp.Resource{URI: "manual://welcome", Name: "welcome", Title: "Welcome", Description: "The first page of the manual.", MIMEType: "text/markdown"}, read)
	server.AddResource(&mcp.Resource{URI: "ui://clock", Name: "clock", Title: "Clock", Description: "A page for hosts that show MCP Apps.", MIMEType: "text/html;profile=mcp-app"}, read)
	server.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "manual://{chapter}", Name: "chapter", Title: "A chapter", Description: "Any page of the manual.", MIMEType: "text/markdown"}, read)
}
