package docscheck_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// publicPackages are the packages whose configuration a host writes.
var publicPackages = []string{"oauthclient", "session", "session/otelsession", "httpapi", "store/memstore", "store/redisstore", "store/hybridstore", "store/sqlstore"}

// syntax parses the source files of a package, tests aside.
func syntax(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(repository, dir, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, paths, dir)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// configStructs returns the fields of every struct that a host configures a
// package with: Config, each Policy, and the package's own structs that these are
// made of.
func configStructs(files []*ast.File) map[string][]string {
	structs := make(map[string]*ast.StructType)
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	found := make(map[string][]string)
	var visit func(name string)
	visit = func(name string) {
		s, known := structs[name]
		if _, seen := found[name]; !known || seen {
			return
		}
		var fields []string
		for _, field := range s.Fields.List {
			for _, id := range field.Names {
				if id.IsExported() {
					fields = append(fields, id.Name)
				}
			}
		}
		if len(fields) == 0 { // opaque, such as oauthclient.Secret
			return
		}
		found[name] = fields
		for _, field := range s.Fields.List {
			for _, part := range made(field.Type) {
				visit(part)
			}
		}
	}
	for name := range structs {
		if name == "Config" || strings.HasSuffix(name, "Policy") {
			visit(name)
		}
	}
	return found
}

// made returns the names in a type expression of what a host makes values of:
// the results of a function, not its parameters.
func made(expr ast.Expr) (names []string) {
	ast.Inspect(expr, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			if n.Results != nil {
				for _, result := range n.Results.List {
					names = append(names, made(result.Type)...)
				}
			}
			return false
		case *ast.SelectorExpr: // another package's
			return false
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	})
	return names
}

// settings returns the fields of all configurations, such as
// "session.Config.TTL", and the environment variables of examples/server.
func settings(t *testing.T) (names []string) {
	t.Helper()
	for _, dir := range publicPackages {
		for name, fields := range configStructs(syntax(t, dir)) {
			for _, field := range fields {
				names = append(names, filepath.Base(dir)+"."+name+"."+field)
			}
		}
	}
	for _, file := range syntax(t, "examples/server") {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || types.ExprString(call.Fun) != "os.Getenv" {
				return true
			}
			variable, err := strconv.Unquote(types.ExprString(call.Args[0]))
			require.NoError(t, err, "a variable without a constant name cannot be checked")
			names = append(names, variable)
			return true
		})
	}
	return names
}

// setting matches the name of a setting in the first cell of a row.
var setting = regexp.MustCompile("`([^`]+)`")

// Each setting is in one row of one task, with its default and effect, and each
// task shows an example.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	const path = "docs/configuration.md"
	described := make(map[string]string) // the task of each setting
	for task, text := range sections(read(t, path), "##") {
		found := tableRow.FindAllStringSubmatch(text, -1)
		require.True(t, len(found) == 0 || strings.Contains(text, "```"), "%s: %s: an example is missing", path, task)
		for _, match := range found {
			cells := strings.Split(match[1], "|")
			names := setting.FindAllStringSubmatch(cells[0], -1)
			if len(names) == 0 {
				continue // the head
			}
			complete := len(cells) == 3 && strings.TrimSpace(cells[1]) != "" && strings.TrimSpace(cells[2]) != ""
			require.True(t, complete, "%s: %s: the row of %s must have setting, default and effect", path, task, names[0][1])
			for _, name := range names {
				require.Empty(t, described[name[1]], "%s: %s is described twice, in %s too", path, name[1], task)
				described[name[1]] = task
			}
		}
	}
	for _, name := range settings(t) {
		if described[name] == "" {
			t.Errorf("%s: a row for %s is missing", path, name)
		}
		delete(described, name)
	}
	for name, task := range described {
		t.Errorf("%s: %s: there is no %s", path, task, name)
	}
}

// httpConstants returns the values of httpapi's string constants whose name
// begins with prefix.
func httpConstants(t *testing.T, prefix string) (values []string) {
	t.Helper()
	for _, file := range syntax(t, "httpapi") {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if !strings.HasPrefix(name.Name, prefix) || i >= len(spec.Values) {
						continue
					}
					if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
						value, err := strconv.Unquote(literal.Value)
						require.NoError(t, err)
						values = append(values, value)
					}
				}
			}
		}
	}
	require.NotEmpty(t, values, prefix)
	sort.Strings(values)
	return values
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	codes := httpConstants(t, "Code")
	_, troubleshooting := blocks(t, "docs/troubleshooting.md")
	_, api := blocks(t, "docs/http-api.md")

	var explained, listed []string
	for heading, text := range sections(sections(troubleshooting, "##")["By error code"], "###") {
		name, ok := code(heading)
		require.True(t, ok, "docs/troubleshooting.md: %q is not a code", heading)
		require.NotEmpty(t, strings.TrimSpace(text), "docs/troubleshooting.md: %s", heading)
		explained = append(explained, name)
	}
	for _, row := range rows(sections(api, "##")["Error codes"]) {
		listed = append(listed, row[0])
	}
	require.ElementsMatch(t, codes, explained, "docs/troubleshooting.md: a section for each code")
	require.ElementsMatch(t, codes, listed, "docs/http-api.md: a row for each code")
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	_, text := blocks(t, "docs/http-api.md")
	var described []string
	for heading := range sections(text, "##") {
		if method, path, ok := strings.Cut(strings.Trim(heading, "`"), " "); ok && strings.ToUpper(method) == method {
			described = append(described, "/"+path)
		}
	}
	require.ElementsMatch(t, httpConstants(t, "route"), described, "docs/http-api.md: a section for each route, such as `GET auth/status`")
}
