package e2e_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// cameras are the screens on which every state is looked at. For pictures there
// are all combinations.
var cameras = func() []camera {
	wideLight, phoneDark := camera{"wide-light", 1280, 800, 1, "light"}, camera{"phone-dark", 390, 844, 2, "dark"}
	if imageDir == "" {
		return []camera{wideLight, phoneDark}
	}
	return []camera{wideLight, {"wide-dark", 1280, 800, 1, "dark"}, {"phone-light", 390, 844, 2, "light"}, phoneDark}
}()

// TestStates takes a picture of what a user seldom sees, on every screen, and
// checks that nothing is wider than the screen.
func TestStates(t *testing.T) {
	for _, c := range cameras {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, withCrowd)
			p := w.open()
			c.point(p)
			c.look(w, p, "no-sessions")
			p.script("labelled('Server URL').value = " + quote(w.mcp.URL()))
			p.scriptClick("Connect")
			p.see("The browser blocked the window.")
			c.look(w, p, "blocked")
			p.click("Cancel")
			p.see("Cancelled.")
			c.look(w, p, "cancelled")
			w.connect(p)
			popup := p.popup(w.auth.URL())
			popup.see("Allow Web example?")
			p.see("Connecting.")
			c.look(w, p, "connecting")
			popup.click("Approve")
			p.see("200 tools")
			c.look(w, p, "crowd")
			p.click("Tool 150")
			p.until("document.activeElement.innerText === 'Tool 150'")
			c.look(w, p, "crowd-form")
			p.click("field 59")
			c.look(w, p, "crowd-form-end")
			c.leave(p, "tools")
			p.see("200 tools")
			c.look(w, p, "crowd-back")
			p.fill("Search tools", "too long")
			p.see("1 of 200 tools")
			c.look(w, p, "long-name-list")
			p.script("document.querySelector('.tools li:not([hidden]) button').click()")
			p.until("document.activeElement.tagName === 'H3'")
			c.look(w, p, "long-name")
			w.auth.RevokeAll()
			p.click("Run")
			popup = p.popup(w.auth.URL())
			popup.see("Allow Web example?")
			p.see("Waiting for you to sign in…")
			c.look(w, p, "sign-in-again")
			p.click("Cancel")
			p.see("Cancelled.")
			popup.script("setTimeout(close)")
			p.alone(1)
			p.do(chromedp.Reload())
			p.until("document.documentElement.dataset.ready")
			p.see("Sign in again")
			c.look(w, p, "needs-sign-in")
			p.click("Sign in")
			popup = p.popup(w.auth.URL())
			popup.see("Allow Web example?")
			p.see("Sign in in the window that opened.")
			c.look(w, p, "signing-in")
			popup.click("Approve")
			p.see("200 tools")
			w.mcp.SetOutage(authtest.StatusOutage(http.StatusServiceUnavailable))
			p.do(chromedp.Reload())
			p.see("Try again")
			c.look(w, p, "server-down")
		})
	}
}

// TestStatesOfForms is TestStates for forms.
func TestStatesOfForms(t *testing.T) {
	for _, c := range cameras {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, withShapes)
			p := w.open()
			c.point(p)
			w.connect(p)
			w.consent(p, "Approve")
			p.click("shapes")
			c.look(w, p, "form")
			p.click("Run")
			p.until("labelled('name').matches(':user-invalid')")
			c.look(w, p, "form-invalid")
			p.fill("maybe", "a line\nand another one")
			p.choose("either", "object")
			p.click("deep")
			p.click("tree")
			p.click("next")
			p.click("Add list")
			p.script("labelled('either').scrollIntoView({ block: 'start' })")
			c.look(w, p, "form-nested")
			p.script("labelled('tree').scrollIntoView({ block: 'center' })")
			c.look(w, p, "form-nested-end")
			p.script("labelled('name').focus()")
			p.click("JSON")
			p.until("labelled('Arguments')")
			c.look(w, p, "form-json")
		})
	}
}

// TestStatesOfResults is TestStates for what tools return.
func TestStatesOfResults(t *testing.T) {
	for _, c := range cameras {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, withLargeResults)
			p := w.open()
			c.point(p)
			w.connect(p)
			w.consent(p, "Approve")
			p.see("9 tools")
			run := func(tool string) {
				t.Helper()
				p.click(tool)
				p.click("Run")
				p.until("document.querySelector('.panel .result') && !named('button', 'Cancel')")
			}
			run("short")
			c.look(w, p, "short")
			c.leave(p, "tools")
			run("large_error")
			c.look(w, p, "large-error")
			c.leave(p, "tools")
			run("large_structured")
			c.look(w, p, "large-structured")
			c.leave(p, "tools")
			run("large_text")
			c.look(w, p, "large")
			p.click("Show all")
			p.see("Show less")
			c.look(w, p, "large-open")
			w.mcp.SetOutage(authtest.StatusOutage(http.StatusServiceUnavailable))
			c.leave(p, "tools")
			run("short")
			c.look(w, p, "call-failed")
		})
	}
}
