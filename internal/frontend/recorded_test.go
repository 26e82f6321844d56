package frontend_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// answer is one of the answers that the tests of package httpapi have seen.
type answer struct {
	kind string // its type in types.ts
	Want string `json:"want"` // the guard that it passes; none for ""
	// Of are the guards to ask.
	Of   []string `json:"of"`
	Body string   `json:"body"`
}

// allGuards are the guards that guards.mjs knows; the first five are the original's.
var allGuards = []string{"connect", "auth", "error", "list", "call", "done", "status", "sessions", "progress",
	"prompts", "resources", "templates", "prompt", "resource", "completion", "server", "input", "asked", "answered"}

// routes say what a route answers: its type, and the guard of its success.
var routes = map[string]struct{ kind, guard string }{
	"/auth/connect":         {"ConnectResponse", "connect"},
	"/auth/callback":        {"CallbackResponse", "done"},
	"/auth/disconnect":      {"DisconnectResponse", "done"},
	"/auth/status":          {"StatusResponse", "status"},
	"/auth/sessions":        {"SessionsResponse", "sessions"},
	"/tool/list":            {"ListToolsResponse", "list"},
	"/tool/call":            {"CallToolResponse", "call"},
	"/tool/input":           {"InputAnswerResponse", "answered"},
	"/prompt/list":          {"ListPromptsResponse", "prompts"},
	"/prompt/get":           {"GetPromptResponse", "prompt"},
	"/resource/list":        {"ListResourcesResponse", "resources"},
	"/resource/templates":   {"ListResourceTemplatesResponse", "templates"},
	"/resource/read":        {"ReadResourceResponse", "resource"},
	"/completion":           {"CompleteResponse", "completion"},
	"/server":               {"ServerResponse", "server"},
	"/client-metadata.json": {"ConnectError", "error"}, // its success is no answer to a front end
}

// Every answer has the type that types.ts says, no more members than it says,
// and passes its guard and no other.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	tool(t, "node") // before the work
	answers := recorded(t)
	here := compiled(t)
	requireTypes(t, answers)
	table := filepath.Join(here, "answers.json")
	encoded, err := json.Marshal(answers)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(table, encoded, 0o600))
	run(t, nil, "node", filepath.Join(here, "guards.mjs"), table)
}

// requireTypes has the compiler check each answer as a literal.
func requireTypes(t *testing.T, answers []answer) {
	t.Helper()
	types, err := filepath.Abs(root + "/httpapi/types.js")
	require.NoError(t, err)
	source := new(bytes.Buffer)
	_, _ = fmt.Fprintf(source, "import type * as api from %q;\n", types)
	for i, a := range answers {
		if a.kind == "" {
			continue
		}
		// Encoded again, because a literal may not have a member twice.
		var value any
		require.NoError(t, json.Unmarshal([]byte(a.Body), &value), a.Body)
		literal, err := json.Marshal(value)
		require.NoError(t, err)
		_, _ = fmt.Fprintf(source, "export const answer%d: api.%s = %s;\n", i, a.kind, literal)
	}
	path := filepath.Join(t.TempDir(), "answers.ts")
	require.NoError(t, os.WriteFile(path, source.Bytes(), 0o600))
	tsc(t, "--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--ignoreConfig", path)
}

// recorded runs the tests of package httpapi and returns what was answered in
// them, each once.
func recorded(t *testing.T) (answers []answer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exchanges")
	run(t, []string{"MCPOAUTH_RECORD=" + path}, "go", "test", "-count=1", root+"/httpapi")
	file, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	seen := make(map[string]bool)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e exchange
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		for _, a := range e.answers() {
			if key := fmt.Sprint(a); !seen[key] {
				seen[key] = true
				answers = append(answers, a)
			}
		}
	}
	require.NoError(t, lines.Err())
	require.Greater(t, len(answers), 100)
	return answers
}

// exchange is a line of the recording; see record_test.go in package httpapi.
type exchange struct {
	Method, Target string
	Status         int
	Header         http.Header
	Answer         string
}

// tableGuards names the guards that package httpapi also has in Go. Its tests hold
// their cases in a table.
var tableGuards = []string{"connect", "auth", "error", "list", "call", "prompts", "resources", "templates", "prompt", "resource", "completion", "input", "answered"}

// answers are those in an exchange: one, or each event of a stream.
func (e exchange) answers() (answers []answer) {
	if e.Method == "guard" {
		return []answer{{Want: e.Target, Of: tableGuards, Body: e.Answer}}
	}
	route := routeOf(e.Target)
	kind, guard := routes[route].kind, routes[route].guard
	if kind == "" {
		kind = "ConnectError"
	}
	switch e.Header.Get("Content-Type") {
	case "application/json":
		if e.Status >= http.StatusBadRequest {
			return []answer{failed(kind, e.Answer)}
		}
		if e.Method == http.MethodHead || guard == "error" || routes[route].kind == "" {
			return nil
		}
		if e.Status == http.StatusAccepted {
			guard = "input"
		}
		return []answer{{kind, guard, allGuards, e.Answer}}
	case "text/event-stream":
		for event := range strings.SplitSeq(e.Answer, "\n\n") {
			name, data, found := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
			switch {
			case !found: // a heartbeat
			case name == "progress":
				answers = append(answers, answer{"ToolProgress", "progress", allGuards, data})
			case name == "input":
				answers = append(answers, answer{"InputAsked", "asked", allGuards, data})
			case name == "inputRequired":
				answers = append(answers, answer{kind, "input", allGuards, data})
			case name == "error":
				answers = append(answers, failed(kind, data))
			default:
				answers = append(answers, answer{kind, guard, allGuards, data})
			}
		}
	}
	return answers
}

// failed is the answer to a request that failed.
func failed(kind, body string) answer {
	if strings.HasPrefix(body, `{"requiresAuth":`) {
		return answer{kind, "auth", allGuards, body}
	}
	return answer{kind, "error", allGuards, body}
}

// routeOf finds the route of a request, whatever its prefix.
func routeOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	for route := range routes {
		if strings.HasSuffix(path, route) {
			return route
		}
	}
	return ""
}
