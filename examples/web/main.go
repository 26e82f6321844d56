// Web is a whole web application in a page: connect to an MCP server, search
// its tools, fill in a form made from the tool's schema, answer what the server
// asks, watch the progress, see the result; use its prompts and resources.
//
//	go run ./examples/web
//
// It starts four MCP servers and an authorization server to play with, on
// loopback, opens the page in the browser, and runs until it is interrupted.
// Servers elsewhere can be entered as well.
//
// A front-end developer reads page/app.js first, a Go developer host.go; the
// demo servers are in demo.go, tools.go, ask.go and offer.go; in real life, other
// organizations run them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with everything it depends on; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("web", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "localhost:3000", "where to listen; with port 0 on a free one")
	open := flags.Bool("open", true, "open the page in the browser")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // flags has said why
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "web: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if err := serve(ctx, *addr, *open, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "web: %v\n", err)
		return 1
	}
	return 0
}

// serve keeps the demo servers and the host up until ctx ends.
func serve(ctx context.Context, addr string, open bool, stdout io.Writer) error {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("-addr (with port 0 a free one is taken): %w", err)
	}
	defer listener.Close()
	demo, err := startDemo()
	if err != nil {
		return err
	}
	defer demo.close()

	// The name as it was given: cookies belong to it, and localhost is another
	// one than 127.0.0.1.
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	publicURL := "http://" + net.JoinHostPort(name, port)
	app, err := newHost(publicURL, demo.presets)
	if err != nil {
		return err
	}
	defer app.close()

	_, _ = fmt.Fprintf(stdout, "The page is at %s/ until Ctrl-C. The demo servers:\n", publicURL)
	for _, preset := range demo.presets {
		_, _ = fmt.Fprintf(stdout, "  %-10s %s\n", preset.Name, preset.URL)
	}
	if open {
		openBrowser(ctx, publicURL+"/")
	}
	return app.serve(ctx, listener)
}

// openBrowser tries; who has no browser here has read the URL.
func openBrowser(ctx context.Context, url string) {
	command := []string{"xdg-open", url}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open", url}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler", url}
	}
	go func() { _ = exec.CommandContext(ctx, command[0], command[1:]...).Run() }()
}
