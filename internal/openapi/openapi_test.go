package openapi_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// document returns openapi.json with its own objects closed: a client must
// ignore members that it does not know, but a server that sends some should
// have them documented. What MCP servers send stays open.
func document(t *testing.T) map[string]any {
	t.Helper()
	source, err := os.ReadFile(root + "/httpapi/openapi.json")
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(source, &doc))
	for name, schema := range at(doc, "components", "schemas") {
		if !slices.Contains([]string{"Tool", "CallToolSuccess", "ClientMetadata", "CallbackRequest", "ConnectRequest", "DisconnectRequest", "CallToolRequest",
			"GetPromptRequest", "ReadResourceRequest", "CompleteRequest", "GetPromptSuccess", "ReadResourceSuccess", "CompleteSuccess"}, name) {
			schema.(map[string]any)["additionalProperties"] = false
		}
	}
	// The data of events, of which OpenAPI 3.1 knows nothing: paths of their own for
	// the validator.
	for path, schema := range eventSchemas {
		at(doc, "paths")[path] = map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{
			"description": "x", "content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/" + schema}}},
		}}}}
	}
	return doc
}

// eventSchemas are the schemas of events that are no answers, by path.
var eventSchemas = map[string]string{"/progress": "ToolProgress", "/asked": "InputAsked"}

func at(doc map[string]any, path ...string) map[string]any {
	for _, name := range path {
		doc, _ = doc[name].(map[string]any)
	}
	return doc
}

func newValidator(t *testing.T, doc map[string]any) validator.Validator {
	t.Helper()
	source, err := json.Marshal(doc)
	require.NoError(t, err)
	parsed, err := libopenapi.NewDocument(source)
	require.NoError(t, err)
	v, errs := validator.NewValidator(parsed)
	require.Empty(t, errs)
	return v
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	valid, errs := newValidator(t, document(t)).ValidateDocument()
	require.True(t, valid, "%+v", errs)

	broken := document(t)
	delete(at(broken, "info"), "title")
	valid, _ = newValidator(t, broken).ValidateDocument()
	require.False(t, valid, "the validator sees nothing")
}

// exchange is a line of the recording; see record_test.go in package httpapi.
type exchange struct {
	Method, Target string
	RequestHeader  http.Header
	Request        string
	Status         int
	Header         http.Header
	Answer         string
}

// TestEveryAnswerIsDocumented runs the tests of package httpapi and validates
// what was answered in them; and that of every status and error code that is
// documented there was one.
func TestEveryAnswerIsDocumented(t *testing.T) {
	t.Parallel()
	doc := document(t)
	v := newValidator(t, doc)
	seen := make(map[string]bool)
	for _, e := range recorded(t) {
		for _, e := range e.parts() {
			path := e.path(doc)
			if e.Status == http.StatusMethodNotAllowed && path != "" { // which is documented with the methods that are
				e.Method = methodsOf(doc, path)[0]
			}
			if path == "" {
				continue // no such route, or one that the test mounted elsewhere
			}
			seen[e.Method+" "+path] = seen[e.Method+" "+path] || e.Status == http.StatusOK
			var answer struct{ Code string }
			if json.Unmarshal([]byte(e.Answer), &answer) == nil && e.Status >= http.StatusBadRequest {
				seen[answer.Code] = true
			}
			requireValid(t, v, e, path)
		}
	}
	for path, operations := range at(doc, "paths") {
		for method := range operations.(map[string]any) {
			require.True(t, seen[strings.ToUpper(method)+" "+path], "no success of %s %s was seen", method, path)
		}
	}
	for _, code := range at(doc, "components", "schemas", "Error", "properties", "code")["enum"].([]any) {
		require.True(t, seen[code.(string)], "no %v was seen", code)
	}
}

// What is not as documented is noticed.
func TestUndocumentedAnswersAreNoticed(t *testing.T) {
	t.Parallel()
	v := newValidator(t, document(t))
	for name, e := range map[string]exchange{
		"another member":      {Status: 200, Answer: `{"success":true,"sessionId":"s","more":1}`},
		"a member is missing": {Status: 200, Answer: `{"success":true}`},
		"another code":        {Status: 400, Answer: `{"error":"e","code":"new_code"}`},
		"another status":      {Status: 418, Answer: `{"error":"e","code":"invalid_request"}`},
		"code of 404":         {Status: 400, Answer: `{"error":"e","code":"session_not_found"}`},
	} {
		e.Method, e.Header = "POST", http.Header{"Content-Type": {"application/json"}}
		valid, _ := validate(t, v, e, "/auth/connect")
		require.False(t, valid, name)
	}
}

func validate(t *testing.T, v validator.Validator, e exchange, path string) (bool, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), e.Method, "http://host/api/mcp"+path, nil)
	require.NoError(t, err)
	valid, errs := v.ValidateHttpResponse(r, &http.Response{StatusCode: e.Status, Header: e.Header, Body: io.NopCloser(strings.NewReader(e.Answer))})
	var text strings.Builder
	for _, err := range errs {
		text.WriteString(err.Error() + "\n")
	}
	return valid, text.String()
}

// requireValid validates an answer; and a request that was answered with
// success, since documentation that forbids what works is no better.
func requireValid(t *testing.T, v validator.Validator, e exchange, path string) {
	t.Helper()
	valid, errs := validate(t, v, e, path)
	require.True(t, valid, "%s %s: %d %s\n%s", e.Method, path, e.Status, e.Answer, errs)
	// Numbers go through whatever their size; the validator's have one.
	if e.Status != http.StatusOK || eventSchemas[path] != "" || strings.Contains(e.Request, "1e400") {
		return
	}
	_, query, _ := strings.Cut(e.Target, "?")
	r, err := http.NewRequestWithContext(t.Context(), e.Method, "http://host/api/mcp"+path+"?"+query, strings.NewReader(e.Request))
	require.NoError(t, err)
	r.Header = e.RequestHeader
	valid, problems := v.ValidateHttpRequest(r)
	require.True(t, valid, "%s %s %s: %+v", e.Method, path, e.Request, problems)
}

// recorded runs the tests of package httpapi and returns their exchanges.
func recorded(t *testing.T) (exchanges []exchange) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exchanges")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./httpapi")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "MCPOAUTH_RECORD="+path)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	file, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e exchange
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		exchanges = append(exchanges, e)
	}
	require.NoError(t, lines.Err())
	require.Greater(t, len(exchanges), 500)
	return exchanges
}

// parts are what is to be validated of an exchange: the events of a stream are
// answers like any other.
func (e exchange) parts() (parts []exchange) {
	switch {
	case e.Method == "guard", e.Method == http.MethodHead, e.Header.Get("Content-Type") == "" && e.Status != http.StatusSeeOther:
		return nil // no exchange, no body, or not a method of the API
	case e.Header.Get("Content-Type") != "text/event-stream":
		return []exchange{e}
	}
	for event := range strings.SplitSeq(e.Answer, "\n\n") {
		name, data, found := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		if !found {
			continue // a heartbeat
		}
		part := e
		part.Answer, part.Header = data, http.Header{"Content-Type": {"application/json"}}
		switch name {
		case "progress":
			part.Method, part.Target = http.MethodGet, "/progress"
		case "input":
			part.Method, part.Target = http.MethodGet, "/asked"
		case "inputRequired":
			part.Status = http.StatusAccepted
		case "error":
			if part.Status = statusOf(data); part.Status == 0 {
				continue
			}
		}
		parts = append(parts, part)
	}
	return append(parts, e)
}

// statusOf is the status that an error event would have had as an answer.
func statusOf(data string) int {
	switch {
	case strings.HasPrefix(data, `{"requiresAuth":`):
		return http.StatusUnauthorized
	case strings.Contains(data, `"code":"server_refused"`):
		return http.StatusForbidden
	}
	return 0
}

// methodsOf are the methods that are documented for a path.
func methodsOf(doc map[string]any, path string) (methods []string) {
	for method := range at(doc, "paths", path) {
		methods = append(methods, strings.ToUpper(method))
	}
	return methods
}

// path finds the route of an exchange, whatever its prefix.
func (e exchange) path(doc map[string]any) string {
	path, _, _ := strings.Cut(e.Target, "?")
	for route, operations := range at(doc, "paths") {
		_, documented := operations.(map[string]any)[strings.ToLower(e.Method)]
		if strings.HasSuffix(path, route) && (documented || e.Status == http.StatusOK || e.Status == http.StatusMethodNotAllowed) {
			return route
		}
	}
	return ""
}
