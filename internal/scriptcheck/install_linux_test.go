package scriptcheck_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// need returns the command scripts/need redis-server on the machine.
func (m machine) need(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(repository, "scripts", "need"))
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), script, "redis-server")
	cmd.Env = append(env, "PATH="+string(m))
	return cmd
}

const (
	updateCommand  = "apt-get update -qq"
	installCommand = "env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server"
	installCalled  = "CALLED apt-get install -y -qq --no-install-recommends redis-server"
)

// Without a terminal the script asks nothing, and shows each command before it
// runs the first.
func TestNeed_SaysWhatItInstalls(t *testing.T) {
	t.Parallel()
	debian := map[string]string{"apt-get": "manager", "sudo": "sudo", "id": "user"}
	for name, tc := range map[string]struct {
		stubs map[string]string
		env   []string
		lines []string // of the output, in this order
		fails bool
	}{
		"nothing is missing": {stubs: map[string]string{"redis-server": "user", "apt-get": "manager"}},
		"root calls no sudo": {
			stubs: map[string]string{"apt-get": "manager", "sudo": "sudo", "id": "root"},
			lines: []string{
				"Not installed: redis-server. These commands install it:", "  " + updateCommand, "  " + installCommand,
				"CALLED apt-get update -qq", installCalled,
			},
		},
		"a user calls sudo": {
			stubs: debian,
			lines: []string{
				"Not installed: redis-server. These commands install it:", "  sudo " + updateCommand, "  sudo " + installCommand,
				"CALLED sudo " + updateCommand, "CALLED " + updateCommand, "CALLED sudo " + installCommand, installCalled,
			},
		},
		"macOS": {
			stubs: map[string]string{"brew": "manager", "id": "user"},
			lines: []string{"Not installed: redis-server. These commands install it:", "  brew install redis", "CALLED brew install redis"},
		},
		"no package manager": {
			stubs: map[string]string{"sudo": "sudo", "id": "user"},
			lines: []string{"Not installed: redis-server. Neither apt-get nor brew is here to install them: please install them by hand."},
			fails: true,
		},
		"refused": {
			stubs: debian, env: []string{"MCPOAUTH_INSTALL=no"},
			lines: []string{
				"Not installed: redis-server. These commands install it:", "  sudo " + updateCommand, "  sudo " + installCommand,
				"Nothing was installed. Run the commands by hand, then try again.",
			},
			fails: true,
		},
		"refused in CI": {
			stubs: debian, env: []string{"MCPOAUTH_INSTALL=no", "CI=true"},
			lines: []string{
				"Not installed: redis-server. These commands install it:", "  sudo " + updateCommand, "  sudo " + installCommand,
				"Nothing was installed. Run the commands by hand, then try again.",
			},
			fails: true,
		},
		"the package manager installs something else": {
			stubs: map[string]string{"brew": "broken", "id": "user"},
			lines: []string{
				"Not installed: redis-server. These commands install it:", "  brew install redis", "CALLED brew install redis",
				"redis-server is still missing, or not in PATH: please install it by hand.",
			},
			fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := newMachine(t, tc.stubs).need(t, tc.env...).CombinedOutput()
			require.Equal(t, tc.fails, err != nil, "%v: %s", err, out)
			require.Equal(t, tc.lines, lines(string(out)))
		})
	}
}

// On a terminal the script waits for an answer, and has called nothing until then.
func TestNeed_AsksOnTerminal(t *testing.T) {
	t.Parallel()
	const question = "Run them now? [Y/n] "
	for name, tc := range map[string]struct {
		answer    string
		env       []string
		asks      bool
		installed bool
	}{
		"Enter":                {answer: "\n", asks: true, installed: true},
		"y":                    {answer: "y\n", asks: true, installed: true},
		"Yes":                  {answer: "Yes\n", asks: true, installed: true},
		"n":                    {answer: "n\n", asks: true},
		"something else":       {answer: "what?\n", asks: true},
		"end of the input":     {answer: "\x04", asks: true},
		"CI":                   {env: []string{"CI=true"}, installed: true},
		"the variable says so": {env: []string{"MCPOAUTH_INSTALL=yes"}, installed: true},
		"the variable refuses": {env: []string{"MCPOAUTH_INSTALL=no"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, screen := terminal(t)
			cmd := newMachine(t, map[string]string{"apt-get": "manager", "sudo": "sudo", "id": "user"}).need(t, tc.env...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
			require.NoError(t, cmd.Start())
			require.NoError(t, screen.Close())
			require.NoError(t, user.SetReadDeadline(time.Now().Add(2*time.Minute)))

			var shown string
			buffer := make([]byte, 4096)
			for {
				n, err := user.Read(buffer)
				shown += string(buffer[:n])
				if err != nil {
					require.ErrorContains(t, err, "input/output error") // the script has ended
					break
				}
				if tc.asks && strings.HasSuffix(shown, question) {
					require.NotContains(t, shown, "CALLED")
					require.Contains(t, shown, "  sudo "+installCommand)
					_, err = io.WriteString(user, tc.answer)
					require.NoError(t, err)
				}
			}
			require.Equal(t, tc.installed, cmd.Wait() == nil, shown)
			require.Equal(t, tc.asks, strings.Contains(shown, question), shown)
			require.Equal(t, tc.installed, strings.Contains(shown, installCalled), shown)
			require.Equal(t, tc.installed, strings.Contains(shown, "CALLED sudo"), shown)
			require.Equal(t, !tc.installed, strings.Contains(shown, "Nothing was installed."), shown)
		})
	}
}

// Only scripts/install runs a package manager.
func TestOnlyInstallInstalls(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(repository, "scripts", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range append(paths, filepath.Join(repository, "Makefile"), filepath.Join(repository, ".ci", "run")) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(strings.TrimLeft(line, "\t @-"))
			if len(words) > 0 {
				require.NotContains(t, []string{"sudo", "$sudo", "apt-get", "brew", "npm", "npx"}, words[0], "%s: %s", path, line)
			}
		}
	}
}
