package redistest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/ports"
)

// ErrMissing is returned when there is no redis-server in PATH.
var ErrMissing = errors.New("redistest: no redis-server in PATH; install it with: " +
	"apt-get install redis-server (Debian, Ubuntu), apk add redis (Alpine) or brew install redis (macOS)")

const (
	startTimeout  = time.Minute
	startAttempts = 5
)

// Options describe a server. The zero value is one without password, TLS and
// persistence: what it held is gone when it stops.
type Options struct {
	// Persist makes every write durable before it is answered, so that a
	// killed server restarts with all its data.
	Persist bool
	// Password is required of the default user. Defaults to none.
	Password string
	// Users are lines of an ACL file, such as
	// "user app on >secret ~app:* +@all". Defaults to none.
	Users []string
	// TLS serves TLS only, with a certificate of a new authority; see
	// [Server.TLSConfig].
	TLS bool
	// Config are further lines of redis.conf, such as "maxmemory 1mb".
	Config []string
}

// Server is a redis-server process on a port that stays the same over restarts.
type Server struct {
	opts   Options
	dir    string
	port   int
	isRole string // "sentinel", or empty
	tls    *tls.Config

	mu   sync.Mutex
	proc *process // nil while it is not running
	done bool     // stopped for good, and the directory removed
}

// Start starts a server and waits until it answers.
func Start(opts Options) (*Server, error) { return start(opts, "") }

func start(opts Options, role string) (*Server, error) {
	if _, err := binary(); err != nil {
		return nil, err
	}
	opts.Users, opts.Config = slices.Clone(opts.Users), slices.Clone(opts.Config)
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, dir: dir, isRole: role}
	// A port that was free may be taken by the time the server binds it.
	for range startAttempts {
		if s.port, err = ports.Free(); err == nil {
			if err = s.configure(); err == nil {
				err = s.Restart()
			}
		}
		if err == nil {
			return s, nil
		}
	}
	s.Stop()
	return nil, err
}

// binary finds redis-server.
func binary() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", ErrMissing
	}
	return path, nil
}

// configure writes redis.conf and what it refers to.
func (s *Server) configure() error {
	conf := []string{"bind 127.0.0.1", "dir " + s.dir, "logfile " + s.logFile(), "daemonize no"}
	if s.opts.TLS {
		config, lines, err := makeTLS(s.dir)
		if err != nil {
			return err
		}
		s.tls = config
		conf = append(conf, lines...)
		conf = append(conf, "port 0", "tls-port "+strconv.Itoa(s.port))
	} else {
		conf = append(conf, "port "+strconv.Itoa(s.port))
	}
	if s.isRole == "" {
		conf = append(conf, `save ""`, "databases 16", "enable-debug-command local")
	}
	if s.opts.Persist {
		conf = append(conf, "appendonly yes", "appendfsync always")
	}
	switch {
	case len(s.opts.Users) > 0:
		users := slices.Clone(s.opts.Users)
		if s.opts.Password != "" {
			users = append(users, "user default on >"+s.opts.Password+" ~* &* +@all")
		}
		aclFile := filepath.Join(s.dir, "users.acl")
		if err := os.WriteFile(aclFile, []byte(strings.Join(users, "\n")+"\n"), 0o600); err != nil {
			return err
		}
		conf = append(conf, "aclfile "+aclFile)
	case s.opts.Password != "":
		conf = append(conf, "requirepass "+s.opts.Password)
	}
	conf = append(conf, s.opts.Config...)
	return os.WriteFile(s.confFile(), []byte(strings.Join(conf, "\n")+"\n"), 0o600)
}

func (s *Server) confFile() string { return filepath.Join(s.dir, "redis.conf") }
func (s *Server) logFile() string  { return filepath.Join(s.dir, "redis.log") }

// Addr is the host and port to connect to.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is a redis:// or rediss:// URL of the server, with the default user's
// password.
func (s *Server) URL() string { return s.URLAt(s.Addr()) }

// URLAt is [Server.URL] with another address, such as that of a [Proxy].
func (s *Server) URLAt(addr string) string {
	u := url.URL{Scheme: "redis", Host: addr}
	if s.opts.TLS {
		u.Scheme = "rediss"
	}
	if s.opts.Password != "" {
		u.User = url.UserPassword("", s.opts.Password)
	}
	return u.String()
}

// TLSConfig trusts the server's certificate. It is nil without Options.TLS.
func (s *Server) TLSConfig() *tls.Config {
	if s.tls == nil {
		return nil
	}
	return s.tls.Clone()
}

// Restart starts the server on its port, stopping it first if it runs. With
// Options.Persist it has all its data; without, it is empty.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restart()
}

func (s *Server) restart() error {
	if s.done {
		return errors.New("redistest: the server was stopped for good")
	}
	s.end(false)
	path, err := binary()
	if err != nil {
		return err
	}
	args := []string{s.confFile()}
	if s.isRole == "sentinel" {
		args = append(args, "--sentinel")
	}
	proc, err := startProcess(path, args)
	if err != nil {
		return err
	}
	s.proc = proc
	if err := s.waitReady(proc); err != nil {
		s.end(true)
		return err
	}
	return nil
}

// RestartEmpty is [Server.Restart] after removing the server's data.
func (s *Server) RestartEmpty() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(true)
	for _, name := range []string{"appendonlydir", "dump.rdb"} {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return s.restart()
}

// waitReady waits until the server answers and has loaded its data.
func (s *Server) waitReady(proc *process) error {
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.ready(proc)
		if err == nil {
			return nil
		}
		if proc.ended() || time.Now().After(deadline) {
			return fmt.Errorf("redistest: redis-server does not come up: %w\n%s", err, s.logTail())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ready returns nil if the server answers, and not another one on its port.
func (s *Server) ready(proc *process) error {
	if _, err := s.Do("PING"); err != nil {
		return err
	}
	info, err := s.Info("server")
	if err == nil && info["process_id"] != strconv.Itoa(proc.p.Pid) {
		err = errors.New("another server is on the port")
	}
	return err
}

func (s *Server) logTail() string {
	log, _ := os.ReadFile(s.logFile())
	if len(log) > 2000 {
		log = log[len(log)-2000:]
	}
	return string(log)
}

// Kill ends the server at once, as a crash does (SIGKILL), and waits until it
// is gone. [Server.Restart] starts it again.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(true)
}

// Shutdown ends the server in good order (SIGTERM). [Server.Restart] starts it
// again.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(false)
}

// end ends the process, if there is one. The caller holds mu.
func (s *Server) end(kill bool) {
	if s.proc != nil {
		s.proc.end(kill)
		s.proc = nil
	}
}

// Pause stops the server from running (SIGSTOP): its connections stay open and
// nothing is answered until [Server.Resume].
func (s *Server) Pause() error { return s.signal((*process).pause) }

// Resume lets a paused server run on (SIGCONT).
func (s *Server) Resume() error { return s.signal((*process).resume) }

func (s *Server) signal(send func(*process) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errors.New("redistest: the server is not running")
	}
	return send(s.proc)
}

// Stop kills the server and removes its files. It cannot be started again.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(true)
	s.done = true
	_ = os.RemoveAll(s.dir)
}
