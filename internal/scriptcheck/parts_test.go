package scriptcheck_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ci runs .ci/run with a make that runs nothing, and returns the targets that
// it was called with, and the exit status.
func ci(t *testing.T, parts ...string) (targets []string, status int) {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(repository, ".ci", "run"))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), script, parts...)
	cmd.Env = []string{"PATH=" + string(newMachine(t, map[string]string{"make": "make"}))}
	out, _ := cmd.CombinedOutput()
	for _, line := range lines(string(out)) {
		if target, ok := strings.CutPrefix(line, "CALLED make "); ok {
			targets = append(targets, target)
		}
	}
	return targets, cmd.ProcessState.ExitCode()
}

// The workflow has one job for each part of .ci/run. Without an argument .ci/run runs
// the targets of all parts once; `make test` stands for its own.
func TestParts(t *testing.T) {
	t.Parallel()
	workflow, makefile := read(t, ".github/workflows/ci.yml"), read(t, "Makefile")
	require.Contains(t, workflow, "- run: .ci/run ${{ matrix.part }}\n")
	jobs := strings.Split(submatch(t, workflow, `(?m)^ +part: \[(.*)\]$`), ", ")
	var targets []string
	for _, part := range jobs {
		called, _ := ci(t, part)
		require.NotEmpty(t, called, part)
		for _, target := range called {
			require.NotContains(t, targets, target, "a target of two parts")
			require.Contains(t, makefile, "\n"+target+": ##", "the target of a part")
			targets = append(targets, target)
		}
	}
	for _, match := range regexp.MustCompile(`\{ part: (\w+),`).FindAllStringSubmatch(workflow, -1) {
		require.Contains(t, jobs, match[1])
	}

	all, _ := ci(t)
	require.Equal(t, "chaos", all[len(all)-1], "the made-up failure ends the run")
	test := slices.Index(all, "test")
	require.NotEqual(t, -1, test)
	tests := strings.Fields(submatch(t, makefile, `(?m)^test: .*(?:\n\t@scripts.*)*\n\t@\$\(MAKE\) --no-print-directory (.*)$`))
	require.ElementsMatch(t, targets, slices.Replace(all, test, test+1, tests...))
}

func TestParts_Arguments(t *testing.T) {
	t.Parallel()
	targets, status := ci(t, "browser", "interop")
	require.Equal(t, []string{"e2e", "conformance", "interop"}, targets)
	require.Zero(t, status)

	targets, status = ci(t, "chaos", "browser")
	require.Equal(t, []string{"chaos"}, targets, "the first failure ends the run")
	require.NotZero(t, status)

	targets, status = ci(t, "browser", "e2e")
	require.Empty(t, targets, "no part is named e2e")
	require.NotZero(t, status)
}
