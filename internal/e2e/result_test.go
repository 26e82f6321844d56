package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

const million = 1_000_000

// withLargeResults adds tools that return a million characters of every kind.
func withLargeResults(_ *authtest.Options, o *mcptest.Options) {
	text := strings.Repeat("word ", million/5)
	results := map[string]*mcp.CallToolResult{
		"large_text":       {Content: []mcp.Content{&mcp.TextContent{Text: text}}},
		"large_word":       {Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("x", million)}}},
		"large_error":      {IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: text}}},
		"large_structured": {StructuredContent: map[string]any{"rows": strings.Split(text, " ")}},
		"large_resource":   {Content: []mcp.Content{&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "file:///a", MIMEType: "text/plain", Text: text}}}},
		"large_image":      {Content: []mcp.Content{&mcp.ImageContent{MIMEType: "image/png", Data: pixels()}}},
		"lines":            {Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("line\n", 500)}}},
		"many":             {Content: slices.Repeat([]mcp.Content{&mcp.TextContent{Text: "part"}}, 5000)},
		"short":            {Content: []mcp.Content{&mcp.TextContent{Text: "A short answer."}}},
	}
	o.Configure = func(server *mcp.Server) {
		server.RemoveTools(mcptest.Tools()...)
		for name, result := range results {
			server.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object","properties":{}}`)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return result, nil
			})
		}
	}
}

// pixels is a picture of one pixel with a million bytes behind it, which PNG
// allows.
func pixels() []byte {
	png, _ := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
	return append(png, make([]byte, million)...)
}

// Of a million characters the beginning is shown, and all of it
// can be opened, copied and downloaded. None of it is read aloud.
func TestLargeResults(t *testing.T) {
	w := newWorld(t, withLargeResults)
	p := w.open()
	w.connect(p)
	w.consent(p, "Approve")
	p.see("9 tools")
	p.script(`navigator.clipboard.writeText = async (text) => { window.copied = text.length; };
		HTMLAnchorElement.prototype.click = function () { window.saved = this; };`)
	run := func(tool string) {
		t.Helper()
		p.click(tool)
		p.click("Run")
		p.until("document.querySelector('.panel .result') && !named('button', 'Cancel')")
		require.Empty(t, eval[[]string](p, `return [...document.querySelectorAll("[role=status], [role=alert], [aria-live]")].map((node) => node.textContent).filter((text) => text.length > 500)`), "read aloud")
	}
	for _, tool := range []string{"large_text", "large_word", "large_error", "large_structured", "large_resource"} {
		run(tool)
		require.Less(t, eval[int](p, "return document.querySelector('.panel .result').textContent.length"), 5000, tool)
		p.click("Copy")
		p.see("Copied.")
		p.click("Download")
		p.until("window.saved?.download.startsWith(%s)", quote(strings.ReplaceAll(tool, " ", "")))
		require.True(t, eval[bool](p, "const { href } = saved; saved = undefined; return href.startsWith('blob:')"))
		copied := eval[int](p, "return copied")
		require.GreaterOrEqual(t, copied, million-1, tool)
		p.click("Show all")
		require.Equal(t, copied, eval[int](p, "return document.querySelector('.panel .result :is(pre, .text)').textContent.length"), tool)
		p.click("Show less")
		require.Less(t, eval[int](p, "return document.querySelector('.panel .result').textContent.length"), 5000, tool)
	}
	run("large_image")
	p.until("document.querySelector('.result img').naturalWidth === 1")
	require.Less(t, eval[int](p, "return document.querySelector('.panel .result').textContent.length"), 1000)
	p.click("Raw JSON")
	p.see("Show all (1.3 MB)")
	run("lines")
	p.see("Show all (2.5 kB)")
	run("many")
	require.Less(t, eval[int](p, "return document.querySelectorAll('.panel .result *').length"), 1000)
	p.click("Show more (4,950)")
	p.see("Show more (4,900)")
	run("short")
	require.Equal(t, []string{"Done. A short answer."}, eval[[]string](p, `return [...document.querySelectorAll(".panel [role=status]")].map((node) => node.textContent).filter(Boolean)`))
	p.gone("Show all")
}
