package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPromptsAndResources uses what the open demo server has beside tools.
func TestPromptsAndResources(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.click("Open")
	p.click("Connect")
	p.see("8 tools")

	p.click("Prompts")
	p.see("1 prompt")
	p.click("Translate a text")
	p.click("Get prompt")
	p.until("labelled('Text').matches(':user-invalid')")
	p.fill("Text", "Guten Tag <b>")
	p.fill("Language", "d")
	p.until("[...named('[role=group]', 'Suggestions').children].map((o) => o.innerText).join() === 'Danish,Dutch'")
	p.click("Dutch")
	p.until("labelled('Language').value === 'Dutch' && document.activeElement === labelled('Language')")
	p.click("Get prompt")
	p.see("Translate into Dutch: Guten Tag <b>")
	p.see("Here is the translation:")

	p.click("Resources")
	p.see("3 resources")
	p.fill("Search resources", "welcome")
	p.see("1 of 3 resources")
	p.click("Welcome")
	p.click("Read")
	p.see("Tools return text, pictures, sounds and resources.")
	p.fill("Search resources", "")
	p.click("A chapter")
	p.fill("chapter", "sa")
	p.see("manual://sa")
	p.until("[...named('[role=group]', 'Suggestions').children].map((o) => o.innerText).join() === 'safety'")
	p.click("safety")
	p.click("Read")
	p.see("<b>this is not bold</b>")
	p.fill("chapter", "no such")
	p.see("manual://no%20such")
	p.click("Read")
	p.see("mcp_error")

	// The page of an MCP App is text, and does not run.
	p.click("Clock")
	p.click("Read")
	p.see("Resource · text/html;profile=mcp-app")
	p.see("<script>document.body.textContent = new Date();</script>")
	require.Zero(t, eval[int](p, "return document.querySelectorAll('iframe, article script').length"))

	p.click("About")
	p.see("mcptest")
	p.see("completions, logging, prompts, resources, tools")
	p.see("Book tables only when the user has named a restaurant.")
	p.gone("Search resources")
	p.click("Tools")
	p.see("Pick a tool to use it.")
}

// TestTemplates expands URI templates as RFC 6570 says.
func TestTemplates(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	require.Equal(t, []string{
		"file:///a%2Fb%20%C3%BC", "file:///a/b%20%C3%BC", "/x/a%2Fb%20%C3%BC", "q?v=a%2Fb%20%C3%BC&w=2", "q?a=1&w=2", "q;e;w=2", "q#a/b%20%C3%BC", "q.a%2Fb%20%C3%BC.2", "", "a%2F", "%41%25", "v,w",
	}, getAwaited[[]string](p, `import("/template.js").then(({ expand, variables }) => {
		const values = { v: "a/b ü", w: "2", e: "", p: "%41%" };
		return ["file:///{v}", "file:///{+v}", "/x{/v}", "q{?v,w}", "q?a=1{&w,none}", "q{;e,w}", "q{#v}", "q{.v,w}", "{none}", "{v:2}", "{+p}"].map((t) => expand(t, values))
			.concat(variables("{v}{?w,v:3}{v*}").join());
	})`))
}
