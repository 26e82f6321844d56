package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// TestJourney is what a new user does, with the demo servers.
func TestJourney(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.click("OAuth")
	p.click("Connect")
	popup := p.popup("http://127.0.0.1")
	popup.see("Allow Web example?")
	popup.click("Approve")
	p.see("Connected.")
	p.see("4 tools")
	p.alone(1)

	p.fill("Search tools", "event")
	p.see("1 of 4 tools")
	p.click("Create an event")
	p.fill("Title", "Summer party")
	p.fill("Seats", "40")
	p.click("Add tag")
	p.fill("Tag 1", "fun")
	p.fill("Name", "Ada")
	p.click("Run")
	p.see("Created the event \"Summer party\".")
	p.see(`"id": 9007199254740993`)
	p.see(`"seats": 40`)
	p.see(`"name": "Ada"`)
	w.shoot(p, "result")

	p.click("Disconnect")
	p.see("Disconnected from OAuth.")
	p.see("Nothing is connected yet")
	p.gone("Sessions")
}

// TestDemoStepUp is the demo server that asks for more.
func TestDemoStepUp(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.click("Step-up")
	p.click("Connect")
	p.popup("http://127.0.0.1").click("Approve")
	p.see("2 tools")
	p.click("Publish")
	p.click("Run")
	popup := p.popup("http://127.0.0.1")
	popup.see("publish")
	popup.click("Approve")
	p.see("Published: Hello, world")
	p.click("whoami")
	p.click("Run")
	p.see(`"publish"`)
}

func TestResults_OfEveryKindAreShown(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.click("Open")
	p.click("Connect")
	p.see("8 tools")

	p.click("Draw a chart")
	p.click("Run")
	p.see("A chart of 6 values.")
	p.until("document.querySelector('.result img')?.naturalWidth === 480")

	p.click("Play a tone")
	p.click("Run")
	p.until("named('audio', 'The sound that the tool returned')?.duration === 1")

	p.click("Read the manual")
	p.click("Run")
	p.see("<b>this is not bold</b>")
	p.until("named('a', 'The specification').href === 'https://modelcontextprotocol.io/specification'")
	p.see("next-page")
	p.until("!named('a', 'next-page')")

	p.click("fail")
	p.click("Run")
	p.see("The tool reported an error.")
	p.see("the tool failed")

	p.click("echo")
	p.fill("Arguments", `{"big": 9007199254740993, "__proto__": {"a": 1}}`)
	p.click("Run")
	p.see(`"big": 9007199254740993`)
	p.see(`"__proto__": { "a": 1 }`)
	p.click("Disconnect")
	p.see("Nothing is connected yet")
}

func TestJourney_WithoutAMouse(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	tab := func(name string) {
		t.Helper()
		for range 40 {
			if eval[bool](p, "const at = document.activeElement, name = "+quote(name)+`; return at !== document.body && at.tabIndex >= 0 &&
				(clean(at.innerText ?? "").startsWith(name) || [...(at.labels ?? [])].some((label) => clean(label.innerText).startsWith(name)))`) {
				require.True(t, eval[bool](p, "return document.activeElement.matches(':focus-visible')"), "the focus at %s is not visible", name)
				return
			}
			p.press(kb.Tab)
		}
		t.Fatalf("Tab never gets to %s", name)
	}
	tab("Open")
	p.press(kb.ArrowDown) // the next demo server: OAuth
	tab("Connect")
	p.press(kb.Enter)
	popup := p.popup("http://127.0.0.1")
	popup.see("Allow Web example?")
	popup.press(kb.Tab)
	popup.press(kb.Enter)
	p.see("4 tools")

	tab("Search tools")
	p.press("whoami")
	p.see("1 of 4 tools")
	tab("whoami")
	p.press(kb.Enter)
	tab("Run")
	p.press(kb.Enter)
	p.see(`"user": "alice"`)
	p.press(kb.Tab, chromedp.ModifierShift)
	for range 20 {
		if eval[string](p, "return document.activeElement.textContent") == "Disconnect" {
			break
		}
		p.press(kb.Tab, chromedp.ModifierShift)
	}
	p.press(kb.Enter)
	p.see("Nothing is connected yet")
	p.until("document.activeElement.id === 'url'")
}

// This suite would notice a problem of the page.
func TestSuite_NoticesProblemsOfThePage(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	for script, want := range map[string]string{
		"document.head.append(Object.assign(document.createElement('script'), { textContent: 'x()' }))": "Content Security Policy",
		"document.body.append(Object.assign(new Image(), { src: 'https://other.example/a.png' }))":      "Content Security Policy",
		"setTimeout(() => { throw new Error('canary') })":                                               "canary",
		"console.error('canary')": "canary",
	} {
		p.script(script)
		require.Eventually(t, func() bool {
			return slices.ContainsFunc(p.takeProblems(), func(problem string) bool { return strings.Contains(problem, want) })
		}, patience, interval, script)
	}
	p.ignoreProblems() // that one script has more than one
}
