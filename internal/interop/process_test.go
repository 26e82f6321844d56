package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startTimeout bounds the start of a server on a machine that is busy.
const startTimeout = time.Minute

// buffer holds the output of a process.
type buffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// run starts a process, and waits until its output matches listening. It
// returns the first group of the match. The test stops the process in the end,
// and shows the output of the process if the test failed.
func run(t *testing.T, cmd *exec.Cmd, listening *regexp.Regexp) (address string, output *buffer) {
	t.Helper()
	output = new(buffer)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), output)
		}
	})
	deadline := time.After(startTimeout)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if match := listening.FindStringSubmatch(output.String()); match != nil {
			return match[1], output
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

// node runs one of the programs in stacks.
func node(t *testing.T, program string, env ...string) (url string) {
	t.Helper()
	cmd := exec.Command(filepath.Join("node_modules", "node", "bin", "node"), filepath.Join("stacks", program))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	url, _ = run(t, cmd, nodeListening)
	return url
}

var serverListening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// exampleServer runs examples/server, as a host that keeps the defaults does.
func exampleServer(t *testing.T) *host {
	t.Helper()
	w := newWire(t)
	cmd := exec.Command(filepath.Join(binaries, "server"))
	cmd.Env = []string{"ADDR=127.0.0.1:0", "PUBLIC_URL=" + w.url, "MCPOAUTH_ALLOW_LOOPBACK=1"}
	address, output := run(t, cmd, serverListening)
	w.forward("http://" + address)
	return newHost(t, w, output)
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
		build := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), "./examples/server")
		build.Dir = filepath.Join("..", "..")
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
