package docscheck_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	named    = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	path     = regexp.MustCompile("`((?:[a-z]+/)+[a-z_]+\\.go|internal/[a-z]+)`")
)

// tests returns the names of all tests and fuzz targets of the module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(repository, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && file != repository && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules") {
			return filepath.SkipDir // what is there may come and go meanwhile
		}
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		source, err := os.ReadFile(file)
		for _, match := range declared.FindAllSubmatch(source, -1) {
			names[string(match[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return names
}

// Every test and every file that a document names is there.
func TestEvidenceExists(t *testing.T) {
	t.Parallel()
	known := tests(t)
	for _, name := range documents(t) {
		document := read(t, name)
		for _, match := range named.FindAllStringSubmatch(document, -1) {
			require.True(t, known[match[1]], "%s names %s, which does not exist", name, match[1])
		}
		for _, match := range path.FindAllStringSubmatch(document, -1) {
			_, err := os.Stat(filepath.Join(repository, match[1]))
			require.NoError(t, err, "%s names %s", name, match[1])
		}
	}
}

// Every attack, every requirement and every failure has a test beside it.
func TestEvidenceIsInEveryRow(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]int{"SECURITY.md": 41, "docs/pains.md": 25} {
		rows := evidenceRows(t, name)
		require.GreaterOrEqual(t, len(rows), least, name)
		for _, cells := range rows {
			require.Regexp(t, named, cells[len(cells)-1], "%s: %v", name, cells)
		}
	}
}

// docs/pains.md has the failures 1 to 25, each with what happened, where, and
// what the library does.
func TestPainsAreComplete(t *testing.T) {
	t.Parallel()
	for i, cells := range evidenceRows(t, "docs/pains.md") {
		require.Len(t, cells, 5)
		require.Equal(t, strconv.Itoa(i+1), cells[0])
		require.Regexp(t, `^([\w./-]+#\d+ ?)+$`, cells[2], "row %d: project#number", i+1)
		require.NotEmpty(t, cells[1], "row %d", i+1)
		require.NotEmpty(t, cells[3], "row %d", i+1)
	}
}

// evidenceRows returns the cells of all rows of tables with a column "shown by".
func evidenceRows(t *testing.T, name string) (rows [][]string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(read(t, name)) {
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case strings.Contains(line, "| shown by |"):
			inside = true
		case inside && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.Trim(line, "|\n "), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}
