package e2e_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestForgottenClient: an authorization server that no longer knows the client
// shows that to the user alone. The user says so, and gets out with a new client.
func TestForgottenClient(t *testing.T) {
	w := newWorld(t)
	p := w.connected()
	p.click("Disconnect")
	p.see("Nothing is connected yet")
	w.auth.DropClients()

	w.connect(p)
	popup := p.popup(w.auth.URL())
	popup.see("This application is not registered here.")
	popup.ignoreProblems() // the 400 of that page, if it was seen
	for _, c := range []camera{{"phone", 360, 740, 2, "light"}, {"wide", 1200, 800, 1, "light"}} {
		c.point(p)
		p.until("document.documentElement.scrollWidth <= innerWidth")
		w.shoot(p, "button-"+c.name)
	}
	p.click("The sign-in page shows an error")
	p.see("Answer in the new window, and close the one with the error.")
	popup.script("setTimeout(close)")
	p.alone(2)
	w.consent(p, "Approve")
	p.see("Connected.")
	p.see("8 tools")
	p.alone(1)
	p.do(chromedp.Reload())
	p.see("8 tools")
	require.Equal(t, 1, eval[int](p, "return document.querySelectorAll('#sessions li').length"), "nothing is left of the first try")
	require.Equal(t, 2, w.auth.Counts().Registrations)
}
