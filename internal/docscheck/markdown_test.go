// Package docscheck_test holds the documentation to the code: every
// configuration field, error code and route is described, nothing is described
// that does not exist, links lead somewhere, Go snippets compile, the doc comment
// of each package fits on a screen, and the commands of the README are run in CI.
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

// repository is the root directory, seen from here.
const repository = "../.."

// documents returns the paths of all Markdown files, relative to repository.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != repository && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "results" || name == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			relative, err := filepath.Rel(repository, path)
			paths = append(paths, relative)
			return err
		}
		return nil
	}))
	require.Contains(t, paths, "README.md")
	return paths
}

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, path))
	require.NoError(t, err)
	return string(data)
}

// block is a fenced block of a document.
type block struct {
	path     string
	line     int // of its first line of content
	language string
	text     string
}

// blocks returns the fenced blocks of a document, and the document without them.
func blocks(t *testing.T, path string) (found []block, prose string) {
	t.Helper()
	var rest strings.Builder
	var open *block
	for i, line := range strings.Split(read(t, path), "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{path: path, line: i + 2, language: fence}
		case isFence:
			found = append(found, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			rest.WriteString(line + "\n")
		}
	}
	require.Nil(t, open, "%s: a block is not closed", path)
	return found, rest.String()
}

var tableRow = regexp.MustCompile(`(?m)^\|(.*)\|$`)

// rows returns the cells of all rows, of all tables in a text, whose first cell
// is a name in code font, and the name in place of that cell.
func rows(text string) (found [][]string) {
	for _, match := range tableRow.FindAllStringSubmatch(text, -1) {
		var cells []string
		for _, cell := range strings.Split(match[1], "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		if name, ok := code(cells[0]); ok {
			found = append(found, append([]string{name}, cells[1:]...))
		}
	}
	return found
}

// code returns what is in code font, if the text is nothing but that.
func code(text string) (content string, ok bool) {
	content, ok = strings.CutPrefix(text, "`")
	if !ok {
		return "", false
	}
	content, ok = strings.CutSuffix(content, "`")
	return content, ok && content != "" && !strings.Contains(content, "`")
}

// sections returns the text below each heading of a level, by heading.
func sections(text, level string) map[string]string {
	found := make(map[string]string)
	heading := ""
	for _, line := range strings.Split(text, "\n") {
		if title, ok := strings.CutPrefix(line, level+" "); ok {
			heading = title
			continue
		}
		if strings.HasPrefix(line, "#") && strings.Index(line, " ") < len(level) {
			heading = "" // of a higher level
		}
		if heading != "" {
			found[heading] += line + "\n"
		}
	}
	return found
}
