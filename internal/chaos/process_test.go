package chaos_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// replicaEnv makes this test binary a replica; its value says which.
const replicaEnv = "MCPOAUTH_CHAOS_REPLICA"

// processConfig describes a replica that is a process of its own.
type processConfig struct {
	Name           string // in the header replicaHeader of all it sends
	Backend        string // by its name in backends
	RedisURL       string
	RequestTimeout time.Duration
	LockTTL        time.Duration
	Skew           time.Duration // of its clock
}

// replicaHeader tells servers which process asks them.
const replicaHeader = "X-Replica"

// named adds the name of the process to a request.
type named struct {
	http.RoundTripper
	name string
}

func (n named) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(replicaHeader, n.name)
	return n.RoundTripper.RoundTrip(req)
}

// Unwrap shows the network policy below.
func (n named) Unwrap() http.RoundTripper { return n.RoundTripper }

// change applies the timeouts to a replica that is not a process, so that both
// kinds agree.
func (p processConfig) change(cfg *session.Config) {
	cfg.Client.RequestTimeout, cfg.LockTTL = p.RequestTimeout, p.LockTTL
}

// replicaMain serves until its parent is gone, or kills it.
func replicaMain() int {
	if err := serveReplica(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (p processConfig) store() (store.SessionStore, error) {
	for _, b := range backends {
		if b.name == p.Backend {
			s, _, err := b.open(p.RedisURL, opTimeout)
			return s, err
		}
	}
	return nil, fmt.Errorf("there is no backend %q", p.Backend)
}

func serveReplica() error {
	var p processConfig
	if err := json.Unmarshal([]byte(os.Getenv(replicaEnv)), &p); err != nil {
		return err
	}
	s, err := p.store()
	if err != nil {
		return err
	}
	cfg := session.Config{Store: s, SealKeys: [][]byte{sealKey}}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	cfg.Client.Transport = named{cfg.Client.Transport, p.Name}
	cfg.Now = func() time.Time { return time.Now().Add(p.Skew) }
	p.change(&cfg)
	m, err := session.New(cfg)
	if err != nil {
		return err
	}
	api, err := httpapi.New(m, loadtest.APIConfig())
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		_ = server.Close()
	}()
	fmt.Println("http://" + listener.Addr().String())
	<-failed
	return nil
}

// process is a replica that can be killed.
type process struct {
	*loadtest.Replica
	cmd *exec.Cmd
}

func startProcess(t testing.TB, p processConfig) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	config, err := json.Marshal(p)
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), replicaEnv+"="+string(config))
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe() // closed when this process ends, however it does
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	transport := &http.Transport{}
	proc := &process{Replica: &loadtest.Replica{Name: p.Name, Client: transport}, cmd: cmd}
	t.Cleanup(func() { proc.kill(); transport.CloseIdleConnections() })
	base, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "the replica does not start")
	proc.Base = strings.TrimSpace(base)
	return proc
}

// kill ends the process at once (SIGKILL), and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
