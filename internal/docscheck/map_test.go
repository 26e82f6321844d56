package docscheck_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

var function = regexp.MustCompile("`([A-Za-z]+)`")

// TestMapNamesWhatExists requires that each file of CONTRIBUTING.md's map of the
// code declares the functions that the map names.
func TestMapNamesWhatExists(t *testing.T) {
	t.Parallel()
	steps := rows(sections(read(t, "CONTRIBUTING.md"), "##")["Map of the code"])
	require.Greater(t, len(steps), 40, "five flows")
	for _, row := range steps {
		source := read(t, row[0])
		names := function.FindAllStringSubmatch(row[1], -1)
		require.NotEmpty(t, names, row[0])
		for _, name := range names {
			declared := regexp.MustCompile(`(?m)^func (\([^)]+\) )?` + name[1] + `[\[(]`).MatchString(source)
			require.True(t, declared, "CONTRIBUTING.md: %s has no function %s", row[0], name[1])
		}
	}
}
