package wire

import (
	"bytes"
	"io"
	"strconv"
	"sync"
)

// events reads an event stream (HTML standard, section 9.2.6).
type events struct {
	body io.Reader
	op   *Op
	err  error // of body

	buf      []byte
	pos, end int  // what was read and is not looked through yet
	scan     int  // the line at pos has no end before this
	lineEnd  int  // where the last line ended
	afterCR  bool // a line feed at pos belongs to the last line
	started  bool

	// The data of the event stay in buf until the event ends.
	hasData            bool
	dataStart, dataEnd int
}

// event is one event of a stream; an empty line ends it.
type event struct {
	kind  string // "" for message
	data  []byte // nil for none; valid until the next event
	id    string
	hasID bool
	retry int64 // in milliseconds, -1 for none
}

// buffers are those of event streams.
var buffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// maxPooled is the largest buffer that is kept for the next stream.
const maxPooled = 64 << 10

func newEvents(body io.Reader, op *Op) *events {
	return &events{body: body, op: op, buf: *buffers.Get().(*[]byte)}
}

// release gives the buffer back, and with it the data of the last event.
func (e *events) release() {
	if buf := e.buf; len(buf) <= maxPooled {
		buffers.Put(&buf)
	}
	e.buf = nil
}

// next returns the next event with data, an ID or a retry time. It returns
// [io.EOF] when the stream has ended, ErrTooLarge or ErrBroken. Data that came
// without an empty line behind them are an event without an ID, as the server
// may have to send it again.
func (e *events) next() (event, error) {
	ev := event{retry: -1}
	e.hasData = false
	for {
		line, err := e.line()
		switch {
		case err != nil && e.hasData:
			return event{kind: ev.kind, data: e.buf[e.dataStart:e.dataEnd], retry: -1}, nil // the next call returns err
		case err != nil:
			return event{}, err
		case len(line) > 0:
			e.field(&ev, line)
		case e.hasData:
			ev.data = e.buf[e.dataStart:e.dataEnd]
			return ev, nil
		case ev.hasID || ev.retry >= 0:
			return ev, nil
		default:
			ev.kind = ""
		}
	}
}

// field adds one line to an event.
func (e *events) field(ev *event, line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		if ev.kind = ""; string(value) != "message" {
			ev.kind = string(value)
		}
	case "data":
		e.keep(len(value))
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			ev.id, ev.hasID = string(value), true
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			ev.retry = int64(ms)
		}
	}
}

// keep adds the last n bytes of the last line to the data. They move to the end
// of the data, in the buffer: the name of the field has made room for the line
// feed.
func (e *events) keep(n int) {
	start := e.lineEnd - n
	if !e.hasData {
		e.hasData, e.dataStart, e.dataEnd = true, start, e.lineEnd
		return
	}
	e.buf[e.dataEnd] = '\n'
	copy(e.buf[e.dataEnd+1:], e.buf[start:e.lineEnd])
	e.dataEnd += 1 + n
}

// line returns the next line, without its end.
func (e *events) line() ([]byte, error) {
	for {
		if e.afterCR && e.pos < e.end {
			if e.buf[e.pos] == '\n' {
				e.pos++
				e.scan = e.pos
			}
			e.afterCR = false
		}
		if n := findLineEnd(e.buf[e.scan:e.end]); n >= 0 {
			e.lineEnd = e.scan + n
			e.afterCR = e.buf[e.lineEnd] == '\r'
			return e.take(e.lineEnd + 1), nil
		}
		e.scan = e.end
		switch {
		case e.err != nil && e.pos < e.end:
			e.lineEnd = e.end
			return e.take(e.end), nil
		case e.err != nil:
			return nil, e.err
		}
		e.fill()
	}
}

// take returns the line that ends at lineEnd, and goes on at next.
func (e *events) take(next int) []byte {
	line := e.buf[e.pos:e.lineEnd]
	e.pos, e.scan = next, next
	if !e.started {
		e.started = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	return line
}

// findLineEnd returns where the first line feed or carriage return is, or -1.
func findLineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// fill reads once, or sets err.
func (e *events) fill() {
	if e.end == len(e.buf) {
		e.makeRoom()
	}
	for range maxIdle {
		n, err := readSome(e.body, e.buf[e.end:], e.op)
		e.end += n
		if e.err = err; n > 0 || err != nil {
			return
		}
	}
	e.err = &brokenError{cause: io.ErrNoProgress}
}

// makeRoom drops what is not needed any more, and makes the buffer larger if
// that is little.
func (e *events) makeRoom() {
	old, first := e.buf, e.pos
	if e.hasData {
		first = e.dataStart
	}
	if first < len(old)/2 {
		e.buf = make([]byte, 2*len(old))
	}
	copy(e.buf, old[first:e.end])
	e.pos, e.scan, e.end = e.pos-first, e.scan-first, e.end-first
	e.dataStart, e.dataEnd = e.dataStart-first, e.dataEnd-first
}
