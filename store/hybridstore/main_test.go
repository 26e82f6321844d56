package hybridstore_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// TestMain leaves the examples out where there is no redis-server and none is
// promised: unlike a test, an example cannot skip itself.
func TestMain(m *testing.M) {
	flag.Parse()
	server, err := redistest.Start(redistest.Options{})
	if err == nil {
		server.Stop()
	}
	if errors.Is(err, redistest.ErrMissing) && os.Getenv("CI") == "" && os.Getenv("MCPOAUTH_REQUIRE_REDIS") == "" {
		fmt.Fprintln(os.Stderr, "examples are skipped:", err)
		_ = flag.Set("test.skip", "^Example")
	}
	os.Exit(m.Run())
}
