package docscheck_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// publicPackages are those whose configuration a host writes.
var publicPackages = []string{"oauthclient", "session", "httpapi", "store", "store/memstore", "store/redisstore", "store/hybridstore", "store/sqlstore"}

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

// configStructs returns the fields, with their types, of every struct that a
// host configures a package with: Config, whatever is called Policy, and the
// package's own structs that these are made of.
func configStructs(files []*ast.File) map[string][][2]string {
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
	found := make(map[string][][2]string)
	var visit func(name string)
	visit = func(name string) {
		s, known := structs[name]
		if _, seen := found[name]; !known || seen {
			return
		}
		var fields [][2]string
		for _, field := range s.Fields.List {
			for _, id := range field.Names {
				if id.IsExported() {
					fields = append(fields, [2]string{id.Name, types.ExprString(field.Type)})
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

func TestConfiguration(t *testing.T) {
	t.Parallel()
	_, text := blocks(t, "docs/configuration.md")
	documented := sections(text, "##")
	for _, dir := range publicPackages {
		for name, fields := range configStructs(syntax(t, dir)) {
			heading := "`" + filepath.Base(dir) + "." + name + "`"
			section, ok := documented[heading]
			delete(documented, heading)
			if len(fields) == 0 {
				continue
			}
			if !ok {
				t.Errorf("docs/configuration.md: the section %q is missing", "## "+heading)
				continue
			}
			byName := make(map[string][]string)
			for _, row := range rows(section) {
				byName[row[0]] = row
			}
			for _, field := range fields {
				row, ok := byName[field[0]]
				delete(byName, field[0])
				if !ok {
					t.Errorf("docs/configuration.md: %s: a row for %s %s is missing", heading, field[0], field[1])
					continue
				}
				if len(row) != 4 || row[2] == "" || row[3] == "" {
					t.Errorf("docs/configuration.md: %s: the row for %s must have field, type, default and effect", heading, field[0])
					continue
				}
				if got, _ := code(row[1]); got != field[1] {
					t.Errorf("docs/configuration.md: %s: the type of %s is `%s`, not %s", heading, field[0], field[1], row[1])
				}
			}
			for name := range byName {
				t.Errorf("docs/configuration.md: %s: there is no field %s", heading, name)
			}
		}
	}
	for heading := range documented {
		t.Errorf("docs/configuration.md: there is no %s", heading)
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
