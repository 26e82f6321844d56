package redistest

import "os"

// TB is the part of testing.TB that the helpers use, so that programs which
// are not tests can import this package without importing testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Run starts a server for a test and stops it at the test's end.
func Run(t TB, opts Options) *Server {
	t.Helper()
	return run(t, "redis-server", func() (*Server, error) { return Start(opts) })
}

// RunCluster starts a cluster for a test and stops it at the test's end.
func RunCluster(t TB, nodes int) *Cluster {
	t.Helper()
	return run(t, "Redis cluster", func() (*Cluster, error) { return StartCluster(nodes) })
}

// RunSentinel starts a primary, a replica and a sentinel for a test and stops
// them at the test's end.
func RunSentinel(t TB) *Sentinel {
	t.Helper()
	return run(t, "Redis sentinel", StartSentinel)
}

// RunProxy puts a proxy in front of addr until the test's end.
func RunProxy(t TB, addr string) *Proxy {
	t.Helper()
	return run(t, "proxy", func() (*Proxy, error) { return NewProxy(addr) })
}

// run starts something for a test, or ends the test.
func run[T interface{ Stop() }](t TB, what string, start func() (T, error)) T {
	t.Helper()
	needRedis(t)
	s, err := start()
	if err != nil {
		t.Fatalf("redistest: starting a %s: %v", what, err)
	}
	t.Cleanup(s.Stop)
	return s
}

// needRedis skips the test when there is no redis-server, or fails it where one
// is promised: a suite that needs a service must not turn into a silent pass.
func needRedis(t TB) {
	t.Helper()
	if _, err := binary(); err == nil {
		return
	}
	if promised() {
		t.Fatalf("%v", ErrMissing)
	}
	t.Skipf("%v", ErrMissing)
}

// promised reports whether the machine is to have a redis-server.
func promised() bool { return os.Getenv("CI") != "" || os.Getenv("MCPOAUTH_REQUIRE_REDIS") != "" }
