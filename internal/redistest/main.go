package redistest

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

// Main runs the tests of a package whose examples need Redis, and returns the exit
// code. It leaves the examples out where there is no redis-server and none is
// promised: unlike a test, an example cannot skip itself.
func Main(m interface{ Run() int }) int {
	flag.Parse()
	if _, err := binary(); errors.Is(err, ErrMissing) && !promised() {
		fmt.Fprintln(os.Stderr, "examples are skipped:", err)
		_ = flag.Set("test.skip", "^Example")
	}
	return m.Run()
}
