package docscheck_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hardPhrase matches the phrases that CONTRIBUTING.md's "Plain English" rules out,
// also across a line break.
var hardPhrase = regexp.MustCompile(`(?i)\b(whoever|nobody|somebody|tells\s+whether|as\s+good\s+as|those\s+(that|who))\b`)

// commentMark matches what begins a line of a comment or of a quotation.
var commentMark = regexp.MustCompile(`(?m)^[ \t]*(//|\*|#|>)+[ \t]*`)

// hardPhrases returns the phrases of a text that CONTRIBUTING.md rules out.
func hardPhrases(text string) (found []string) {
	text = strings.ReplaceAll(text, "http.NoBody", "")
	for _, phrase := range hardPhrase.FindAllString(commentMark.ReplaceAllString(text, ""), -1) {
		found = append(found, strings.Join(strings.Fields(phrase), " "))
	}
	return found
}

// goProse returns the comments of a Go file, and its string literals unless the
// file is a test, whose literals are data.
func goProse(t *testing.T, path, source string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, group := range file.Comments {
		var text strings.Builder
		for _, comment := range group.List {
			text.WriteString(comment.Text + "\n")
		}
		texts = append(texts, text.String())
	}
	if strings.HasSuffix(path, "_test.go") {
		return texts
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			texts = append(texts, literal.Value)
		}
		return true
	})
	return texts
}

// TestPlainEnglish reads all comments, documents and messages of the repository.
func TestPlainEnglish(t *testing.T) {
	t.Parallel()
	read, skipped := 0, []string{".git", ".tools", "node_modules", "results", "testdata"}
	require.NoError(t, filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(skipped, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil || bytes.IndexByte(source, 0) >= 0 { // a picture or a program
			return err
		}
		relative, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		read++
		texts := []string{string(source)}
		if filepath.Ext(path) == ".go" {
			texts = goProse(t, relative, texts[0])
		}
		for _, text := range texts {
			for _, phrase := range hardPhrases(text) {
				t.Errorf("%s: %q: say who does what, with a noun (CONTRIBUTING.md, Plain English): %.200q", relative, phrase, text)
			}
		}
		return nil
	}))
	require.Greater(t, read, 300)
}

func TestHardPhrases(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"plain":                {"ready reports whether the store answers", nil},
		"a pronoun":            {"Whoever asks, nobody answers somebody's call.", []string{"Whoever", "nobody", "somebody"}},
		"across lines, Go":     {"// It returns those\n// that are open.", []string{"those that"}},
		"across lines, JS":     {" * as good\n * as new", []string{"as good as"}},
		"across lines, script": {"# tells\n# whether", []string{"tells whether"}},
		"people":               {"for those who wait", []string{"those who"}},
		"a name of net/http":   {"`http.NoBody`", nil},
		"part of a word":       {"whosoever", nil},
	} {
		require.Equal(t, c.want, hardPhrases(c.text), name)
	}
}
