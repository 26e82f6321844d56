package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
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

// wires are the two ways in which servers ask: by an answer to the call, and in
// the middle of one that waits.
func wires(t *testing.T, test func(t *testing.T, older bool, options func(*mcp.ElicitParams) mcptest.Options)) {
	for name, older := range map[string]bool{"2026-07-28": false, "2025-11-25": true} {
		t.Run(name, func(t *testing.T) {
			test(t, older, func(question *mcp.ElicitParams) mcptest.Options {
				options := asking(question)
				options.Stateful = older
				return options
			})
		})
	}
}

// requireOtherReplica checks that the answer went to another replica than the
// call.
func (f *fleet) requireOtherReplica(older bool) {
	f.t.Helper()
	if older {
		require.Equal(f.t, []int{0}, f.servedBy("tool/call"))
		require.Equal(f.t, []int{1}, f.servedBy("tool/input"))
		return
	}
	require.Equal(f.t, []int{0, 1}, f.servedBy("tool/call"))
	require.Empty(f.t, f.servedBy("tool/input"))
}

// A question that came from one replica is answered on the other one.
func TestQuestionOnTheOtherReplica(t *testing.T) {
	wires(t, questionOnTheOtherReplica)
}

func questionOnTheOtherReplica(t *testing.T, older bool, options func(*mcp.ElicitParams) mcptest.Options) {
	f := newFleet(t, options(formQuestion()))
	p := f.begin()
	p.see("<b>no markup</b>")
	p.see("Asks you") // on the line of the session
	p.see("Waiting for your answer")
	require.Equal(t, "Asking asks", eval[string](p, "return document.activeElement.innerText"), "the focus is at the question")

	// What does not fit is not sent.
	p.fill("Name", "Al")
	p.click("Send")
	p.until("labelled('Name').validationMessage.startsWith('At least 3 characters.')")
	p.fill("Name", "Ada")
	p.click("Send")
	p.until("labelled('Apple').validationMessage === 'Choose 1 to 2.'")
	p.click("Banana")
	p.click("Cherry")
	require.Len(t, f.servedBy("tool/call"), 1)
	p.click("Send")
	p.see(`answered {"action":"accept","content":{"kinds":["b","c"],"name":"Ada"}}`)
	f.requireOtherReplica(older)
	p.gone("Asks you")
	p.gone("Asking asks")
}

func TestQuestionDeclined(t *testing.T) {
	wires(t, func(t *testing.T, older bool, options func(*mcp.ElicitParams) mcptest.Options) {
		for button, action := range map[string]string{"Decline": "decline", "Not now": "cancel"} {
			t.Run(action, func(t *testing.T) {
				f := newFleet(t, options(formQuestion()))
				p := f.begin()
				p.click(button)
				p.see(`answered {"action":"` + action + `"}`)
				f.requireOtherReplica(older)
			})
		}
	})
}

// Who cancels the call is asked no more, and can begin again.
func TestQuestionWithdrawn(t *testing.T) {
	wires(t, func(t *testing.T, _ bool, options func(*mcp.ElicitParams) mcptest.Options) {
		f := newFleet(t, options(formQuestion()))
		p := f.begin()
		p.click("Cancel")
		p.see("Cancelled.")
		p.gone("Asking asks")
		require.Len(t, f.servedBy("tool/call"), 1)
		p.click("Run")
		p.see("Asking asks")
	})
}

// The form lets a text pass that the host refuses. The question is asked
// again, with what was entered and what is wrong.
func TestQuestionCorrected(t *testing.T) {
	options := asking(&mcp.ElicitParams{Mode: "form", Message: "Code?", RequestedSchema: json.RawMessage(`{"type":"object","required":["code"],"properties":{
		"code":{"type":"string","title":"Code","minLength":2}}}`)})
	options.Stateful = true
	f := newFleet(t, options)
	p := f.begin()
	p.fill("Code", "x")
	p.script("labelled('Code').setCustomValidity('')") // a browser that checks less
	p.click("Send")
	p.see("code")
	p.until("document.querySelector('.question .notice.bad') && labelled('Code').value === 'x'")
	w := f.world
	w.shoot(p, "corrected")
	p.fill("Code", "xyz")
	p.click("Send")
	p.see(`answered {"action":"accept","content":{"code":"xyz"}}`)
	require.Equal(t, []int{0}, f.servedBy("tool/call"))
	require.Equal(t, []int{1, 0}, f.servedBy("tool/input"))
}

// A server refuses a call until the user has been elsewhere.
func TestQuestionsOfAServerThatWantsAVisitFirst(t *testing.T) {
	wires(t, func(t *testing.T, older bool, _ func(*mcp.ElicitParams) mcptest.Options) {
		var visits atomic.Int64
		f := newFleet(t, mcptest.Options{Stateful: older, Configure: func(server *mcp.Server) {
			server.AddTool(&mcp.Tool{Name: "ask", InputSchema: json.RawMessage(`{"type":"object","properties":{}}`)}, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				if visits.Add(1) == 1 {
					return nil, mcp.URLElicitationRequiredError([]*mcp.ElicitParams{{Mode: "url", Message: "Sign the contract.", URL: "https://sign.example/1", ElicitationID: "e"}})
				}
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "It is signed."}}}, nil
			})
		}})
		p := f.begin()
		p.see("Sign the contract.")
		p.see("https://sign.example/1")
		p.script("document.querySelector('.question a').addEventListener('click', (event) => event.preventDefault())") // there is no such site
		p.click("Open sign.example")
		p.click("I am done there")
		p.see("It is signed.")
		require.EqualValues(t, 2, visits.Load())
	})
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

// The page shows where it leads, opens it only for a click, apart and
// without an opener, and goes on when the user is back.
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

// The page says what is odd about an address.
func TestQuestionWithOddURL(t *testing.T) {
	for name, row := range map[string]struct{ url, host, says string }{
		"user name": {"https://bank.example@evil.example/", "evil.example", "It has a user name in it"},
		"letters":   {"https://b\u0430nk.example/", "xn--bnk-6cd.example", "Its name has letters that can look like others."},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, asking(&mcp.ElicitParams{Mode: "url", Message: "Go", URL: row.url, ElicitationID: "e"}))
			p := f.begin()
			p.see(row.says)
			p.see("Open " + row.host)
			links := eval[[]string](p, "return [...document.querySelectorAll('.question a')].map((a) => `${a.host} ${a.target} ${a.rel}`)")
			require.Equal(t, []string{row.host + " _blank noopener noreferrer"}, links)
			p.click("Not now")
			p.see(`answered {"action":"cancel"}`)
		})
	}
}

// What no browser should open is no link, should it ever get to the page.
func TestQuestionWithScriptURL(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	for _, url := range []string{"javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "intent://x", "//x", ""} {
		require.Equal(t, "This address cannot be opened. 0", getAwaited[string](p, `import("/question.js").then(({ Questions }) => {
			const questions = new Questions({ name: "X", host: "x", asks() {} }, () => document.body);
			questions.ask({ q: { params: { mode: "url", message: "m", url: `+quote(url)+` } } }, { signal: new AbortController().signal });
			return questions.element.querySelector("[role=status]").textContent + " " + questions.element.querySelectorAll("a").length;
		})`), url)
	}
}
