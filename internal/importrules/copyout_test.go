package importrules_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExamplesCanBeCopied builds examples, with their tests, in a module of
// their own: they use public packages only.
func TestExamplesCanBeCopied(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	mod = regexp.MustCompile(`(?m)^module .*$`).ReplaceAll(mod, []byte("module example.com/copy"))
	mod = append(mod, "\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+root+"\n"...)
	for _, name := range []string{"agent", "cli", "customstore"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(root, "examples", name))))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sum, 0o600))
			for _, args := range [][]string{{"build", "-o", os.DevNull, "."}, {"vet", "."}} {
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
				message, err := cmd.CombinedOutput()
				require.NoError(t, err, "go %s: %s", args[0], message)
			}
		})
	}
}
