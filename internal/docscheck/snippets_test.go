package docscheck_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// imports are the packages that a fragment may use; a complete file imports
// for itself.
var imports = []string{
	"context", "encoding/base64", "encoding/json", "errors", "fmt", "log", "log/slog", "net/http", "net/http/httputil", "net/netip", "net/url", "os", "strings", "sync/atomic", "testing", "time", "crypto", "crypto/rand", "crypto/tls", "crypto/x509",
	"github.com/mcpoauth/mcpoauth/httpapi", "github.com/mcpoauth/mcpoauth/oauthclient", "github.com/mcpoauth/mcpoauth/session",
	"github.com/mcpoauth/mcpoauth/httpapi/httpapitest", "github.com/mcpoauth/mcpoauth/oauthclient/oauthtest", "github.com/stretchr/testify/require",
	"github.com/mcpoauth/mcpoauth/store", "github.com/mcpoauth/mcpoauth/store/storetest",
	"github.com/mcpoauth/mcpoauth/store/memstore", "github.com/mcpoauth/mcpoauth/store/redisstore", "github.com/mcpoauth/mcpoauth/store/hybridstore", "github.com/mcpoauth/mcpoauth/store/sqlstore", "database/sql",
	"github.com/modelcontextprotocol/go-sdk/mcp", "github.com/modelcontextprotocol/go-sdk/oauthex",
}

// TestSnippetsCompile builds every Go snippet of every document, each as a
// package of its own that exists for this build only.
func TestSnippetsCompile(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(repository)
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	scratch := t.TempDir()
	preamble := read(t, "internal/docscheck/testdata/preamble.go.txt")
	var packages []string
	for _, path := range documents(t) {
		found, _ := blocks(t, path)
		for _, b := range found {
			if b.language != "go" {
				continue
			}
			name := fmt.Sprintf("internal/docscheck/snippets/s%d", len(packages))
			packages = append(packages, "./"+name)
			source, pkg := complete(t, b)
			for file, text := range map[string]string{
				"snippet.go":  source,
				"preamble.go": strings.Replace(preamble, "package snippet", "package "+pkg, 1),
			} {
				real := filepath.Join(scratch, fmt.Sprintf("%d-%s", len(packages), file))
				require.NoError(t, os.WriteFile(real, []byte(text), 0o600))
				overlay.Replace[filepath.Join(dir, filepath.FromSlash(name), file)] = real
			}
		}
	}
	require.Greater(t, len(packages), 1, "of several packages go build keeps no result")
	data, err := json.Marshal(overlay)
	require.NoError(t, err)
	list := filepath.Join(scratch, "overlay.json")
	require.NoError(t, os.WriteFile(list, data, 0o600))
	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", list}, packages...)...)
	build.Dir = dir
	message, err := build.CombinedOutput()
	require.NoError(t, err, "Go snippets do not compile; what they may use undeclared is in internal/docscheck/testdata/preamble.go.txt\n%s", message)
}

// A snippet that needs another module cannot be built here. Its fence says golang, and
// its lines are those of the example that the module has.
func TestSnippetsOfOtherModules(t *testing.T) {
	t.Parallel()
	example := read(t, "examples/observability/main.go")
	found := 0
	for _, path := range documents(t) {
		all, _ := blocks(t, path)
		for _, b := range all {
			if b.language != "golang" {
				continue
			}
			found++
			for line := range strings.Lines(b.text) {
				code, _, _ := strings.Cut(line, " //")
				require.Contains(t, example, strings.TrimSpace(code), "%s:%d", b.path, b.line)
			}
		}
	}
	require.Positive(t, found)
}

// complete makes a snippet a file: it may be one already, or declarations, or
// statements. Errors of the compiler name the document and the line in it.
func complete(t *testing.T, b block) (source, pkg string) {
	t.Helper()
	where := fmt.Sprintf("//line %s:%d\n", b.path, b.line)
	fileSet := token.NewFileSet()
	if file, err := parser.ParseFile(fileSet, b.path, b.text, parser.SkipObjectResolution); err == nil {
		return where + b.text, file.Name.Name
	}
	const begin = "package snippet\n"
	if file, err := parser.ParseFile(fileSet, b.path, begin+b.text, parser.SkipObjectResolution); err == nil {
		return begin + importsFor(file) + where + b.text, "snippet"
	}
	const function = "func _(ctx context.Context, w http.ResponseWriter, r *http.Request) error {\n"
	file, err := parser.ParseFile(fileSet, b.path, begin+function+b.text+"\nreturn nil }", parser.SkipObjectResolution)
	require.NoError(t, err, "%s:%d: this is no Go, neither a file nor declarations nor statements", b.path, b.line)
	var uses strings.Builder // what a fragment declares may be for the reader to use
	for _, name := range declarations(file) {
		fmt.Fprintf(&uses, "_ = %s\n", name)
	}
	return begin + importsFor(file) + function + where + b.text + uses.String() + "return nil\n}\n", "snippet"
}

// declarations returns the variables that the statements of a fragment declare, in
// its outermost block.
func declarations(file *ast.File) (names []string) {
	for _, statement := range file.Decls[0].(*ast.FuncDecl).Body.List {
		assign, ok := statement.(*ast.AssignStmt)
		if !ok || assign.Tok != token.DEFINE {
			continue
		}
		for _, left := range assign.Lhs {
			if id, ok := left.(*ast.Ident); ok && id.Name != "_" && !slices.Contains(names, id.Name) {
				names = append(names, id.Name)
			}
		}
	}
	return names
}

// importsFor imports what a fragment mentions.
func importsFor(file *ast.File) string {
	mentioned := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := selector.X.(*ast.Ident); ok {
				mentioned[id.Name] = true
			}
		}
		return true
	})
	var used strings.Builder
	for _, path := range imports {
		if mentioned[path[strings.LastIndex(path, "/")+1:]] {
			fmt.Fprintf(&used, "import %q\n", path)
		}
	}
	return used.String()
}

// TestReadmeCommands requires that CI runs the commands of the README, and that the
// first command stays the well-known one.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	found, _ := blocks(t, "README.md")
	var commands []string
	for _, b := range found {
		require.NotContains(t, []string{"bash", "shell", "console"}, b.language, "README.md: scripts/readme runs blocks marked sh")
		if b.language != "sh" {
			continue
		}
		for line := range strings.Lines(b.text) {
			command, _, _ := strings.Cut(line, "#")
			if command = strings.TrimSpace(command); command != "" {
				commands = append(commands, command)
			}
		}
	}
	require.GreaterOrEqual(t, len(commands), 2)
	require.Equal(t, []string{"go run ./examples/quickstart", "make test"}, commands[:2])
	require.Contains(t, strings.Fields(read(t, ".ci/run")), "readme", "it runs the others; internal/scriptcheck looks for make test")
	require.Contains(t, read(t, "Makefile"), "\t@scripts/readme\n")
	for _, command := range commands {
		if path, ok := strings.CutPrefix(command, "go run ./"); ok {
			require.FileExists(t, filepath.Join(repository, strings.Fields(path)[0], "main.go"), command)
		}
	}
}
