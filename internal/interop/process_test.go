package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/testlog"
)

// startTimeout bounds the start of a server on a machine that is busy.
const startTimeout = time.Minute

// process is a running program.
type process struct {
	address string // the first group of what run waited for
	output  *testlog.Buffer
	stop    func()
}

// run starts a process, and waits until its output matches listening. The test
// stops the process and its children in the end, and shows the output if the
// test failed.
func run(t *testing.T, cmd *exec.Cmd, listening *regexp.Regexp) *process {
	t.Helper()
	output := new(testlog.Buffer)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	p := &process{output: output, stop: func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // workerd is a child of Node.js
		<-exited
	}}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), output)
		}
	})
	deadline := time.After(startTimeout)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if match := listening.FindStringSubmatch(output.String()); match != nil {
			p.address = match[1]
			return p
		}
		select {
		case <-poll.C:
		case <-exited:
			require.FailNow(t, "the process ended", "%s", output)
		case <-deadline:
			require.FailNow(t, "the process does not listen", "%s", output)
		}
	}
}

var nodeListening = regexp.MustCompile(`listening on (http://\S+)`)

// node runs one of the programs in stacks behind a wire. The program keeps
// everything in memory: restart makes it forget.
func node(t *testing.T, w *wire, program string, env ...string) (restart func()) {
	t.Helper()
	start := func() *process {
		cmd := exec.Command(filepath.Join("node_modules", "node", "bin", "node"), filepath.Join("stacks", program))
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
		p := run(t, cmd, nodeListening)
		w.forward(p.address)
		return p
	}
	running := start()
	return func() {
		running.stop()
		running = start()
	}
}

var binaries string // the directory of the programs that TestMain builds

// TestMain builds what the tests run, and prints a line for each stack.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mcpoauth-interop-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries = dir
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), ".")
		build.Dir = filepath.Join("..", "..", "examples", "server")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build examples/server: %v\n%s", err, out)
			return 1
		}
		code := m.Run()
		printSummary()
		return code
	}())
}

// npmVersion returns the version of an installed package.
func npmVersion(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("node_modules", filepath.FromSlash(name), "package.json"))
	require.NoError(t, err, "run scripts/interop")
	var manifest struct{ Version string }
	require.NoError(t, json.Unmarshal(data, &manifest))
	return manifest.Version
}

// moduleVersion returns the version of a module that a go.mod file requires.
func moduleVersion(t *testing.T, file, path string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	match := regexp.MustCompile(regexp.QuoteMeta(path) + ` (v\S+)`).FindSubmatch(data)
	require.NotNil(t, match)
	return string(match[1])
}
