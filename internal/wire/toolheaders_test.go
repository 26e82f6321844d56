package wire_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Annotations on properties, nested ones too, give headers.
func TestToolHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		schema string
		want   []wire.Header
	}{
		"none":            {`{"type":"object","properties":{"a":{"type":"string"}}}`, nil},
		"one":             {`{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"Region"}}}`, []wire.Header{{Name: "Region", Path: []string{"a"}}}},
		"nested":          {`{"properties":{"a":{"type":"object","properties":{"b":{"x-mcp-header":"B","type":"integer"},"c":{"type":"boolean","x-mcp-header":"c"}}},"d":{"type":"string","x-mcp-header":"D"}}}`, []wire.Header{{Name: "B", Path: []string{"a", "b"}}, {Name: "c", Path: []string{"a", "c"}}, {Name: "D", Path: []string{"d"}}}},
		"nullable":        {`{"properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}}}`, []wire.Header{{Name: "A", Path: []string{"a"}}}},
		"property's name": {`{"properties":{"x-mcp-header":{"type":"string"}}}`, nil},
		"in data":         {`{"properties":{"a":{"type":"object","default":{"x-mcp-header":"A"},"enum":[{"x-mcp-header":1}],"description":"x-mcp-header"}}}`, nil},
		"PHP":             {`{"properties":[],"description":"x-mcp-header"}`, nil},
		"no object":       {`[{"x-mcp-header":"A"}]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.ToolHeaders(json.RawMessage(`{"name":"t","inputSchema":` + tc.schema + `}`))
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	text, err := json.Marshal(wire.Header{Name: "A", Path: []string{"a", "b"}})
	require.NoError(t, err)
	require.Equal(t, `{"n":"A","p":["a","b"]}`, string(text))
}

// Invalid annotations make a tool invalid (2026-07-28, Tools, x-mcp-header).
func TestInvalidToolHeaders(t *testing.T) {
	t.Parallel()
	property := func(schema string) string { return `{"properties":{"a":` + schema + `}}` }
	for name, schema := range map[string]string{
		"empty":             property(`{"type":"string","x-mcp-header":""}`),
		"no string":         property(`{"type":"string","x-mcp-header":1}`),
		"null":              property(`{"type":"string","x-mcp-header":null}`),
		"space":             property(`{"type":"string","x-mcp-header":"My Region"}`),
		"colon":             property(`{"type":"string","x-mcp-header":"A:B"}`),
		"line feed":         property(`{"type":"string","x-mcp-header":"A\nX-Forged: 1"}`),
		"not ASCII":         property(`{"type":"string","x-mcp-header":"Région"}`),
		"number":            property(`{"type":"number","x-mcp-header":"A"}`),
		"object":            property(`{"type":"object","x-mcp-header":"A"}`),
		"array":             property(`{"type":"array","x-mcp-header":"A"}`),
		"null type":         property(`{"type":"null","x-mcp-header":"A"}`),
		"no type":           property(`{"x-mcp-header":"A"}`),
		"several types":     property(`{"type":["string","number"],"x-mcp-header":"A"}`),
		"twice":             `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"A"}}}`,
		"twice, other case": `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"object","properties":{"c":{"type":"string","x-mcp-header":"a"}}}}}`,
		"root":              `{"type":"string","x-mcp-header":"A"}`,
		"items":             property(`{"type":"array","items":{"type":"string","x-mcp-header":"A"}}`),
		"prefix items":      property(`{"type":"array","prefixItems":[{"type":"string","x-mcp-header":"A"}]}`),
		"anyOf":             property(`{"anyOf":[{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}]}`),
		"not":               property(`{"not":{"type":"string","x-mcp-header":"A"}}`),
		"then":              `{"then":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}`,
		"definitions":       `{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}`,
		"patterns":          `{"patternProperties":{"^a":{"type":"string","x-mcp-header":"A"}}}`,
		"additional":        `{"additionalProperties":{"type":"string","x-mcp-header":"A"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.ToolHeaders(json.RawMessage(`{"name":"t","inputSchema":` + schema + `}`))
			require.Error(t, err)
		})
	}
	_, err := wire.ToolHeaders(json.RawMessage(`["x-mcp-header"]`))
	require.Error(t, err)
	deep := strings.Repeat(`{"items":`, 1001) + `{"x-mcp-header":"A"}` + strings.Repeat("}", 1001)
	_, err = wire.ToolHeaders(json.RawMessage(`{"inputSchema":` + deep + `}`))
	require.Error(t, err)
}

// A server chooses how deep and how large a schema is: reading its annotations
// takes time in proportion to its size, not to size times depth.
func TestToolHeadersOfHostileSchemas(t *testing.T) {
	t.Parallel()
	nested := func(n int, before, inner, after string) string {
		return `{"name":"t","inputSchema":` + strings.Repeat(before, n) + inner + strings.Repeat(after, n) + `}`
	}
	large := strings.Repeat("1,", 1<<20) + "1"
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `"p%d":{"type":"string","x-mcp-header":"P-%d"},`, i, i)
	}
	for name, tool := range map[string]string{
		"deep properties": nested(490, `{"properties":{"a":`, `{"type":"string","x-mcp-header":"A","enum":[`+large+`]}`, `}}`),
		"deep items":      nested(900, `{"items":`, `{"x-mcp-header":"A","enum":[`+large+`]}`, `}`),
		"deep type":       nested(1, `{"properties":{"a":`, `{"x-mcp-header":"A","type":`+strings.Repeat("[", 900)+large+strings.Repeat("]", 900)+`}`, `}}`),
		"many headers":    nested(1, `{"properties":{`, many.String()+`"last":{"type":"string"}`, `}}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			require.True(t, json.Valid([]byte(tool)))
			reading := time.Since(begun)
			begun = time.Now()
			_, err := wire.ToolHeaders(json.RawMessage(tool))
			require.Error(t, err)
			require.Less(t, time.Since(begun), 5*time.Second+100*reading)
		})
	}
}

// Arguments go into headers as the specification encodes them, from the exact
// path, and only where a header can carry them.
func TestParamHeaders(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerEmpty)
	conn := &wire.Conn{Version: "2026-07-28", Headers: map[string][]wire.Header{"t": {{Name: "TenantID", Path: []string{"a"}}, {Name: "Deep", Path: []string{"o", "b"}}, {Name: "bad name", Path: []string{"a"}}}}}
	for argument, want := range map[string]string{
		`"us-west1"`:           "us-west1",
		`"us west 1"`:          "us west 1",
		`"esc\u0061ped"`:       "escaped",
		`"Hello, 世界"`:          "=?base64?SGVsbG8sIOS4lueVjA==?=",
		`" padded "`:           "=?base64?IHBhZGRlZCA=?=",
		`"line1\nline2"`:       "=?base64?bGluZTEKbGluZTI=?=",
		`"=?base64?literal?="`: "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		`"=?base64?"`:          "=?base64?",
		`""`:                   "=?base64??=",
		`"\t"`:                 "=?base64?CQ==?=",
		`42`:                   "42",
		`-7`:                   "-7",
		`42.0`:                 "42",
		`4.2e1`:                "42",
		`-0`:                   "0",
		`9007199254740991`:     "9007199254740991",
		`9007199254740993`:     "",
		`1.5`:                  "",
		`1e400`:                "",
		`true`:                 "true",
		`false`:                "false",
		`null`:                 "",
		`{}`:                   "",
		`[]`:                   "",
		`"first","a":"last"`:   "last",
	} {
		_, err := f.Call(t.Context(), conn, f.NewOp(), wire.Request{Method: "tools/call", Name: "t", Arguments: json.RawMessage(`{"a":` + argument + `,"o":{"b":1},"b":2}`)})
		require.NoError(t, err)
		header := f.request(len(f.requests()) - 1).Header
		require.Equal(t, want, header.Get("Mcp-Param-TenantID"), argument)
		require.Equal(t, want == "", header.Values("Mcp-Param-TenantID") == nil, argument)
		require.Equal(t, "1", header.Get("Mcp-Param-Deep"))
	}
	for _, arguments := range []string{``, `null`, `[]`, `{}`, `{"o":1}`, `{"o":{"a":1}}`} {
		_, err := f.Call(t.Context(), conn, f.NewOp(), wire.Request{Method: "tools/call", Name: "t", Arguments: json.RawMessage(arguments)})
		require.NoError(t, err)
		require.NotContains(t, headerNames(f.request(len(f.requests())-1).Header), "Mcp-Param")
	}
	older := *conn
	older.Version = "2025-11-25"
	for _, c := range []*wire.Conn{&older, conn} {
		_, err := f.Call(t.Context(), c, f.NewOp(), wire.Request{Method: "tools/call", Name: map[bool]string{true: "t", false: "other"}[c == &older], Arguments: json.RawMessage(`{"a":"x"}`)})
		require.NoError(t, err)
		require.NotContains(t, headerNames(f.request(len(f.requests())-1).Header), "Mcp-Param")
	}
}

func headerNames(header http.Header) string {
	var names []string
	for name := range header {
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// Names that a header cannot carry are encoded.
func TestNameHeader(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerEmpty)
	_, err := f.Call(t.Context(), connOf("2026-07-28"), f.NewOp(), wire.Request{Method: "resources/read", Name: "file:///ä\r\nX: y", Params: json.RawMessage(`{"uri":"file:///ä\r\nX: y"}`)})
	require.NoError(t, err)
	require.Equal(t, "=?base64?ZmlsZTovLy/DpA0KWDogeQ==?=", f.request(0).Header.Get("Mcp-Name"))
	require.Empty(t, f.request(0).Header.Get("X"))
}
