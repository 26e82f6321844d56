package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// asking is a server whose tool asks what the test wants.
func asking(question *mcp.ElicitParams) mcptest.Options {
	return mcptest.Options{Configure: func(server *mcp.Server) {
		server.AddTool(&mcp.Tool{Name: "ask", InputSchema: json.RawMessage(`{"type":"object","properties":{}}`)}, func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			answer, answered := req.Params.InputResponses["q"].(*mcp.ElicitResult)
			if !answered {
				return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"q": question}, RequestState: "s"}, nil
			}
			said, err := json.Marshal(answer)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "answered " + string(said)}}}, err
		})
	}}
}

func formQuestion() *mcp.ElicitParams {
	return &mcp.ElicitParams{
		Mode: "form", Message: "Which?\n" + strings.Repeat("long", 80) + "<b>no markup</b>",
		RequestedSchema: json.RawMessage(`{"type":"object","required":["name","kinds"],"properties":{
			"name":{"type":"string","title":"Name","minLength":3},
			"kinds":{"type":"array","title":"Kinds","minItems":1,"maxItems":2,"items":{"anyOf":[{"const":"a","title":"Apple"},{"const":"b","title":"Banana"},{"const":"c","title":"Cherry"}]}}}}`),
	}
}

// begin connects to the only server, and runs its tool.
func (f *fleet) begin() *page {
	f.t.Helper()
	p := f.open()
	p.click("Connect")
	p.see("9 tools")
	p.click("ask")
	p.click("Run")
	p.see("Asking asks")
	return p
}

// TestQuestionOnTheOtherReplica: a question that came from one replica is
// answered on the other one.
func TestQuestionOnTheOtherReplica(t *testing.T) {
	f := newFleet(t, asking(formQuestion()))
	p := f.begin()
	p.see("<b>no markup</b>")
	p.see("Asks you") // on the line of the session
	p.see("Waiting for your answer")
	require.Equal(t, "Asking asks", eval[string](p, "return document.activeElement.innerText"), "the focus is at the question")

	// What does not fit is not sent.
	p.fill("Name", "Al")
	p.click("Send")
	p.until("labelled('Name').validity.tooShort")
	p.fill("Name", "Ada")
	p.click("Send")
	p.until("labelled('Apple').validationMessage === 'Choose 1 to 2.'")
	p.click("Banana")
	p.click("Cherry")
	require.Len(t, f.servedBy("tool/call"), 1)
	p.click("Send")
	p.see(`answered {"action":"accept","content":{"kinds":["b","c"],"name":"Ada"}}`)
	require.Equal(t, []int{0, 1}, f.servedBy("tool/call"))
	p.gone("Asks you")
	p.gone("Asking asks")
}

func TestQuestionDeclined(t *testing.T) {
	for button, action := range map[string]string{"Decline": "decline", "Not now": "cancel"} {
		t.Run(action, func(t *testing.T) {
			f := newFleet(t, asking(formQuestion()))
			p := f.begin()
			p.click(button)
			p.see(`answered {"action":"` + action + `"}`)
			require.Equal(t, []int{0, 1}, f.servedBy("tool/call"))
		})
	}
}

// TestQuestionWithdrawn: who cancels the call is asked no more, and can begin
// again.
func TestQuestionWithdrawn(t *testing.T) {
	f := newFleet(t, asking(formQuestion()))
	p := f.begin()
	p.click("Cancel")
	p.see("Cancelled.")
	p.gone("Asking asks")
	require.Len(t, f.servedBy("tool/call"), 1)
	p.click("Run")
	p.see("Asking asks")
}

func TestQuestionByKeyboard(t *testing.T) {
	f := newFleet(t, asking(formQuestion()))
	p := f.begin()
	p.press(kb.Tab)
	p.press("Ada")
	p.press(kb.Tab)
	p.press(" ")
	p.press(kb.Enter)
	p.see(`answered {"action":"accept","content":{"kinds":["a"],"name":"Ada"}}`)
	p.until("document.activeElement.textContent === 'Run'")
}

// TestQuestionWithURL: the page shows where it leads, opens it only for a click,
// apart and without an opener, and goes on when the user is back.
func TestQuestionWithURL(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.click("Open")
	p.click("Connect")
	p.see("8 tools")
	p.click("Show the balance")
	p.click("Run")
	p.see("Open asks")
	p.see("To see the balance, allow it at your bank.")
	address := eval[string](p, "return document.querySelector('.address .code').textContent")
	require.Contains(t, address, "/link/")
	host := strings.Split(address, "/")[2]
	require.Equal(t, host, eval[string](p, "return document.querySelector('.address .host').textContent"))
	p.see("The connection to it is not encrypted.")
	require.Len(t, p.targets(), 1, "nothing is opened unasked")
	require.Zero(t, eval[int](p, "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/link/')).length"), "nor fetched")
	require.Zero(t, eval[int](p, "return document.querySelectorAll('link[href*=\"/link/\"], iframe').length"))

	p.click("Open " + host)
	tab := p.popup(address)
	tab.see("Allow the MCP server to see your balance?")
	require.True(t, eval[bool](tab, "return window.opener === null && document.referrer === ''"))
	p.see("It is open in another tab.")
	p.click("I am done there") // too early: the server asks again
	p.gone("It is open in another tab.")
	p.see("Open asks")
	tab.click("Allow")
	tab.see("Done.")
	p.click("Open " + host)
	p.click("I am done there")
	p.see("The balance is 1234.56 euros.")

	p.click("Run")
	p.see("Open asks")
	p.click("Decline")
	p.see(`The bank was not asked: you answered "decline".`)
}

// TestQuestionWithOddURL: what no browser should open is no link.
func TestQuestionWithOddURL(t *testing.T) {
	for name, row := range map[string]struct{ url, says string }{
		"script":    {"javascript:alert(1)", "This address cannot be opened."},
		"user name": {"https://bank.example@evil.example/", "It has a user name in it"},
		"letters":   {"https://b\u0430nk.example/", "Its name has letters that can look like others."},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, asking(&mcp.ElicitParams{Mode: "url", Message: "Go", URL: row.url, ElicitationID: "e"}))
			p := f.begin()
			p.see(row.says)
			links := eval[[]string](p, "return [...document.querySelectorAll('.question a')].map((a) => a.host + ' ' + a.rel)")
			switch name {
			case "script":
				require.Empty(t, links)
			case "user name":
				require.Equal(t, []string{"evil.example noopener noreferrer"}, links)
			case "letters":
				require.Equal(t, []string{"xn--bnk-6cd.example noopener noreferrer"}, links)
				p.see("Open xn--bnk-6cd.example")
			}
			p.click("Not now")
			p.see(`answered {"action":"cancel"}`)
		})
	}
}
