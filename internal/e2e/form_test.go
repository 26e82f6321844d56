package e2e_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// shapes is a schema as code generators write them, Pydantic's among them.
const shapes = `{"type":"object","$defs":{"Size":{"type":"string","enum":["S","M","L"]},
	"Node":{"type":"object","properties":{"label":{"type":"string"},"next":{"$ref":"#/$defs/Node"}}}},
	"required":["name","size","list","on"],"properties":{
	"name":{"type":"string","minLength":2},
	"size":{"$ref":"#/$defs/Size","default":"M"},
	"big":{"type":"integer"},
	"ratio":{"type":["number","null"],"minimum":0,"maximum":1},
	"maybe":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null},
	"level":{"oneOf":[{"const":1,"title":"Low"},{"const":2,"title":"High"}]},
	"on":{"type":"boolean"},
	"flag":{"type":"boolean"},
	"either":{"anyOf":[{"type":"string"},{"type":"object"}]},
	"free":{"type":"object","additionalProperties":true},
	"deep":{"type":"object","required":["x"],"properties":{"x":{"type":"integer"},"y":{"type":"object","properties":{"z":{"type":"string"}}}}},
	"list":{"type":"array","items":{"type":"integer"},"minItems":1},
	"tree":{"$ref":"#/$defs/Node"},
	"__proto__":{"type":"string"},
	"<b>":{"type":"string","title":"<b>bold</b>","description":"<script>alert(1)</script>"}}}`

// withShapes adds a tool that takes shapes.
func withShapes(_ *authtest.Options, o *mcptest.Options) {
	o.Configure = func(server *mcp.Server) {
		server.AddTool(&mcp.Tool{Name: "shapes", InputSchema: json.RawMessage(shapes)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "taken"}}}, nil
		})
	}
}

// sent are the arguments of the last call, as the MCP server got them.
func (w *world) sent() string {
	w.t.Helper()
	calls := w.mcp.RPC("tools/call")
	require.NotEmpty(w.t, calls)
	var params struct{ Arguments json.RawMessage }
	require.NoError(w.t, json.Unmarshal(calls[len(calls)-1].Params, &params))
	return string(params.Arguments)
}

// ran presses Run and waits for the nth call.
func (w *world) ran(p *page, n int) {
	w.t.Helper()
	p.click("Run")
	require.Eventually(w.t, func() bool { return w.mcp.Count("tools/call") == n }, patience, interval, "call %d", n)
	p.see("taken")
}

func TestForm(t *testing.T) {
	w := newWorld(t, withShapes)
	p := w.open()
	w.connect(p)
	w.consent(p, "Approve")
	p.click("shapes")

	// Every field has a name for who does not see the page.
	require.Empty(t, eval[[]string](p, `return [...document.querySelectorAll("input, select, textarea, progress")].filter((field) => !field.labels.length && !field.ariaLabel).map((field) => field.outerHTML)`))
	require.Empty(t, eval[[]string](p, `const ids = [...document.querySelectorAll("[id]")].map((node) => node.id); return ids.filter((id, i) => ids.indexOf(id) !== i)`))

	// What comes with the focus moves nothing.
	below := func() float64 {
		return eval[float64](p, "return named('button', 'Run').getBoundingClientRect().top - labelled('name').getBoundingClientRect().top")
	}
	p.script("document.activeElement.blur(); document.querySelector('.panel').style.width = '200px'")
	before := below()
	for _, name := range []string{"name", "maybe", "list 1", "big"} {
		p.script("labelled(" + quote(name) + ").focus()")
		require.Equal(t, before, below(), name)
	}
	p.script("document.querySelector('.panel').style.width = ''")

	// What is required has to be there, and is checked before anything is sent.
	p.click("Run")
	p.until("labelled('name').matches(':user-invalid')")
	p.fill("name", "x")
	p.click("Run")
	p.until("labelled('name').validationMessage.startsWith('At least 2 characters.')")
	require.Zero(t, w.mcp.Count("tools/call"))

	// Nothing but that is sent of what was not filled in.
	p.fill("name", "Ada")
	p.fill("list 1", "7")
	w.ran(p, 1)
	require.JSONEq(t, `{"name":"Ada","size":"M","list":[7],"on":false}`, w.sent())

	p.fill("big", "9007199254740993")
	p.fill("ratio", "1.5")
	p.click("Run")
	p.until("labelled('ratio').validity.rangeOverflow")
	p.fill("ratio", "0.25")
	p.fill("maybe", "yes")
	p.choose("level", "High")
	p.click("on")
	p.choose("flag", "No")
	p.choose("either", "object")
	p.fill("object", `{"n": 1`)
	p.click("Run")
	p.until("labelled('object').validationMessage.startsWith('This is not JSON')")
	p.fill("object", `{"n": 18446744073709551615}`)
	p.fill("free", `{}`)
	p.click("deep")
	p.fill("x", "-3")
	p.click("Add list")
	p.fill("list 2", "8")
	p.click("Add list")
	p.fill("list 3", "9")
	p.click("Remove list 2")
	p.fill("__proto__", "own")
	p.fill("<b>bold</b>", "text")
	p.see("<script>alert(1)</script>")
	w.ran(p, 2)
	want := `{"name":"Ada","size":"M","big":9007199254740993,"ratio":0.25,"maybe":"yes","level":2,"on":true,"flag":false,` +
		`"either":{"n":18446744073709551615},"free":{},"deep":{"x":-3},"list":[7,9],"__proto__":"own","<b>":"text"}`
	require.Equal(t, want, w.sent())

	// Over to JSON and back, nothing is lost.
	p.click("JSON")
	p.until("labelled('Arguments').value.includes('9007199254740993')")
	p.fill("Arguments", want[:len(want)-1]+`,"unknown":[1,{"a":null}]}`)
	p.click("Form")
	p.until("labelled('x').value === '-3'")
	w.ran(p, 3)
	require.Equal(t, want[:len(want)-1]+`,"unknown":[1,{"a":null}]}`, w.sent())

	// What is no JSON stays where it can be mended.
	p.click("JSON")
	p.fill("Arguments", `{"name":`)
	p.click("Form")
	p.until("labelled('Arguments').matches(':invalid') && document.querySelector('[value=json]').checked")
}
