package redistest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// patience bounds what happens soon, on a busy machine.
const patience = 30 * time.Second

// do is one command that has to succeed.
func do(t *testing.T, s *redistest.Server, args ...string) any {
	t.Helper()
	answer, err := s.Do(args...)
	require.NoError(t, err)
	return answer
}

func TestRestartKeepsPersistedData(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{Persist: true})
	do(t, s, "SET", "k", "v")
	s.Kill()
	_, err := s.Do("PING")
	require.Error(t, err, "a killed server does not answer")
	require.NoError(t, s.Restart())
	require.Equal(t, "v", do(t, s, "GET", "k"))
	require.NoError(t, s.RestartEmpty())
	require.Nil(t, do(t, s, "GET", "k"))
}

func TestRestartWithoutPersistenceIsEmpty(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{})
	do(t, s, "SET", "k", "v")
	s.Shutdown()
	require.NoError(t, s.Restart())
	require.Nil(t, do(t, s, "GET", "k"))
}

// A server whose port another one has taken does not pass for running.
func TestRestartOnATakenPort(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{})
	s.Kill()
	l, err := net.Listen("tcp", s.Addr())
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 100))
			_, _ = conn.Write([]byte("+PONG\r\n"))
			_ = conn.Close()
		}
	}()
	require.ErrorContains(t, s.Restart(), "another server is on the port")
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{})
	require.NoError(t, s.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := s.Do("PING")
		answered <- err
	}()
	select {
	case err := <-answered:
		require.Fail(t, "a paused server answered", "%v", err)
	case <-time.After(50 * time.Millisecond): // what does not happen takes time to see
	}
	require.NoError(t, s.Resume())
	require.NoError(t, <-answered)
}

// TestKilledWhilePaused would hang if a stopped process could not be killed.
func TestKilledWhilePaused(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{})
	require.NoError(t, s.Pause())
	s.Kill()
	require.Error(t, s.Pause(), "there is nothing to pause any more")
	s.Stop()
	require.Error(t, s.Restart(), "stopped for good")
}

func TestPasswordUsersAndTLS(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{
		Password: "secret",
		TLS:      true,
		Users:    []string{"user app on >word ~app:* +@all"},
	})
	require.Equal(t, "PONG", do(t, s, "PING"))
	users := fmt.Sprint(do(t, s, "ACL", "USERS"))
	require.Contains(t, users, "app")
	require.NotNil(t, s.TLSConfig())
	require.Contains(t, s.URL(), "rediss://:secret@127.0.0.1:")
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, _ = conn.Write([]byte("PING\r\n"))
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "nothing is answered without TLS")
}

func TestCommandStats(t *testing.T) {
	t.Parallel()
	s := redistest.Run(t, redistest.Options{})
	do(t, s, "GET", "k")
	do(t, s, "GET", "k")
	do(t, s, "SET", "k", "v")
	stats, err := s.CommandStats()
	require.NoError(t, err)
	require.Equal(t, redistest.Stats{"get": 2, "set": 1}, stats)
	require.Equal(t, int64(3), stats.Total())
	require.NoError(t, s.ResetStats())
	stats, err = s.CommandStats()
	require.NoError(t, err)
	require.Empty(t, stats)
	memory, err := s.UsedMemory()
	require.NoError(t, err)
	require.Positive(t, memory)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.RunCluster(t, 3)
	require.Len(t, c.Nodes, 3)
	_, err := c.Nodes[0].Do("GET", "k") // slot 7629, the second node's
	require.ErrorContains(t, err, "MOVED")
	require.Nil(t, do(t, c.Nodes[1], "GET", "k"))
	node, err := c.NodeOf("k")
	require.NoError(t, err)
	require.Same(t, c.Nodes[1], node)
	stats, err := c.CommandStats()
	require.NoError(t, err)
	require.Equal(t, int64(1), stats["get"])
	require.NoError(t, c.ResetStats())
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := redistest.RunSentinel(t)
	first, err := s.Primary()
	require.NoError(t, err)
	do(t, first, "SET", "k", "v")
	require.NoError(t, s.Sync())
	require.NoError(t, s.Failover())
	second, err := s.Primary()
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.Equal(t, "v", do(t, second, "GET", "k"))
	require.NoError(t, s.Settle())
	_, err = first.Do("SET", "k", "w")
	require.ErrorContains(t, err, "READONLY")
}

func TestProxy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go echo(l)
	p := redistest.RunProxy(t, l.Addr().String())

	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, ping(conn, patience))
	p.Silence()
	require.ErrorIs(t, ping(conn, 30*time.Millisecond), os.ErrDeadlineExceeded, "a silent network passes nothing on")
	p.Heal()
	require.NoError(t, ping(conn, patience), "what was held back arrives")
	_, err = io.ReadFull(conn, make([]byte, 1)) // and the answer to it
	require.NoError(t, err)

	p.Delay(20 * time.Millisecond)
	start := time.Now()
	require.NoError(t, ping(conn, patience))
	require.GreaterOrEqual(t, time.Since(start), 40*time.Millisecond, "both ways are slow")

	p.Cut()
	require.Error(t, ping(conn, patience), "a cut ends connections")
	if again, err := net.Dial("tcp", p.Addr()); err == nil {
		require.Error(t, ping(again, patience), "a cut refuses connections")
		again.Close()
	}
	p.Heal()
	again, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	defer again.Close()
	require.NoError(t, ping(again, patience))
	p.LoseAnswerTo("x")
	require.ErrorIs(t, ping(again, patience), io.EOF, "an answer is lost with its connection")
	last, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	defer last.Close()
	require.NoError(t, ping(last, patience), "it is lost once")
	p.Silence()
	_ = ping(last, 10*time.Millisecond) // stopping does not wait for a silent network
}

func echo(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 1)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				if _, err := conn.Write(buf); err != nil {
					return
				}
			}
		}()
	}
}

// ping sends one byte and waits for one.
func ping(conn net.Conn, wait time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(wait))
	buf := []byte{'x'}
	if _, err := conn.Write(buf); err != nil {
		return err
	}
	_, err := conn.Read(buf)
	return err
}

// fakeTB records how a helper ends the test.
type fakeTB struct{ outcome string }

func (*fakeTB) Helper()                      {}
func (*fakeTB) Cleanup(func())               {}
func (f *fakeTB) Fatalf(s string, a ...any)  { f.end("failed: "+s, a) }
func (f *fakeTB) Skipf(s string, a ...any)   { f.end("skipped: "+s, a) }
func (f *fakeTB) end(format string, a []any) { f.outcome = fmt.Sprintf(format, a...); panic(f) }

func TestMissingServerNeverPassesSilently(t *testing.T) {
	for _, tt := range []struct{ ci, require, want string }{
		{"", "", "skipped: "},
		{"true", "", "failed: "},
		{"", "1", "failed: "},
	} {
		t.Setenv("PATH", t.TempDir())
		t.Setenv("CI", tt.ci)
		t.Setenv("MCPOAUTH_REQUIRE_REDIS", tt.require)
		f := &fakeTB{}
		require.PanicsWithValue(t, f, func() { redistest.Run(f, redistest.Options{}) })
		require.Equal(t, tt.want+redistest.ErrMissing.Error(), f.outcome)
	}
	_, err := redistest.Start(redistest.Options{})
	require.ErrorIs(t, err, redistest.ErrMissing)
}
