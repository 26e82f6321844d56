package docscheck_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	declaredTests = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	named    = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	path     = regexp.MustCompile("`((?:[a-z]+/)+[a-z_]+\\.go|internal/[a-z]+)`")
)

// tests returns the names of all tests and fuzz targets of the module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		source, err := os.ReadFile(file)
		for _, match := range declaredTests.FindAllSubmatch(source, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return names
}

// Every test and every file that SECURITY.md names is there.
func TestSecurityNamesWhatExists(t *testing.T) {
	t.Parallel()
	document := read(t, "SECURITY.md")
	known := tests(t)
	matches := named.FindAllStringSubmatch(document, -1)
	require.Greater(t, len(matches), 50, "the document names its tests")
	for _, match := range matches {
		require.True(t, known[match[1]], "SECURITY.md names %s, which does not exist", match[1])
	}
	for _, match := range path.FindAllStringSubmatch(document, -1) {
		_, err := os.Stat(filepath.Join(root, match[1]))
		require.NoError(t, err, "SECURITY.md names %s", match[1])
	}
}

// Every attack and every requirement of SECURITY.md has a test beside it.
func TestSecurityRowsNameATest(t *testing.T) {
	t.Parallel()
	document := read(t, "SECURITY.md")
	rows, evidence := 0, false
	for line := range strings.Lines(document) {
		switch {
		case !strings.HasPrefix(line, "|"):
			evidence = false
		case strings.Contains(line, "| shown by |"):
			evidence = true
		case evidence && !strings.HasPrefix(line, "|---"):
			rows++
			require.Regexp(t, named, line[strings.LastIndex(strings.TrimRight(line, "|\n "), "|"):])
		}
	}
	require.Greater(t, rows, 40)
}
