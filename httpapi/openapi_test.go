package httpapi_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

// openAPI is what these tests read of the document.
type openAPI struct {
	OpenAPI    string
	Servers    []struct{ URL string }
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas struct {
			Error struct {
				Properties struct{ Code struct{ Enum []string } }
			}
		}
	}
}

func openAPIOf(t *testing.T, h *httpapi.Handler, path string) (doc openAPI) {
	t.Helper()
	w := request(t, h, "GET", path, "")
	require.Equal(t, 200, w.Code, w.Body)
	requireKept(t, w, "application/json")
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	return doc
}

func TestOpenAPISaysWhereTheRoutesAre(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{"": "https://app.example/base/api/mcp", "/": "https://app.example/base", "/x": "https://app.example/base/x"} {
		h, _ := newFake(t, &fake{}, identified, func(c *httpapi.Config) { c.PublicURL, c.Prefix = "https://app.example/base", prefix })
		doc := openAPIOf(t, h, strings.TrimPrefix(want, "https://app.example")+"/openapi.json")
		require.Equal(t, want, doc.Servers[0].URL)
		require.Len(t, doc.Servers, 1)
	}
}

// The document has exactly the routes, with their methods.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{clientID: "x", keySet: []byte(`{"keys":[]}`)}, identified)
	doc := openAPIOf(t, h, "/api/mcp/openapi.json")
	var routes []string
	for path, operations := range doc.Paths {
		routes = append(routes, path)
		w := request(t, h, "DELETE", "/api/mcp"+path, "")
		require.Equal(t, 405, w.Code, path)
		allowed := strings.Split(strings.ToLower(w.Header().Get("Allow")), ", ")
		allowed = slices.DeleteFunc(allowed, func(method string) bool { return method == "head" })
		require.Len(t, operations, len(allowed), path)
		for _, method := range allowed {
			require.Contains(t, operations, method, path)
		}
	}
	require.ElementsMatch(t, h.Routes("/api/mcp"), routes)
}

// The document has exactly the codes that errors.go has.
func TestOpenAPIHasEveryErrorCode(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Code") {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			codes = append(codes, code)
		}
		return true
	})
	h, _ := newFake(t, &fake{})
	require.ElementsMatch(t, codes, openAPIOf(t, h, "/api/mcp/openapi.json").Components.Schemas.Error.Properties.Code.Enum)
}
