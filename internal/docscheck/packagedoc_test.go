package docscheck_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentedPackages are the packages for hosts and authors of stores.
var documentedPackages = append([]string{"oauthclient/oauthtest", "httpapi/httpapitest", "store", "store/storetest"}, publicPackages...)

// maxPackageDoc is the number of lines that fit on a screen before the list of
// names in `go doc`.
const maxPackageDoc = 55

var (
	// qualified matches a name of a package, with a field or method of it.
	qualified = regexp.MustCompile(`\b([a-z]+)\.([A-Z]\w*)`)
	// docLink matches a link of a doc comment to a name of its own package.
	docLink = regexp.MustCompile(`\[\*?([A-Z]\w*(?:\.\w+)?)\]`)
)

// exported returns the exported names of a package, and those of fields and
// methods as "Type.Name".
func exported(files []*ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, file := range files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				name := decl.Name.Name
				if decl.Recv != nil {
					name = receiver(decl.Recv.List[0].Type) + "." + name
				}
				names[name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					specNames(names, spec)
				}
			}
		}
	}
	return names
}

// receiver returns the name of a method's type.
func receiver(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.StarExpr:
		return receiver(expr.X)
	case *ast.IndexExpr:
		return receiver(expr.X)
	case *ast.Ident:
		return expr.Name
	}
	return ""
}

// specNames adds the names that a declaration of types, constants or variables
// declares.
func specNames(names map[string]bool, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			names[name.Name] = true
		}
	case *ast.TypeSpec:
		names[spec.Name.Name] = true
		var members *ast.FieldList
		switch t := spec.Type.(type) {
		case *ast.StructType:
			members = t.Fields
		case *ast.InterfaceType:
			members = t.Methods
		default:
			return
		}
		for _, field := range members.List {
			for _, name := range field.Names {
				names[spec.Name.Name+"."+name.Name] = true
			}
		}
	}
}

// The doc comment of each package fits on a screen, and the names in it exist.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	names := make(map[string]map[string]bool)
	for _, dir := range documentedPackages {
		names[filepath.Base(dir)] = exported(syntax(t, dir))
	}
	for _, dir := range documentedPackages {
		text := packageDoc(t, dir)
		require.LessOrEqual(t, strings.Count(text, "\n"), maxPackageDoc, "%s: the doc comment of the package is too long for a screen: move details to the types", dir)
		for _, match := range qualified.FindAllStringSubmatch(text, -1) {
			if known := names[match[1]]; known != nil {
				require.True(t, known[match[2]], "%s: there is no %s", dir, match[0])
			}
		}
		for _, match := range docLink.FindAllStringSubmatch(text, -1) {
			require.True(t, names[filepath.Base(dir)][match[1]], "%s: there is no %s", dir, match[1])
		}
	}
}

// packageDoc returns the doc comment of a package.
func packageDoc(t *testing.T, dir string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	return file.Doc.Text()
}
