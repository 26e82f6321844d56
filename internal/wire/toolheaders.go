package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Error codes of the protocol.
const (
	codeHeaderMismatch     = mcp.CodeHeaderMismatch
	codeMissingCapability  = mcp.CodeMissingRequiredClientCapabilities
	codeUnsupportedVersion = mcp.CodeUnsupportedProtocolVersion
	codeURLElicitation     = mcp.CodeURLElicitationRequired
)

// Header says which argument of a tool goes into which header.
type Header struct {
	Name string   `json:"n"` // the part after Mcp-Param-
	Path []string `json:"p"` // of the property in the arguments
}

// annotation is the member of a schema that names a header.
const annotation = "x-mcp-header"

// ToolHeaders reads the x-mcp-header annotations of a tool, which is JSON as
// tools/list gives it. An error says why the annotations are invalid: then
// revision 2026-07-28 wants the tool left out.
func ToolHeaders(tool json.RawMessage) ([]Header, error) {
	if !bytes.Contains(tool, []byte(annotation)) {
		return nil, nil
	}
	var schema []byte
	if !Members(tool, func(name, value []byte) {
		if string(name) == "inputSchema" {
			schema = value
		}
	}) {
		return nil, errors.New("the tool is no JSON object")
	}
	a := annotations{text: schema, seen: make(map[string]bool)}
	a.schema(skipSpace(schema, 0), 0, nil, true)
	if a.err != nil {
		return nil, a.err
	}
	return a.found, nil
}

// Bounds of what one tool may ask for.
const (
	maxHeaders   = 64 // headers of one tool
	maxPathDepth = 32 // properties on the way to one argument
)

// annotations collects the headers of one input schema. It reads each byte once,
// because a server chooses how deep and how large a schema is.
type annotations struct {
	text  []byte
	found []Header
	seen  map[string]bool // names in lower case
	err   error           // the first fault
}

// property is the last step on the way to a schema.
type property struct {
	name   []byte // in quotes
	parent *property
}

func (p *property) path() (path []string) {
	for ; p != nil; p = p.parent {
		path = append(path, string(Unquote(p.name)))
	}
	slices.Reverse(path)
	return path
}

// schema goes through the schema at i, and returns where it ends. An annotation
// counts only on a path that consists of nothing but properties.
func (a *annotations) schema(i, depth int, at *property, reachable bool) int {
	if i >= len(a.text) || a.text[i] != '{' {
		return skipValue(a.text, i, depth)
	}
	var typ, header []byte
	keep := func(value *[]byte, i, depth int) int {
		end := skipValue(a.text, i, depth)
		if end > 0 {
			*value = a.text[i:end]
		}
		return end
	}
	end := skipBracket(a.text, i, depth, nil, func(name []byte, i, depth int) int {
		switch string(Unquote(name)) {
		case "type":
			return keep(&typ, i, depth)
		case annotation:
			return keep(&header, i, depth)
		case "properties":
			return a.schemas(i, depth, func(name []byte) *property { return &property{name, at} }, reachable)
		case "items", "prefixItems", "additionalItems", "unevaluatedItems", "contains", "oneOf", "anyOf", "allOf", "not",
			"if", "then", "else", "additionalProperties", "unevaluatedProperties", "propertyNames", "contentSchema":
			if i < len(a.text) && a.text[i] == '[' {
				return skipBracket(a.text, i, depth, nil, func(_ []byte, i, depth int) int { return a.schema(i, depth, at, false) })
			}
			return a.schema(i, depth, at, false)
		case "$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies":
			return a.schemas(i, depth, func([]byte) *property { return at }, false)
		}
		return skipValue(a.text, i, depth)
	})
	if header != nil && a.err == nil {
		a.err = a.add(header, typ, at.path(), reachable)
	}
	return end
}

// schemas goes through the object of schemas at i, and returns where it ends.
func (a *annotations) schemas(i, depth int, at func(name []byte) *property, reachable bool) int {
	if i >= len(a.text) || a.text[i] != '{' {
		return skipValue(a.text, i, depth)
	}
	return skipBracket(a.text, i, depth, nil, func(name []byte, i, depth int) int { return a.schema(i, depth, at(name), reachable) })
}

// add adds the header of one property, or says why it is invalid.
func (a *annotations) add(header, typ []byte, path []string, reachable bool) error {
	name := string(Unquote(header))
	switch lower := strings.ToLower(name); {
	case !reachable || len(path) == 0:
		return fmt.Errorf("%s stands where no argument can be read", annotation)
	case len(path) > maxPathDepth, len(a.found) == maxHeaders:
		return fmt.Errorf("more than %d properties have %s, or one is nested deeper than %d levels", maxHeaders, annotation, maxPathDepth)
	case !isToken(name):
		return fmt.Errorf("%s of property %q is no header name", annotation, strings.Join(path, "."))
	case !isPrimitive(typ):
		return fmt.Errorf("property %q with %s is no string, integer or boolean", strings.Join(path, "."), annotation)
	case a.seen[lower]:
		return fmt.Errorf("two properties have the %s %q", annotation, name)
	default:
		a.seen[lower] = true
	}
	a.found = append(a.found, Header{Name: name, Path: path})
	return nil
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !isDigit(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isPrimitive reports whether a type is string, integer or boolean; it may be
// nullable.
func isPrimitive(typ []byte) bool {
	primitive := func(name []byte) bool {
		switch string(Unquote(name)) {
		case "string", "integer", "boolean":
			return true
		}
		return false
	}
	primitives, others := 0, 0
	Elements(typ, func(value []byte) {
		switch {
		case primitive(value):
			primitives++
		case string(Unquote(value)) != "null":
			others++
		}
	})
	return primitive(typ) || primitives > 0 && others == 0
}

// paramHeaders returns the Mcp-Param headers of a tool call.
func (conn *Conn) paramHeaders(r Request) map[string]string {
	if len(conn.Headers) == 0 || r.Method != "tools/call" || !modern(conn.Version) {
		return nil
	}
	headers := conn.Headers[r.Name]
	if len(headers) == 0 {
		return nil
	}
	values := make(map[string]string, len(headers))
	for _, h := range headers {
		if text, ok := primitive(lookUp(r.Arguments, h.Path)); ok && isToken(h.Name) {
			values[http.CanonicalHeaderKey("Mcp-Param-"+h.Name)] = encodeHeader(text)
		}
	}
	return values
}

// lookUp returns the value at a path of properties, nil if there is none.
func lookUp(text []byte, path []string) []byte {
	for _, property := range path {
		var found []byte
		if !Members(text, func(name, value []byte) {
			if string(name) == property {
				found = value
			}
		}) {
			return nil
		}
		text = found
	}
	return text
}

// maxSafe is the largest integer that every JSON implementation can tell from
// its neighbours: 2^53-1.
const maxSafe = 1<<53 - 1

// primitive returns the text that stands for a value in a header, false for
// values that go into none.
func primitive(value []byte) (string, bool) {
	switch string(value) {
	case "true", "false":
		return string(value), true
	case "", "null":
		return "", false
	}
	if text := Unquote(value); text != nil {
		return string(text), true
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n != math.Trunc(n) || math.Abs(n) > maxSafe {
		return "", false
	}
	return strconv.FormatInt(int64(n), 10), true
}

// The marks of a header value in base64.
const (
	base64Prefix = "=?base64?"
	base64Suffix = "?="
)

// encodeHeader returns a text as the value of a header: as it is, or in base64
// if a header could not carry it or could carry something else by it. An empty
// header gets lost on the way, so that is in base64, too.
func encodeHeader(text string) string {
	safe := text != "" && text[0] != ' ' && text[len(text)-1] != ' ' &&
		!(strings.HasPrefix(text, base64Prefix) && strings.HasSuffix(text, base64Suffix))
	for i := 0; safe && i < len(text); i++ {
		safe = ' ' <= text[i] && text[i] <= '~'
	}
	if safe {
		return text
	}
	return base64Prefix + base64.StdEncoding.EncodeToString([]byte(text)) + base64Suffix
}
