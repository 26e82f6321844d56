package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// longName has no space to break at, and turns the direction of what follows.
var longName = "\u202e" + strings.Repeat("verylongname", 42)

// withCrowd makes a server of 200 tools. Each has a long form.
func withCrowd(_ *authtest.Options, o *mcptest.Options) {
	var members []string
	for i := range 60 {
		members = append(members, fmt.Sprintf(`"field %d":{"type":"string"}`, i))
	}
	schema := json.RawMessage(`{"type":"object","properties":{` + strings.Join(members, ",") + `}}`)
	o.Configure = func(server *mcp.Server) {
		server.RemoveTools(mcptest.Tools()...)
		for i := range 200 {
			tool := &mcp.Tool{Name: fmt.Sprintf("tool_%03d", i), Title: fmt.Sprintf("Tool %03d", i), Description: fmt.Sprintf("Does the work of number %d.", i), InputSchema: schema}
			if i == 1 {
				tool.Title, tool.Description = longName, "A name that is too long. "+strings.Repeat("It goes on. ", 300)
			}
			server.AddTool(tool, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "taken"}}}, nil
			})
		}
	}
}

// crowded connects to the server of 200 tools.
func crowded(t *testing.T, c camera) *page {
	t.Helper()
	w := newWorld(t, withCrowd)
	p := w.open()
	c.point(p)
	w.connect(p)
	w.consent(p, "Approve")
	p.see("200 tools")
	return p
}

// On a wide screen the page stays, and the list of 200 tools
// and a form of 60 fields scroll, each on its own.
func TestColumnsScroll(t *testing.T) {
	p := crowded(t, camera{"wide", 1280, 800, 1, "light"})
	fits := func() {
		t.Helper()
		require.True(t, eval[bool](p, "return document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"))
	}
	fits()
	p.click("Tool 150")
	p.until("document.activeElement.innerText === 'Tool 150'")
	fits()
	list := eval[float64](p, "return document.querySelector('.tools').scrollTop")
	require.Positive(t, list, "the list stays where it was")
	p.click("field 59")
	require.Equal(t, list, eval[float64](p, "return document.querySelector('.tools').scrollTop"))
	require.Positive(t, eval[float64](p, "return document.querySelector('.panel').scrollTop"))
	require.True(t, eval[bool](p, "const box = named('button', 'Tool 150').getBoundingClientRect(); return box.top > 0 && box.bottom < innerHeight"))
	p.click("Run")
	p.see("taken")
	fits()
}

// A name of 500 letters that turns around what follows stays in
// its place.
func TestLongNames(t *testing.T) {
	for _, c := range []camera{{"wide", 1280, 800, 1, "light"}, {"phone", 390, 844, 2, "light"}} {
		t.Run(c.name, func(t *testing.T) {
			p := crowded(t, c)
			p.fill("Search tools", "too long")
			p.see("1 of 200 tools")
			p.script("document.querySelector('.tools li:not([hidden]) button').click()")
			p.until("document.activeElement.tagName === 'H3'")
			wide := eval[[]string](p, `return [...document.querySelectorAll(".session *")].filter((node) => shown(node) && !node.closest(".hidden") && node.getBoundingClientRect().right > innerWidth + 0.5).map((node) => node.outerHTML.slice(0, 120))`)
			require.Empty(t, wide, "what is cut off")
			p.see("Show all")
			require.Less(t, eval[float64](p, "return document.querySelector('.panel form').getBoundingClientRect().top"), float64(3*c.height), "the form is not far below")
		})
	}
}

// A phone shows one thing at a time. Back leads to where the
// user came from, by mouse and by keyboard.
func TestWayBackOnAPhone(t *testing.T) {
	p := crowded(t, camera{"phone", 390, 844, 2, "light"})
	p.until("!named('h2', 'Connect') && named('button', 'All servers')")
	p.click("Tool 150")
	p.until("document.activeElement.innerText === 'Tool 150' && scrollY === 0")
	p.until("!named('button', 'Tool 149')")
	p.fill("field 1", "typed")
	p.click("All tools")
	p.until("document.activeElement === named('button', 'Tool 150')")
	p.until("(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.activeElement.getBoundingClientRect())")
	p.press(kb.Enter)
	p.until("labelled('field 1').value === 'typed'")
	p.script("history.back()") // as the Back of the phone does
	p.until("document.activeElement === named('button', 'Tool 150')")
	p.click("All servers")
	p.until("named('h2', 'Connect') && !named('button', 'All tools')")
	p.until("document.activeElement === document.querySelector('#sessions button')")
	p.press(kb.Enter)
	p.until("named('button', 'Tool 150')")
	require.LessOrEqual(t, eval[int](p, "return document.documentElement.scrollWidth"), 390)
}
