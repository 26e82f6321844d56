package scriptcheck_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A workflow may only read, its jobs end, actions have an exact version, and what
// it runs exists.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(repository, ".github", "workflows", "*"))
	require.NoError(t, err)
	require.Len(t, paths, 2)
	makefile := read(t, "Makefile")
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			workflow := read(t, filepath.Join(".github", "workflows", filepath.Base(path)))
			require.Contains(t, workflow, "\npermissions:\n  contents: read\n")
			require.Equal(t, 1, strings.Count(workflow, "permissions:"))
			require.Contains(t, workflow, "\nconcurrency:\n  group: ")
			require.Equal(t, strings.Count(workflow, "runs-on:"), strings.Count(workflow, "timeout-minutes:"))
			for _, match := range regexp.MustCompile(`uses: (.*)`).FindAllStringSubmatch(workflow, -1) {
				require.Regexp(t, `^actions/[a-z-]+@v\d+\.\d+\.\d+$`, match[1])
			}
			for _, match := range regexp.MustCompile(`, make: (\w+)`).FindAllStringSubmatch(workflow, -1) {
				require.Contains(t, makefile, "\n"+match[1]+": ##")
			}
		})
	}
}

// CI runs with the oldest Go version that go.mod allows.
func TestGoVersion(t *testing.T) {
	t.Parallel()
	version := submatch(t, read(t, "go.mod"), `(?m)^go (\d+\.\d+)`)
	require.Contains(t, read(t, ".github/workflows/ci.yml"), "go: ["+version+".x]")
}
