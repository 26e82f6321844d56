// Quickstart shows the library at work: it starts an authorization server, an
// MCP server that needs its tokens and a host that has mounted the library,
// plays the user's browser, and tells each step of connect, authorize,
// callback, list, call and disconnect with what went over the wire.
//
//	go run ./examples/quickstart
//
// Everything is on loopback and in this process; nothing else is needed. It
// exits with 1 when a step is not as it should be, so it is a smoke test too.
//
// With -serve it makes no requests. The servers stay up for a person with curl or
// a browser, until the program is interrupted. It prints what the host does for each
// request:
//
//	go run ./examples/quickstart -serve
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// journeyTimeout bounds what takes a fraction of a second when all is well.
const journeyTimeout = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything it depends on; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	keep := flags.Bool("serve", false, "keep everything up for curl or a browser")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flags has said why
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "quickstart: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	task := travel
	if *keep {
		task = serve
	}
	if err := task(ctx, newNarrator(stdout)); err != nil {
		_, _ = fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 1
	}
	return 0
}

// travel makes the journey.
func travel(ctx context.Context, out *narrator) error {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer w.close()
	ctx, cancel := context.WithTimeout(ctx, journeyTimeout)
	defer cancel()
	return newJourney(w, out).run(ctx)
}
