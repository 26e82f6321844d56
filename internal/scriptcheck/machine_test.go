// Package scriptcheck_test holds the scripts to what they promise: they announce
// what they install and ask first, and the hosted workflows run the parts of
// .ci/run.
package scriptcheck_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is the root directory, seen from here.
const repository = "../.."

// read returns a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, path))
	require.NoError(t, err)
	return string(data)
}

// submatch returns what the group of a pattern matches.
func submatch(t *testing.T, text, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, match, pattern)
	return match[1]
}

// lines returns the lines of a text.
func lines(text string) []string {
	if text = strings.TrimSuffix(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// machine is a directory of programs that takes the place of PATH.
type machine string

// newMachine returns a machine with what scripts always find, and with stubs: names of
// programs, and what they are in testdata. A stub writes its calls to the script's own
// output, so that their order is seen.
func newMachine(t *testing.T, stubs map[string]string) machine {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "bash", "env", "dirname", "basename", "cp", "ls"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	for name, stub := range stubs {
		path, err := filepath.Abs(filepath.Join("testdata", stub))
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(dir, name)))
	}
	return machine(dir)
}
