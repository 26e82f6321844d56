// Replicas shows a host that runs twice. It starts a redis-server, two hosts
// that share it, a load balancer in front of them, and the servers that they
// talk to. Then users work through the load balancer, while a host is killed
// and started again, all tokens end at once, and Redis is killed and started
// again. It tells what happened, and what was lost.
//
//	go run ./examples/replicas
//
// It needs redis-server in PATH; everything is on loopback and ends with it. It
// exits with 1 when anything was lost, so it is a smoke test too.
//
// How a host uses the library, with Redis and seal keys, is in host.go.
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

// storyTimeout bounds what takes a few seconds when all is well.
const storyTimeout = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything it depends on; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("replicas", flag.ContinueOnError)
	flags.SetOutput(stderr)
	host := flags.Bool("host", false, "be one of the hosts; see host.go for its environment")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flags has said why
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "replicas: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	task := tellStory
	if *host {
		task = serveHost
	}
	if err := task(ctx, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "replicas: %v\n", err)
		return 1
	}
	return 0
}

// tellStory starts everything, has the story happen, and stops everything.
func tellStory(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, storyTimeout)
	defer cancel()
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	s := &story{w: w, out: stdout}
	return s.tell(ctx)
}
