package e2e_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

func TestProgressAndCancel(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("slow")
	p.click("JSON")
	p.fill("Arguments", `{"count": 5, "intervalMs": 300}`)
	// Every position of the bar, as it is shown.
	p.script(`window.positions = []; new MutationObserver(() => positions.push(document.querySelector("progress").position))
		.observe(document.querySelector("progress"), { attributes: true })`)
	p.click("Run")
	p.see("5 steps")
	positions := eval[[]float64](p, "return [...new Set(positions)].filter((at) => at > 0)")
	require.IsIncreasing(t, positions)
	require.GreaterOrEqual(t, len(positions), 3)

	p.fill("Arguments", `{"count": 1000, "intervalMs": 100}`)
	p.click("Run")
	p.see("of 1000")
	require.Zero(t, w.mcp.Cancelled())
	p.click("Cancel")
	p.see("Cancelled.")
	require.Eventually(t, func() bool { return w.mcp.Cancelled() == 1 }, patience, interval, "the server goes on")

	// The session works as before.
	p.click("whoami")
	p.click("Run")
	p.see(`"user": "alice"`)
	require.Equal(t, 1, w.auth.Counts().Authorizations)
}

// A call goes on while another session is shown.
func TestCall_GoesOnWhileAnotherSessionIsShown(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("slow")
	p.click("JSON")
	p.fill("Arguments", `{"count": 1000, "intervalMs": 100}`)
	p.click("Run")
	p.see("of 1000")
	p.click("Open")
	p.click("Connect")
	p.see("8 tools")
	p.click("Draw a chart")
	p.click("Run")
	p.see("A chart of 6 values.")
	p.gone("of 1000")
	p.click("127.0.0.1") // the first session
	p.see("of 1000")
	p.click("Cancel")
	p.see("Cancelled.")
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.do(chromedp.Reload())
	p.until("document.documentElement.dataset.ready")
	p.see("8 tools")
	p.click("whoami")
	p.click("Run")
	p.see(`"user": "alice"`)
	require.Equal(t, 1, w.auth.Counts().Authorizations)
	require.Len(t, p.targets(), 1)

	// A session whose authorization has ended waits for a click.
	w.auth.RevokeAll()
	p.click("Run")
	popup := p.popup(w.auth.URL())
	popup.see("Allow Web example?")
	p.click("Cancel")
	p.see("Cancelled.")
	popup.script("setTimeout(close)")
	p.alone(1)
	p.do(chromedp.Reload())
	p.until("document.documentElement.dataset.ready")
	p.see("Sign in again")
	p.click("Sign in")
	w.consent(p, "Approve")
	p.see("8 tools")
}

func TestTwoTabs(t *testing.T) {
	w := newWorld(t)
	first := w.connected()
	second := w.openAnother(first)
	second.see("8 tools")
	second.click("whoami")
	second.click("Run")
	second.see(`"user": "alice"`)

	second.click("Disconnect")
	second.see("Nothing is connected yet")
	first.click("whoami")
	first.click("Run")
	first.see("There is no such session")
}
