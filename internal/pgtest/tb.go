//go:build unix

package pgtest

import "os"

// TB is the part of testing.TB that Run uses.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Run starts a server for a test and stops it at the test's end.
func Run(t TB, opts Options) *Server {
	t.Helper()
	if _, err := programs(); err != nil {
		if os.Getenv("CI") != "" || os.Getenv("MCPOAUTH_REQUIRE_POSTGRES") != "" {
			t.Fatalf("%v", err)
		}
		t.Skipf("%v", err)
	}
	s, err := Start(opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(s.Stop)
	return s
}
