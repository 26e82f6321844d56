// Package importrules_test keeps the arrows between the packages: httpapi →
// session → oauthclient, session → store, and no host pays for a backend that
// it does not import.
package importrules_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/mcpoauth/mcpoauth"

// TestImports lists, for each public package, which packages of this module and
// which other modules it may depend on, directly or not, tests aside.
func TestImports(t *testing.T) {
	t.Parallel()
	sdk := []string{"github.com/modelcontextprotocol/go-sdk", "golang.org/x/oauth2", "golang.org/x/sync", "golang.org/x/net", "code.dny.dev/ssrf", "github.com/go-jose/go-jose"}
	rules := []struct {
		pkg     string
		own     []string
		modules []string
	}{
		{"internal/wire", nil, []string{"github.com/modelcontextprotocol/go-sdk", "golang.org/x/oauth2", "golang.org/x/sync"}},
		{"internal/members", []string{"internal/wire"}, []string{"github.com/modelcontextprotocol/go-sdk", "golang.org/x/oauth2", "golang.org/x/sync"}},
		{"internal/netguard", nil, []string{"code.dny.dev/ssrf", "golang.org/x/net"}},
		{"oauthclient", []string{"internal/members", "internal/wire", "internal/netguard"}, sdk},
		{"oauthclient/oauthtest", []string{"internal/authtest", "internal/authtest/wire", "internal/mcptest", "internal/testclock"}, sdk},
		{"store", nil, nil},
		{"store/internal/watch", nil, nil},
		{"store/memstore", []string{"store", "store/internal/watch"}, nil},
		{"store/storetest", []string{"store"}, []string{"github.com/stretchr/testify"}},
		{"store/internal/redis", []string{"store", "store/internal/watch"}, []string{"github.com/redis/rueidis"}},
		{"store/redisstore", []string{"store", "store/internal/redis", "store/internal/watch"}, []string{"github.com/redis/rueidis"}},
		{"store/sqlstore", []string{"store"}, nil},
		{"store/hybridstore", []string{"store", "store/internal/redis", "store/internal/watch", "store/memstore", "store/redisstore"}, []string{"github.com/redis/rueidis"}},
		{"session", []string{"oauthclient", "internal/members", "internal/wire", "internal/netguard", "store"}, sdk},
		{"httpapi", []string{"session", "oauthclient", "internal/members", "internal/wire", "internal/netguard", "store"}, sdk},
		{"httpapi/httpapitest", []string{
			"httpapi", "session", "oauthclient", "internal/members", "internal/wire", "internal/netguard", "store", "store/memstore", "store/internal/watch",
			"oauthclient/oauthtest", "internal/authtest", "internal/authtest/wire", "internal/mcptest", "internal/testclock",
		}, append(slices.Clone(sdk), "github.com/stretchr/testify")},
	}
	// What the allowed modules pull in themselves.
	transitive := []string{
		"github.com/google/jsonschema-go", "github.com/segmentio/", "github.com/yosida95/uritemplate", "golang.org/x/sys", "golang.org/x/time",
		"golang.org/x/text", "golang.org/x/tools", "github.com/davecgh/", "github.com/pmezard/", "gopkg.in/yaml", "go.yaml.in/yaml", "github.com/golang-jwt/jwt",
	}
	for _, rule := range rules {
		t.Run(rule.pkg, func(t *testing.T) {
			t.Parallel()
			for _, dep := range dependencies(t, rule.pkg) {
				if own, ok := strings.CutPrefix(dep, module+"/"); ok {
					require.True(t, own == rule.pkg || slices.Contains(rule.own, own), "%s must not import %s", rule.pkg, own)
					continue
				}
				allowed := slices.ContainsFunc(slices.Concat(rule.modules, transitive), func(prefix string) bool { return strings.HasPrefix(dep, prefix) })
				if len(rule.modules) == 0 {
					allowed = false
				}
				require.True(t, allowed, "%s must not depend on %s", rule.pkg, dep)
			}
		})
	}
}

// TestNoKitInProduction keeps the kits for tests, and what they need, out of the
// programs of hosts.
func TestNoKitInProduction(t *testing.T) {
	t.Parallel()
	list := func(args ...string) []string {
		out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	isKit := func(pkg string) bool { return strings.HasPrefix(pkg, module) && strings.HasSuffix(pkg, "test") }
	packages := list(module+"/oauthclient/...", module+"/session/...", module+"/httpapi/...", module+"/store/...")
	packages = slices.DeleteFunc(packages, isKit)
	require.Contains(t, packages, module+"/httpapi")
	for _, dep := range list(append([]string{"-deps"}, packages...)...) {
		require.False(t, isKit(dep) || dep == "testing" || dep == "net/http/httptest" || strings.HasPrefix(dep, "github.com/stretchr/testify"), dep)
	}
}

// dependencies lists what a package needs to build, the standard library aside.
func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/"+pkg).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}

// TestWorkspace keeps go.work complete: in a module that it lacks, no go command
// would work. A module without packages, which pins a program, stays out of it,
// because the workspace would take over its versions.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	const root = "../.."
	work, err := os.ReadFile(filepath.Join(root, "go.work"))
	require.NoError(t, err)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "results") {
			return fs.SkipDir
		}
		if dir, _ := filepath.Rel(root, filepath.Dir(path)); entry.Name() == "go.mod" && dir != "." {
			sources, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.go"))
			require.NoError(t, err)
			require.Equal(t, len(sources) > 0, strings.Contains(string(work), "\t./"+filepath.ToSlash(dir)+"\n"), dir)
		}
		return nil
	})
	require.NoError(t, err)
}
