package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"
)

// The columns of the narrative.
const (
	laneWidth  = 27 // who talks to whom
	fieldWidth = 34 // the name of a field
	noteColumn = 50 // where the note on a request begins
	valueWidth = 60 // where values are broken, if they can be
)

// narrator writes the narrative.
type narrator struct {
	w      io.Writer
	colors bool
}

// newNarrator returns a narrator that uses colours where w is a terminal and
// the user has not asked for none (no-color.org).
func newNarrator(w io.Writer) *narrator {
	n := &narrator{w: w}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		n.colors = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return n
}

// The styles, as ANSI parameters.
const (
	bold   = "1"
	faint  = "2"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (n *narrator) paint(style, text string) string {
	if !n.colors || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (n *narrator) line(parts ...string) {
	// If the output cannot be written, there is no place to report that.
	_, _ = fmt.Fprintln(n.w, strings.TrimRight(strings.Join(parts, ""), " "))
}

// title begins the narrative or a part of it.
func (n *narrator) title(text string) {
	n.line(n.paint(bold, text))
	n.line()
}

// end closes the narrative.
func (n *narrator) end(text string) {
	n.line()
	n.line(n.paint(bold, text))
}

// fact is one line of a table.
func (n *narrator) fact(name, value string) {
	n.line("   ", pad(name, 14), value)
}

// step begins a numbered step.
func (n *narrator) step(number int, title, text string) {
	n.line()
	n.line(n.paint(bold, fmt.Sprintf("%d. %s", number, title)), "   ", n.paint(faint, text))
	n.line()
}

// exchanges tells what went over the wire: what the host did while a browser
// waited comes between the browser's request and its answer.
func (n *narrator) exchanges(all []*exchange) {
	var waiting *exchange
	for _, x := range all {
		if x.from == browser {
			n.answer(waiting)
			waiting = x
			n.request(x)
			continue
		}
		n.request(x)
		n.answer(x)
	}
	n.answer(waiting)
}

func (n *narrator) request(x *exchange) {
	k := kindOf(x)
	headline := x.req.Method + " " + x.req.URL.Path
	if rpc := rpcMethod(x); rpc != "" {
		headline += "  " + rpc
	}
	if k.note != "" {
		headline = pad(headline, noteColumn) + n.paint(faint, k.note)
	}
	n.line(n.paint(cyan, lane(x, "→")), headline)
	n.fields(question(x), k.asked)
}

func (n *narrator) answer(x *exchange) {
	if x == nil {
		return
	}
	status, header, body, err := x.answer()
	if status == 0 {
		n.line(n.paint(cyan, lane(x, "←")), n.paint(yellow, fmt.Sprintf("no answer: %v", reason(err))))
		return
	}
	style := green
	if status >= http.StatusBadRequest {
		style = yellow
	}
	n.line(n.paint(cyan, lane(x, "←")), n.paint(style, fmt.Sprintf("%d %s", status, http.StatusText(status))))
	c := reply(header, body)
	n.fields(c, kindOf(x).answered)
	if x.to == host && c.find("error") != "" {
		n.field("error", c.find("error")+" ("+c.find("code")+")")
	}
}

// fields prints the fields of a list of names that the content has.
func (n *narrator) fields(c content, names string) {
	for name := range strings.FieldsSeq(names) {
		if value := c.find(name); value != "" {
			label := strings.TrimPrefix(strings.TrimPrefix(name, "params."), "result.")
			n.field(label, safe(name, value))
		}
	}
}

func (n *narrator) field(name, value string) {
	for i, part := range wrap(value, valueWidth) {
		if i > 0 {
			name = ""
		}
		n.line(strings.Repeat(" ", laneWidth+2), n.paint(faint, pad(name, fieldWidth)), part)
	}
}

// lane names the two sides of an exchange. The host's own requests are indented.
func lane(x *exchange, arrow string) string {
	indent := "   "
	if x.from == host {
		indent = "     "
	}
	return pad(indent+pad(x.from, 8)+arrow+" "+x.to, laneWidth)
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(1, width-utf8.RuneCountInString(text)))
}

// wrap breaks a text at spaces into lines of at most width, as far as it has
// spaces.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
