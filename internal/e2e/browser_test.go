package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const (
	patience = 30 * time.Second // for what takes a fraction of a second
	interval = 15 * time.Millisecond
)

// startBrowser starts the Chromium that all tests share, each with a profile
// of its own in it.
func startBrowser() (context.Context, func(), error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, nil, fmt.Errorf("chromium is not installed")
	}
	profile, err := os.MkdirTemp("", "mcpoauth-e2e-")
	if err != nil {
		return nil, nil, err
	}
	// Not chromedp's defaults: they turn the popup blocker off.
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.Flag("headless", "new"),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-extensions", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"),
		// Tabs that are not in front go on at full speed.
		chromedp.Flag("disable-renderer-backgrounding", true), chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.WindowSize(1280, 900),
	)
	ctx, stop := chromedp.NewContext(alloc)
	if err := chromedp.Do(ctx); err != nil {
		stop()
		stopAlloc()
		return nil, nil, err
	}
	return ctx, func() {
		stop()
		stopAlloc()
		_ = os.RemoveAll(profile)
	}, nil
}

// page is a tab or a popup.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
	ignoring bool
}

// newPage wraps a tab that chromedp has, and collects what a developer would
// see in its console in red.
func newPage(ctx context.Context, t *testing.T) *page {
	t.Helper()
	p := &page{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch event := event.(type) {
		case *runtime.EventExceptionThrown:
			text := event.ExceptionDetails.Text
			if exception := event.ExceptionDetails.Exception; exception != nil {
				text += " " + exception.Description
			}
			p.problem(text)
		case *runtime.EventConsoleAPICalled:
			if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
				p.problem(fmt.Sprintf("console.%s %s", event.Type, event.Args[0].Value))
			}
		case *log.EventEntryAdded:
			// A 401 is an answer of the API, which browsers report as a failure to load.
			if event.Entry.Level == log.EntryLevelError && !(event.Entry.Source == log.EntrySourceNetwork && strings.Contains(event.Entry.URL, "/api/mcp/")) {
				p.problem(event.Entry.Text + " " + event.Entry.URL)
			}
		}
	}))
	return p
}

func (p *page) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ignoring {
		p.problems = append(p.problems, text)
	}
}

// takeProblems returns them, once.
func (p *page) takeProblems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.problems
	p.problems = nil
	return taken
}

// ignoreProblems forgets all problems, also the later ones.
func (p *page) ignoreProblems() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems, p.ignoring = nil, true
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, actions...))
}

// get runs an action that returns something.
func get[T any](p *page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	require.NoError(p.t, err)
	return got
}

// eval runs JavaScript, without a user's gesture, and returns what it does.
func eval[T any](p *page, script string) T {
	p.t.Helper()
	return get(p, chromedp.Evaluate[T]("(() => {"+library+script+"})()"))
}

// getAwaited is eval for what is a promise.
func getAwaited[T any](p *page, script string) T {
	p.t.Helper()
	return get(p, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// script runs JavaScript for what it does.
func (p *page) script(script string) {
	p.t.Helper()
	eval[chromedp.Void](p, script)
}

// until waits for JavaScript to be true.
func (p *page) until(format string, args ...any) {
	p.t.Helper()
	script := "(() => {" + library + "return !!(" + fmt.Sprintf(format, args...) + ")})()"
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script)) // fails while a page is being replaced
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("never true: "+format+"\n%v\non the page:\n%s", append(args, err, eval[string](p, "return document.body.innerText"))...)
		}
		time.Sleep(interval)
	}
}

// library finds things on a page as a person does: by what they are called.
const library = `
const clean = (text) => text.replace(/\s+/g, " ").trim();
const shown = (node) => node.checkVisibility() && !node.closest("[hidden]");
const named = (selector, name) => [...document.querySelectorAll(selector)].find((node) => shown(node) &&
  (node.getAttribute("aria-label") === name || clean(node.innerText).startsWith(name)));
const labelled = (name) => { const label = named("label", name); return label && (label.control ?? label.querySelector("input")); };
`

// quote makes a JavaScript string.
func quote(text string) string {
	quoted, _ := json.Marshal(text) // a string always can
	return string(quoted)
}

// see waits for a text on the page.
func (p *page) see(text string) {
	p.t.Helper()
	p.until("clean(document.body.innerText).includes(%s)", quote(text))
}

// gone waits for a text to be on the page no more.
func (p *page) gone(text string) {
	p.t.Helper()
	p.until("!clean(document.body.innerText).includes(%s)", quote(text))
}

// click presses what is called so with the mouse.
func (p *page) click(name string) {
	p.t.Helper()
	find := "named('button, a, label, summary', " + quote(name) + ")"
	p.until("%s && !%s.disabled", find, find)
	at := eval[struct{ X, Y float64 }](p, "const node = "+find+`; node.scrollIntoView({ block: "center", behavior: "instant" });
		const box = node.getBoundingClientRect(); return { X: box.left + box.width / 2, Y: box.top + box.height / 2 }`)
	p.do(chromedp.MouseClickXY(at.X, at.Y))
}

// scriptClick presses a button as a script does, which no browser takes for a
// person's wish to see a popup.
func (p *page) scriptClick(name string) {
	p.t.Helper()
	p.until("named('button', %s)", quote(name))
	p.script("named('button', " + quote(name) + ").click()")
}

// fill types a value into a field, in place of what was there.
func (p *page) fill(label, value string) {
	p.t.Helper()
	p.until("labelled(%s)", quote(label))
	p.script("const field = labelled(" + quote(label) + "); field.focus(); field.select()")
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, input.InsertText, input.InsertTextParams{Text: value})
		return err
	}))
}

// press types keys.
func (p *page) press(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// targets lists the tabs and popups of this page's profile.
func (p *page) targets() []*target.Info {
	p.t.Helper()
	c := chromedp.FromContext(p.ctx)
	all, err := cdp.Call(p.ctx, c.Browser, target.GetTargets, target.GetTargetsParams{})
	require.NoError(p.t, err)
	return slices.DeleteFunc(all.TargetInfos, func(info *target.Info) bool {
		return info.Type != "page" || info.BrowserContextID != c.BrowserContextID
	})
}

// popup waits for a window that this page, or a link in it, opened, and which
// shows what starts with url.
func (p *page) popup(url string) *page {
	p.t.Helper()
	own := chromedp.FromContext(p.ctx).Target.TargetID
	var found target.ID
	require.Eventually(p.t, func() bool {
		for _, info := range p.targets() {
			if info.TargetID != own && strings.HasPrefix(info.URL, url) {
				found = info.TargetID
				return true
			}
		}
		return false
	}, patience, interval, "no popup shows %s", url)
	ctx, cancel := chromedp.NewContext(p.ctx, chromedp.WithTargetID(found))
	p.t.Cleanup(cancel)
	popup := newPage(ctx, p.t)
	p.t.Cleanup(func() { require.Empty(p.t, popup.takeProblems(), "in the popup's console") })
	return popup
}

// alone waits until this page's popups are closed.
func (p *page) alone(pages int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return len(p.targets()) == pages }, patience, interval, "a popup stays open")
}

// choose picks an option of a list.
func (p *page) choose(label, option string) {
	p.t.Helper()
	p.until("labelled(%s)", quote(label))
	p.script("labelled(" + quote(label) + ").focus()")
	p.press(option) // as a person does: the beginning of its name
	p.until("labelled(%s).selectedOptions[0].text === %s", quote(label), quote(option))
}
