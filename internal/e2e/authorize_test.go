package e2e_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

func TestPopup_DenialIsShownAndCanBeRetried(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	w.connect(p)
	w.consent(p, "Deny")
	p.see("You said no, so nothing was connected. You can try again.")
	p.alone(1)
	require.Zero(t, w.auth.Counts().Exchanges)

	p.click("Connect")
	w.consent(p, "Approve")
	p.see("8 tools")
	p.alone(1)
	p.do(chromedp.Reload()) // of the first try nothing is left
	p.see("8 tools")
	require.Equal(t, 1, eval[int](p, "return document.querySelectorAll('#sessions li').length"))
}

func TestPopup_ClosedUnansweredIsShown(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	w.connect(p)
	popup := p.popup(w.auth.URL())
	popup.see("Allow Web example?")
	popup.script("setTimeout(close)")
	p.alone(1)
	p.see("The window was closed before you answered.")
}

// A browser that blocks the popup must not be the end.
func TestPopup_BlockedIsOpenedByAClick(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.script("labelled('Server URL').value = " + quote(w.mcp.URL())) // typing would be a gesture
	p.scriptClick("Connect")
	p.see("The browser blocked the window.")
	require.Len(t, p.targets(), 1)
	w.shoot(p, "continue")
	p.click("Continue")
	popup := p.popup(w.auth.URL())
	require.True(t, eval[bool](popup, "return window.opener === null"))
	popup.click("Approve")
	p.see("Connected.")
	p.see("8 tools")
	p.alone(1)
}

// A user who does not want the blocked window after all cancels, and tries again.
func TestPopup_BlockedIsCancelledAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	p.script("labelled('Server URL').value = " + quote(w.mcp.URL())) // typing would be a gesture
	for range 2 {
		p.scriptClick("Connect")
		p.see("The browser blocked the window.")
		p.until("document.activeElement === named('a', 'Continue')")
		p.scriptClick("Cancel")
		p.see("Cancelled.")
		p.until("document.activeElement === named('button', 'Connect')")
	}
	p.scriptClick("Connect")
	// The window of the link is closed, and the link opens another one.
	p.click("Continue")
	popup := p.popup(w.auth.URL())
	popup.script("setTimeout(close)")
	p.alone(1)
	p.click("Continue")
	w.consent(p, "Approve")
	p.see("8 tools")

	// The same in the middle of a call, and where the session asks by itself.
	p.script("window.open = () => null")
	p.click("whoami")
	w.auth.RevokeAll()
	p.click("Run")
	p.see("The browser blocked the window.")
	p.gone("Running…")
	p.see("Waiting for you to sign in…")
	p.click("Cancel")
	p.see("Cancelled.")
	p.do(chromedp.Reload())
	p.until("document.documentElement.dataset.ready")
	p.script("window.open = () => null")
	p.click("Sign in")
	p.see("The browser blocked the window.")
	p.click("Cancel")
	p.see("Cancelled.")
	p.click("Sign in")
	p.click("Continue")
	w.consent(p, "Approve")
	p.see("8 tools")
}

// While the user is to sign in, the page says that, and not that the call runs.
func TestPopup_RunningIsNotSaidMeanwhile(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("whoami")
	w.auth.RevokeAll()
	p.click("Run")
	popup := p.popup(w.auth.URL())
	popup.see("Allow Web example?")
	p.see("Waiting for you to sign in…")
	p.gone("Running…")
	popup.click("Approve")
	p.see(`"user": "alice"`)
	p.gone("Waiting for you to sign in…")
}

// The authorization page's Cross-Origin-Opener-Policy cuts the popup off for
// good, and makes it look closed. The page learns of the authorization all
// the same.
func TestPopup_CutOffFromItsOpenerStillReports(t *testing.T) {
	w := newWorld(t)
	w.isolate()
	p := w.open()
	w.connect(p)
	popup := p.popup("http://127.0.0.1")
	popup.see("Allow Web example?")
	require.True(t, eval[bool](popup, "return window.opener === null"))
	// The user takes time to read, and the page keeps waiting. Without a screen
	// all windows believe that they have the focus; a person's is in the popup.
	p.script("window.polls = 0; document.hasFocus = () => { polls++; return false; }")
	p.until("polls >= 5")
	p.see("Connecting. If a window opens, answer there.")
	popup.click("Approve")
	p.see("Connected.")
	p.see("8 tools")
	p.alone(1)
}

// A user who went back to the page is told that the popup was closed, and
// answers it after all.
func TestPopup_AnsweredAfterItSeemedClosed(t *testing.T) {
	w := newWorld(t)
	w.isolate()
	p := w.open()
	w.connect(p)
	popup := p.popup("http://127.0.0.1")
	p.see("The window was closed before you answered.")
	popup.click("Approve")
	p.see("8 tools")
	p.gone("The window was closed")
	p.alone(1)
}

// Where the authorization was no popup but a tab of the user's own, no
// script may close it, and it says what to do.
func TestCallbackPage_ThatCannotCloseSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	p := w.open()
	w.callbackPages(p, func(tab *page, name string) {
		t.Helper()
		require.Equal(t, w.url+"api/mcp/auth/callback", eval[string](tab, "return location.href"), "the code is out of the address")
		w.shoot(tab, name)
	})
}

// callbackPages opens the authorization page in tabs of their own, answers, and
// shows what the callback page then stays with.
func (w *world) callbackPages(p *page, show func(tab *page, name string)) {
	w.t.Helper()
	for _, answer := range []struct{ button, name, says string }{
		{"Approve", "callback", "Connected"},
		{"Deny", "callback-denied", "Not connected"},
	} {
		authURL := get(p, chromedp.Evaluate[string](`fetch("/api/mcp/auth/connect", { method: "POST", headers: { "Content-Type": "application/json" },
			body: JSON.stringify({ serverUrl: `+quote(w.mcp.URL())+` }) }).then((r) => r.json()).then((r) => r.authUrl)`, chromedp.EvalAwaitPromise))
		ctx, cancel := chromedp.NewContext(p.ctx)
		tab := newPage(ctx, w.t)
		tab.do(chromedp.Navigate(authURL))
		tab.click(answer.button)
		tab.see(answer.says)
		tab.until("location.search === ''")
		show(tab, answer.name)
		tab.click("Close this window")
		tab.until("document.querySelector('button').hidden") // it is still there, and stops offering
		tab.see(answer.says)
		require.Empty(w.t, tab.takeProblems(), "in the console")
		cancel()
	}
}

// A token that is revoked in mid-use asks the user once more, and the call
// that was waiting completes.
func TestCall_RevokedTokenAsksTheUserAndTheCallCompletes(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("add")
	p.fill("a", "20")
	p.fill("b", "22")
	w.auth.RevokeAll()
	p.click("Run")
	w.consent(p, "Approve")
	p.see(`"sum": 42`)
	p.alone(1)
	require.Equal(t, 1, w.mcp.Executed("add"))
	require.Equal(t, 2, w.auth.Counts().Authorizations)

	w.auth.RevokeAll()
	p.click("Run")
	w.consent(p, "Deny")
	p.see("You said no")
	require.Equal(t, 1, w.mcp.Executed("add"))
}

// The same where the browser opens no windows for scripts at all. A link
// opens a tab, and the call completes beside it.
func TestCall_RevokedTokenWithABlockedPopupCompletes(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.script("window.open = () => null")
	p.click("add")
	p.fill("a", "20")
	p.fill("b", "22")
	w.auth.RevokeAll()
	p.click("Run")
	p.see("The browser blocked the window.")
	p.click("Continue")
	tab := p.popup(w.auth.URL())
	require.True(t, eval[bool](tab, "return window.opener === null"))
	tab.click("Approve")
	p.see(`"sum": 42`)
	require.Equal(t, 1, w.mcp.Executed("add"))
}

// A tool that needs more than was granted asks for it in the middle of its
// call.
func TestCall_StepUpAsksTheUserAndTheCallCompletes(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("admin")
	p.click("Run")
	popup := p.popup(w.auth.URL())
	popup.see("admin")
	popup.click("Approve")
	p.see("done as admin")
	p.alone(1)
	require.Equal(t, 1, w.mcp.Executed("admin"))
}

func TestCall_ServerAwayIsShownAndRetried(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	w.mcp.SetOutage(authtest.StatusOutage(http.StatusServiceUnavailable))
	p.click("add")
	p.fill("a", "1")
	p.fill("b", "2")
	p.click("Run")
	p.see("upstream_unavailable")
	w.mcp.SetOutage(nil)
	p.click("Run")
	p.see(`"sum": 3`)
}
