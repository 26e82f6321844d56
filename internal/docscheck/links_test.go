package docscheck_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	link       = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// TestLinks follows every relative link, to a file and to a heading in it. It
// does not leave the machine: other links are only parsed.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		_, text := blocks(t, path)
		for _, match := range link.FindAllStringSubmatch(inlineCode.ReplaceAllStringFunc(text, keepLabels), -1) {
			target, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: %s is not a link", path, match[1])
				continue
			}
			if target.Scheme != "" {
				continue
			}
			file := path
			if target.Path != "" {
				file = filepath.Join(filepath.Dir(path), target.Path)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %s leads nowhere", path, match[1])
				continue
			}
			if target.Fragment != "" && !anchors(read(t, file))[target.Fragment] {
				t.Errorf("%s: %s: there is no such heading", path, match[1])
			}
		}
	}
}

// keepLabels blanks code that could be taken for a link, and keeps the rest,
// which may be a link's label.
func keepLabels(code string) string {
	if strings.Contains(code, "](") {
		return ""
	}
	return strings.NewReplacer("[", "", "]", "").Replace(code)
}

// anchors returns the fragments by which the headings of a document are found,
// as GitHub makes them.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		var slug strings.Builder
		for _, r := range strings.ToLower(match[1]) {
			switch {
			case r == ' ':
				slug.WriteRune('-')
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				slug.WriteRune(r)
			}
		}
		found[slug.String()] = true
	}
	return found
}

// TestEverythingIsListed keeps what exists findable: examples from the README,
// pages from the index.
func TestEverythingIsListed(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	require.NoError(t, err)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	readme, index := read(t, "README.md"), read(t, "docs/README.md")
	for _, path := range examples {
		name := filepath.Base(filepath.Dir(path))
		require.True(t, strings.Contains(readme, "[`"+name+"`](examples/"+name+"/main.go)"), "README.md: a row for the example %s is missing", name)
	}
	for _, path := range pages {
		if name := filepath.Base(path); name != "README.md" {
			require.True(t, strings.Contains(index, "]("+name+")"), "docs/README.md: a link to %s is missing", name)
		}
	}
}

// TestJSONIsValid makes sure that what is shown as JSON can be copied.
func TestJSONIsValid(t *testing.T) {
	t.Parallel()
	for _, path := range documents(t) {
		found, _ := blocks(t, path)
		for _, b := range found {
			if b.language == "json" {
				require.True(t, json.Valid([]byte(b.text)), "%s:%d: this is no JSON", b.path, b.line)
			}
		}
	}
}
