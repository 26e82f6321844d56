// Cli is a native app: it connects the person at the keyboard to an MCP server,
// lists the server's tools, and calls one.
//
//	go run ./examples/cli -demo                                  # servers of its own, and a browser that says yes
//	go run ./examples/cli https://mcp.example.com/mcp            # opens your browser, lists the tools
//	go run ./examples/cli https://mcp.example.com/mcp search '{"query":"go"}'
//
// There is no host here and no session manager: one [oauthclient.MCPOAuthClient]
// and, as RFC 8252 section 7.3 has it, a listener on a loopback port that the
// browser is sent back to. Tokens live as long as the process; an app that
// keeps them gives Config.Credentials a store of its own, in the keychain say.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cli:", err)
		os.Exit(1)
	}
}

// run is main with everything it depends on.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cli", flag.ContinueOnError)
	isDemo := flags.Bool("demo", false, "use servers of its own, and no real browser")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case *isDemo:
		return demo(ctx, out)
	case flags.NArg() < 1 || flags.NArg() > 3:
		return errors.New("usage: cli [-demo] serverURL [tool [arguments as JSON]]")
	}
	a := &app{out: out, open: openBrowser, results: make(chan error, 1)}
	return a.run(ctx, oauthclient.Config{ServerURL: flags.Arg(0)}, flags.Arg(1), flags.Arg(2))
}

// app is one run of the program.
type app struct {
	out     io.Writer
	open    func(ctx context.Context, url string) error // a browser
	client  *oauthclient.MCPOAuthClient
	results chan error // of the authorization under way
}

// run lists the tools and, if there is a name, calls that one.
func (a *app) run(ctx context.Context, cfg oauthclient.Config, tool, args string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // an address, not "localhost": RFC 8252 section 8.3
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(a.callback), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()

	cfg.CallbackURL = "http://" + listener.Addr().String() + "/callback"
	cfg.ClientMetadata.ClientName = "mcpoauth CLI"
	if a.client, err = oauthclient.New(cfg); err != nil {
		return err
	}

	var tools []*oauthclient.Tool
	err = a.authorized(ctx, func() (err error) {
		tools, err = a.client.ListTools(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range tools {
		fmt.Fprintf(a.out, "%-16s %s\n", t.Name, t.Decode().Description)
	}
	if tool == "" {
		return nil
	}
	if args == "" {
		args = "{}"
	}
	var result *oauthclient.CallToolResult
	err = a.authorized(ctx, func() (err error) {
		result, err = a.client.CallTool(ctx, tool, json.RawMessage(args))
		return err
	})
	if err != nil {
		return err
	}
	text, err := result.MarshalJSON() // as the server sent it
	fmt.Fprintf(a.out, "%s: %s\n", tool, text)
	return err
}

// authorized calls something, and once more after the user has authorized.
// Any call may ask for that: the first one, and a later one whose tool needs
// more than was granted.
func (a *app) authorized(ctx context.Context, call func() error) error {
	err := call()
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	if !ok {
		return err
	}
	if err := a.open(ctx, required.AuthURL); err != nil {
		fmt.Fprintf(a.out, "Open this in your browser, it is for you alone:\n%s\n", required.AuthURL)
	}
	wait, cancel := context.WithDeadline(ctx, required.Expires)
	defer cancel()
	select {
	case err := <-a.results:
		if err != nil {
			return err
		}
	case <-wait.Done():
		return fmt.Errorf("no answer came back from the browser: %w", wait.Err())
	}
	return call()
}

// callback is where the browser comes back to. A request without the right state is
// refused, and the wait goes on.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/callback" || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	err := a.client.FinishAuth(r.Context(), oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery)))
	if errors.Is(err, oauthclient.ErrInvalidCallback) {
		http.Error(w, "This link is not, or no longer, good. Go back to the terminal.", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, "That did not work. The terminal says why.", http.StatusBadRequest)
	} else {
		fmt.Fprintln(w, "Done. You can close this window and go back to the terminal.")
	}
	select {
	case a.results <- err:
	default: // no call waits any more
	}
}

// openBrowser shows a URL to the user. It is an argument of the command, and
// never goes through a shell.
func openBrowser(ctx context.Context, url string) error {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	return exec.CommandContext(ctx, name, args...).Run()
}

// demo plays it through with an MCP server, an authorization server and a user,
// all in this process. The tool needs a scope that was not granted at first, so
// the browser is needed twice.
func demo(ctx context.Context, out io.Writer) error {
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{Consent: true})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()
	browser := func(ctx context.Context, authURL string) error {
		fmt.Fprintln(out, "(a browser opens, the user approves)")
		return oauthtest.Browser{}.Authorize(ctx, authURL)
	}
	a := &app{out: out, open: browser, results: make(chan error, 1)}
	return a.run(ctx, oauthclient.Config{
		ServerURL: server.URL(),
		Shared:    oauthclient.Shared{Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})}, // for the demo's servers only
	}, "admin", "")
}
