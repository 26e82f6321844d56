package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// imageDir is where the pictures go that docs show; the target screenshots
// sets it.
var imageDir = os.Getenv("MCPOAUTH_SCREENSHOTS")

const maxImageBytes = 150 << 10

// tidy makes pictures that differ only where the page does: every run has other
// ports.
const tidy = `document.activeElement.blur();
const fixed = (text) => text.replace(/(127\.0\.0\.1|localhost):\d+/g, "$1:3000");
for (const input of document.querySelectorAll("input")) if (input.type === "url") input.value = fixed(input.value);
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) if (/:\d/.test(texts.currentNode.data)) texts.currentNode.data = fixed(texts.currentNode.data);`

// TestScreenshots takes the pictures of the docs, light and dark, wide and on a
// phone, and checks on the way that nothing is wider than the screen.
func TestScreenshots(t *testing.T) {
	for _, c := range []camera{
		{"wide-light", 1200, 800, 1.5, "light"},
		{"wide-dark", 1200, 800, 1.5, "dark"},
		{"phone-light", 360, 740, 2, "light"},
		{"phone-dark", 360, 740, 2, "dark"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open()
			c.point(p)
			c.shoot(w, p, "start")
			p.click("OAuth")
			p.click("Connect")
			popup := p.popup("http://127.0.0.1")
			c.point(popup)
			popup.see("Allow Web example?")
			c.shoot(w, popup, "authorization")
			popup.click("Approve")
			p.see("4 tools")

			p.click("Draw a chart")
			p.click("Run")
			p.until("document.querySelector('.result img')?.complete && !named('button', 'Cancel')")
			c.shoot(w, p, "image")
			c.leave(p, "tools")
			p.click("Create an event")
			p.fill("Name", "Ada Lovelace")
			p.script("labelled('Title').scrollIntoView({ block: 'center' })")
			c.shoot(w, p, "form")
			p.click("Run")
			p.see("9007199254740993")
			p.until("!named('button', 'Cancel')")
			c.shoot(w, p, "result")

			p.script("scrollTo(0, 0)")
			c.leave(p, "tools")
			c.leave(p, "servers")
			p.click("Open")
			p.click("Connect")
			p.see("8 tools")
			p.click("Book a table")
			p.click("Run")
			p.see("Open asks")
			p.click("Vegan menu")
			p.script("named('form', 'Open asks').scrollIntoView({ block: 'center' })")
			c.look(w, p, "question")
			p.click("Decline")
			p.see("Nothing was booked")
			c.leave(p, "tools")
			p.click("Show the balance")
			p.click("Run")
			p.see("Open asks")
			p.script("named('form', 'Open asks').scrollIntoView({ block: 'center' })")
			c.look(w, p, "question-url")
			p.script("document.querySelector('.question a').addEventListener('click', (event) => event.preventDefault())")
			p.click("Open 127.0.0.1")
			p.see("It is open in another tab.")
			c.look(w, p, "question-opened")
			p.click("Decline")
			p.see("The bank was not asked")
			c.leave(p, "tools")
			p.click("Prompts")
			p.click("Translate a text")
			p.fill("Text", "Guten Tag")
			p.fill("Language", "Dutch")
			p.click("Get prompt")
			p.see("Here is the translation:")
			p.until("!named('button', 'Cancel')")
			c.look(w, p, "prompt")
			c.leave(p, "prompts")
			p.click("Resources")
			p.click("A chapter")
			p.fill("chapter", "safety")
			p.click("Read")
			p.see("<b>this is not bold</b>")
			p.until("!named('button', 'Cancel')")
			c.look(w, p, "resource")
			c.leave(p, "resources")
			p.click("About")
			p.script("named('h2', 'Open').scrollIntoView()")
			c.look(w, p, "about")

			w.callbackPages(p, func(tab *page, name string) {
				t.Helper()
				c.point(tab)
				c.shoot(w, tab, name)
			})
			p.script("scrollTo(0, 0)")
			c.leave(p, "servers")
			p.click("Slow")
			p.click("Connect")
			p.popup("http://127.0.0.1").click("Approve")
			p.click("Build a report")
			p.click("Run")
			p.until("[...document.querySelectorAll('progress')].some((bar) => shown(bar) && bar.value >= 4)")
			c.shoot(w, p, "progress")
			p.click("Cancel")
			p.see("Cancelled.")
		})
	}
}

// camera is a screen to take pictures of.
type camera struct {
	name          string
	width, height int64
	scale         float64
	scheme        string
}

// leave goes back on a phone, which shows one thing at a time.
func (c camera) leave(p *page, what string) {
	p.t.Helper()
	if c.width < 700 {
		p.click("All " + what)
	}
}

// point makes a page believe that it is on this screen.
func (c camera) point(p *page) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(c.width, c.height, chromedp.EmulateScale(c.scale)),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: c.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
			})
			return err
		}))
}

// shoot takes a picture for the docs.
func (c camera) shoot(w *world, p *page, name string) {
	p.t.Helper()
	keepImage(p.t, name+"-"+c.name+".png", c.look(w, p, name))
}

// look takes a picture.
func (c camera) look(w *world, p *page, name string) (picture []byte) {
	p.t.Helper()
	p.script(tidy)
	require.LessOrEqual(p.t, eval[int64](p, "return document.documentElement.scrollWidth"), c.width, "%s is wider than the screen", name)
	picture = get(p, chromedp.CaptureScreenshot())
	w.keep(name, picture)
	return picture
}

// keepImage writes a picture for the docs, with 256 colours so that it is small.
func keepImage(t *testing.T, name string, picture []byte) {
	t.Helper()
	if imageDir == "" {
		return
	}
	full, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, reduce(full)))
	require.Less(t, out.Len(), maxImageBytes, name)
	require.NoError(t, os.MkdirAll(imageDir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(imageDir, name), out.Bytes(), 0o644))
}

// reduce keeps the 256 most frequent colours, and takes the nearest of them for
// the rest, which are the edges of letters.
func reduce(full image.Image) *image.Paletted {
	count := make(map[color.RGBA]int)
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colors[:min(256, len(colors))] {
		palette = append(palette, c)
	}
	index := make(map[color.RGBA]uint8)
	reduced := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, known := index[c]
			if !known {
				i = uint8(palette.Index(c))
				index[c] = i
			}
			reduced.SetColorIndex(x, y, i)
		}
	}
	return reduced
}
