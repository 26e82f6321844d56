package interop_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	revision2025 = "2025-11-25"
	revision2026 = "2026-07-28"
)

// docs is what the servers offer that are made for these tests.
func docs(name, url, revision string, questions ...question) offering {
	return offering{
		name: name, url: url, revision: revision, instructions: "Be kind.",
		prompt: "greet", promptArgs: map[string]string{"language": "Greek"}, message: "Greet in Greek.",
		resource: "docs://welcome", template: "docs://{page}", page: "docs://other", text: "This is docs://other.",
		completions: []completion{
			{mcp.CompleteReference{Type: "ref/prompt", Name: "greet"}, "language", "D", []string{"Danish", "Dutch"}},
			{mcp.CompleteReference{Type: "ref/resource", URI: "docs://{page}"}, "page", "G", []string{"Greek"}},
		},
		questions: append([]question{
			{"book", `{}`, "How many?", `{"action":"accept","content":{"guests":3}}`, `booked {\"guests\":3}`, ""},
			{"book", `{}`, "How many?", `{"action":"decline"}`, "not booked: decline", ""},
			{"book", `{}`, "How many?", `{"action":"cancel"}`, "not booked: cancel", ""},
		}, questions...),
	}
}

var portListening = regexp.MustCompile(`listening on port (\d+)`)

// The reference server of the MCP project speaks revisions before 2026-07-28.
func TestServerEverything(t *testing.T) {
	t.Parallel()
	program := filepath.Join("node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js")
	cmd := exec.Command(filepath.Join("node_modules", "node", "bin", "node"), program, "streamableHttp")
	cmd.Env = []string{"PORT=" + freePort(t)}
	p := run(t, cmd, portListening)
	const page = `{"url":"https://sign.example/","message":"Sign."}`
	offering{
		name: "server-everything " + npmVersion(t, "@modelcontextprotocol/server-everything"), url: "http://127.0.0.1:" + p.address + "/mcp", revision: revision2025,
		prompt: "args-prompt", promptArgs: map[string]string{"city": "Graz"}, message: "What's weather in Graz?",
		resource: "demo://resource/static/document/features.md", template: "demo://resource/dynamic/text/{resourceId}",
		page: "demo://resource/dynamic/text/7", text: "Resource 7",
		completions: []completion{
			{mcp.CompleteReference{Type: "ref/prompt", Name: "completable-prompt"}, "department", "S", []string{"Sales", "Support"}},
			{mcp.CompleteReference{Type: "ref/resource", URI: "demo://resource/dynamic/text/{resourceId}"}, "resourceId", "7", []string{"7"}},
		},
		questions: []question{
			{"trigger-elicitation-request", `{}`, "Your full, legal name", `{"action":"accept","content":{"name":"Ada","untitledMultipleSelectEnum":["Drums"]}}`, "- Name: Ada", ""},
			{"trigger-elicitation-request", `{}`, "Your full, legal name", `{"action":"decline"}`, "User declined", ""},
			{"trigger-url-elicitation", page, "https://sign.example/", `{"action":"accept"}`, "User completed the URL elicitation flow.", ""},
			{"trigger-url-elicitation", page, "https://sign.example/", `{"action":"cancel"}`, "User cancelled the URL elicitation", ""},
			{"trigger-url-elicitation", strings.Replace(page, "{", `{"errorPath":true,`, 1), "https://sign.example/", `{"action":"accept"}`, "User completed the URL elicitation flow.", `"elicitations"`},
		},
	}.tour(t)
}

func TestTypeScriptSDK(t *testing.T) {
	t.Parallel()
	for revision, env := range map[string][]string{revision2025: {"SESSIONS=1"}, revision2026: nil} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			node(t, w, "typescript.mjs", env...)
			docs("typescript-sdk "+npmVersion(t, "@modelcontextprotocol/server"), w.url+"/mcp", revision,
				question{"sign", `{}`, "https://sign.example/", `{"action":"accept"}`, "signed: accept", ""},
			).tour(t)
		})
	}
}

func TestMCPGo(t *testing.T) {
	t.Parallel()
	for _, revision := range []string{revision2025, revision2026} {
		t.Run(revision, func(t *testing.T) {
			t.Parallel()
			p := run(t, exec.Command(filepath.Join("..", "..", ".tools", "interop", "mcpgo"), revision), nodeListening)
			docs("mcp-go "+moduleVersion(t, filepath.Join("mcpgo", "go.mod"), "github.com/mark3labs/mcp-go"), p.address+"/mcp", revision).tour(t)
		})
	}
}
