package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The media types that requests and answers are told apart by.
const (
	jsonType   = "application/json"
	formType   = "application/x-www-form-urlencoded"
	htmlType   = "text/html"
	streamType = "text/event-stream"
)

// mediaType returns the request's content type without parameters.
func mediaType(r *http.Request) string {
	value := r.Header.Get("Content-Type")
	if value == jsonType { // the hot path
		return value
	}
	t, _, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	return t
}

// accepts reports whether the client's Accept header names want. A wildcard is
// not enough: programs that want JSON send one, too.
func accepts(r *http.Request, want string) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(part)), want) {
				continue
			}
			t, params, err := mime.ParseMediaType(part)
			if err != nil || t != want {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}

// maxPooledBuffer keeps the memory of a rare large message from staying.
const maxPooledBuffer = 1 << 20

// buffer returns an empty buffer, to be given back with release. What it holds
// must not be used after that.
func (h *Handler) buffer() *bytes.Buffer {
	buf := h.buffers.Get().(*bytes.Buffer)
	buf.Reset()
	return buf
}

// release takes a buffer back.
func (h *Handler) release(buf *bytes.Buffer) {
	if buf.Cap() <= maxPooledBuffer {
		h.buffers.Put(buf)
	}
}

// readBody reads the body into buf, within Config.MaxBodyBytes.
func (c *call) readBody(buf *bytes.Buffer) error {
	if encoding := c.r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		f := *errMediaType
		f.text = "The request body must not be compressed."
		return &f
	}
	if c.r.ContentLength > c.h.cfg.MaxBodyBytes {
		return errBodyTooLarge
	}
	// Readers that know no deadline work without.
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(c.h.cfg.ReadTimeout))
	_, err := buf.ReadFrom(http.MaxBytesReader(c.w, c.r.Body, c.h.cfg.MaxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowBody
	case errors.As(err, &tooLarge):
		return errBodyTooLarge
	case err != nil:
		return invalid("The request body cannot be read.").because(err)
	}
	_ = control.SetReadDeadline(time.Time{}) // net/http goes on reading, to see whether the client leaves
	return nil
}

// decode reads a JSON object from the body into a struct. Members that the
// struct does not have are ignored.
func (c *call) decode(into any) error {
	if mediaType(c.r) != jsonType {
		return errMediaType
	}
	buf := c.h.buffer()
	defer c.h.release(buf)
	if err := c.readBody(buf); err != nil {
		return err
	}
	if deeperThan(buf.Bytes(), c.h.cfg.MaxJSONDepth) {
		return invalid(fmt.Sprintf("The request body is nested more than %d levels deep.", c.h.cfg.MaxJSONDepth))
	}
	return decodeObject(buf.Bytes(), into)
}

// deeperThan reports whether brackets in JSON are nested more than most levels,
// before anything that calls itself looks at it, here or further on. In what is
// no JSON, it may be wrong about what a bracket is.
func deeperThan(data []byte, most int) bool {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch b := data[i]; {
		case b == '"':
			inString = !inString
		case inString:
			if b == '\\' {
				i++
			}
		case b == '{' || b == '[':
			if depth++; depth > most {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// decodeObject decodes and, failing that, says in the client's terms what is
// wrong. It keeps nothing of data.
func decodeObject(data []byte, into any) error {
	data = bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(data) == 0:
		return invalid("The request body is empty; a JSON object is expected.")
	case !utf8.Valid(data):
		return invalid("The request body is not valid UTF-8.")
	case data[0] != '{' && json.Valid(data):
		return invalid("The request body must be a JSON object.")
	}
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		what, _, _ := strings.Cut(wrongType.Value, " ") // "number 12.5": the value stays out
		return invalid(fmt.Sprintf("%s must be %s, not %s.", wrongType.Field, typeName(wrongType.Type), what))
	case errors.As(err, &syntax):
		return invalid(fmt.Sprintf("The request body is not valid JSON (at byte %d).", syntax.Offset))
	}
	return invalid("The request body is not valid JSON.").because(err)
}

// typeName names a Go type as a person who writes JSON would.
func typeName(t reflect.Type) string {
	if t.Kind() == reflect.String {
		return "a string"
	}
	return "a " + t.Kind().String()
}

// require refuses a request in which a field is missing or empty.
func require(field, value string) error {
	if value == "" {
		return invalid(field + " is required.")
	}
	return nil
}

// requireName refuses a name, or URI, that is missing or too long for the header
// that the MCP server wants it in.
func (c *call) requireName(field, value string) error {
	if len(value) > c.h.cfg.MaxNameBytes {
		return invalid(fmt.Sprintf("%s must not be longer than %d bytes.", field, c.h.cfg.MaxNameBytes))
	}
	return require(field, value)
}

// toolArgs returns the arguments to send: an object, empty where there is none.
// What is in it is not looked at: numbers of any size, the order of members and
// their spelling are between the caller and the MCP server.
func toolArgs(raw json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(raw) == 0, string(raw) == "null":
		return json.RawMessage("{}"), nil
	case raw[0] != '{':
		return nil, invalid("toolArgs must be an object.")
	}
	return raw, nil
}

// querySession takes the session ID from the header Mcpoauth-Session, or from the
// query. In a GET that changes nothing it is as safe there as the host's access
// log is private; see "Security" in the package documentation.
func (c *call) querySession() error {
	inQuery, inHeader := c.r.URL.Query().Get("sessionId"), c.r.Header.Get(sessionHeader)
	if inQuery != "" && inHeader != "" && inQuery != inHeader {
		return invalid("sessionId and the header " + sessionHeader + " name two sessions.")
	}
	c.sessionID = cmp.Or(inHeader, inQuery)
	return require("sessionId", c.sessionID)
}
