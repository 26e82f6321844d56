//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/ports"
)

// ErrMissing is returned when there is no PostgreSQL.
var ErrMissing = errors.New("pgtest: no PostgreSQL found; install it with: " +
	"apt-get install postgresql (Debian, Ubuntu), apk add postgresql (Alpine) or brew install postgresql (macOS)")

const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// Options describe a server.
type Options struct {
	// Durable waits for the disk with each commit, as production does. Without
	// it the data survive the server's death, but not the machine's.
	Durable bool
	// Config are further lines of postgresql.conf, such as
	// "max_connections = 20".
	Config []string
}

// Server is a PostgreSQL server on a port that stays the same over restarts.
type Server struct {
	bin  string
	dir  string
	port int
	who  *syscall.Credential // nil for the user of this process

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil while it is not running
	done chan struct{} // closed when cmd has ended
}

// Start starts a server and waits until it answers.
func Start(opts Options) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if err = s.create(opts); err == nil {
		err = s.Restart()
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// programs returns the directory of PostgreSQL's programs, the newest if there
// are several.
func programs() (dir string, err error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the others are beside the real one
		return filepath.Dir(path), err
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrMissing
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return majorOf(a) - majorOf(b) })), nil
}

func majorOf(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// create makes the files of a server.
func (s *Server) create(opts Options) error {
	if os.Geteuid() == 0 {
		account, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(account.Uid)
		gid, _ := strconv.Atoi(account.Gid)
		s.who = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	initdb := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w\n%s", err, out)
	}
	var err error
	if s.port, err = ports.Free(); err != nil {
		return err
	}

	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer conf.Close()
	fmt.Fprintf(conf, "\nlisten_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\n", s.port)
	if !opts.Durable {
		fmt.Fprintln(conf, "fsync = off")
	}
	for _, line := range opts.Config {
		fmt.Fprintln(conf, line)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command runs one of PostgreSQL's programs.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = attributes(s.who)
	return cmd
}

// URL is a postgres:// URL of the server's one database.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Restart starts the server on its port with all its data, stopping it in good
// order first if it runs.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGINT) // "fast": sessions are ended
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	started, done := make(chan error, 1), make(chan struct{})
	cmd := s.command("postgres", "-D", s.data())
	cmd.Stderr = log
	go func() {
		// The kernel ties the server's life to the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	return s.waitReady()
}

func (s *Server) waitReady() error {
	deadline := time.Now().Add(startTimeout)
	for {
		ready := s.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port))
		if ready.Run() == nil {
			return nil
		}
		select {
		case <-s.done:
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("pgtest: PostgreSQL does not come up:\n%s", text[max(0, len(text)-2000):])
	}
}

// Kill ends the server at once: what it was doing is cut off, and its next start
// is a recovery. [Server.Restart] starts it again.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGQUIT)
}

// Shutdown ends the server in good order. [Server.Restart] starts it again.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGINT)
}

// Stop ends the server and removes its files. It cannot be started again.
func (s *Server) Stop() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// end ends the server, if it runs. The caller holds mu.
func (s *Server) end(signal os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.done:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
}
