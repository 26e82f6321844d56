// Agent is a chat back end whose bot uses tools on the user's behalf. In the
// middle of the conversation a tool needs an authorization: the bot shows the
// link, the conversation goes on, and when the user has authorized, the call
// that was waiting is made and its result arrives as one more message.
//
//	go run ./examples/agent -demo                        # plays a conversation with servers of its own
//	go run ./examples/agent https://mcp.example.com/mcp  # you are the user; type: tool {"argument":"value"}
//
// The two places to look at are [agent.useTool], which keeps the call that
// cannot be made yet, and [agent.authorized], which is session.Config's
// OnAuthorized hook and makes it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// user is whom the conversation is with; a real back end has many.
const user = "alice"

// toolCall is what the model wants done.
type toolCall struct {
	name    string
	args    json.RawMessage
	attempt string // the authorization that the call waits for
}

// agent is one conversation.
type agent struct {
	manager   *session.Manager
	serverURL string
	callback  string
	say       func(text string) // shows the user a message of the bot's

	mu        sync.Mutex
	sessionID string
	// waiting are the calls that wait for the user, by session.Info.Key. With
	// many replicas they belong where the conversation is stored, because the
	// callback, and with it OnAuthorized, may reach another one.
	waiting map[string][]toolCall
	resumed sync.WaitGroup
}

// hear takes one message of the user's. A language model would decide here what
// to do; this one takes "tool {arguments}" literally.
func (a *agent) hear(ctx context.Context, message string) {
	name, args, _ := strings.Cut(strings.TrimSpace(message), " ")
	if name == "" {
		return
	}
	if args = strings.TrimSpace(args); args == "" {
		args = "{}"
	}
	if !json.Valid([]byte(args)) {
		a.say("The arguments are not JSON.")
		return
	}
	a.useTool(ctx, toolCall{name: name, args: json.RawMessage(args)})
}

// useTool makes a call, or keeps it until the user has authorized.
func (a *agent) useTool(ctx context.Context, call toolCall) {
	key, result, err := a.try(ctx, call)
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	switch {
	case ok:
		call.attempt = required.AttemptID
		a.mu.Lock()
		a.waiting[key] = append(a.waiting[key], call)
		a.mu.Unlock()
		a.say("I need your permission for " + call.name + ". Open this, and I go on by myself:\n     " + required.AuthURL)
	case err != nil:
		a.say(call.name + " did not work: " + err.Error()) // has no secrets
	default:
		a.say(call.name + ": " + result.Text())
	}
}

// try connects, in a conversation that has no session yet, and makes the call.
// It returns the session's key, which is no secret.
func (a *agent) try(ctx context.Context, call toolCall) (key string, result *oauthclient.CallToolResult, err error) {
	caller := session.Caller{Owner: user}
	a.mu.Lock()
	sessionID := a.sessionID
	a.mu.Unlock()
	var info session.Info
	if sessionID != "" {
		info, err = a.manager.Status(ctx, caller, sessionID)
	}
	if sessionID == "" || errors.Is(err, session.ErrNotFound) {
		info, err = a.manager.Connect(ctx, caller, session.ConnectParams{ServerURL: a.serverURL, CallbackURL: a.callback})
		a.mu.Lock()
		a.sessionID = info.ID.Reveal()
		a.mu.Unlock()
	}
	if err != nil {
		return info.Key, nil, err
	}
	result, err = a.manager.CallTool(ctx, caller, info.ID.Reveal(), call.name, call.args)
	return info.Key, result, err
}

// authorized is OnAuthorized: the tokens are stored, whichever link the user
// opened, in whichever browser. It must return soon, because the user's browser
// waits for it, so the calls are made beside it and outlive that request.
func (a *agent) authorized(ctx context.Context, info session.Info) {
	a.mu.Lock()
	calls := a.waiting[info.Key]
	delete(a.waiting, info.Key)
	a.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	for _, call := range calls {
		a.resumed.Go(func() { a.useTool(ctx, call) })
	}
}

// notAuthorized is OnAuthorizationFailed: the user said no, or a server did. The
// calls that waited for this authorization are given up; asking again is up to
// the user.
func (a *agent) notAuthorized(_ context.Context, info session.Info, err error) {
	waitsForIt := func(call toolCall) bool { return call.attempt == info.AttemptID }
	a.mu.Lock()
	calls := a.waiting[info.Key]
	a.waiting[info.Key] = slices.DeleteFunc(slices.Clone(calls), waitsForIt)
	a.mu.Unlock()
	for _, call := range calls {
		if waitsForIt(call) {
			a.say("I give up on " + call.name + ": " + err.Error()) // has no secrets
		}
	}
}

// start makes the agent and serves the one route that it needs: the callback.
func start(serverURL string, policy oauthclient.NetworkPolicy, say func(string)) (a *agent, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	a = &agent{serverURL: serverURL, say: say, waiting: make(map[string][]toolCall)}
	cfg := session.Config{Store: memstore.New(memstore.Config{}), OnAuthorized: a.authorized, OnAuthorizationFailed: a.notAuthorized}
	cfg.Client.Transport = oauthclient.NewTransport(policy)
	cfg.Client.ClientMetadata.ClientName = "Agent"
	if a.manager, err = session.New(cfg); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	api, err := httpapi.New(a.manager, httpapi.Config{
		PublicURL: "http://" + listener.Addr().String(),
		// The link comes by chat, so no cookie was set: it is the login that
		// shows that the browser is the user's. Here all of the machine is.
		Identify: func(*http.Request) (string, error) { return user, nil },
	})
	if err != nil {
		return nil, nil, errors.Join(err, a.manager.Close(), listener.Close())
	}
	a.callback = api.CallbackURL()
	mux := http.NewServeMux()
	mux.HandleFunc("/api/mcp/auth/callback", api.Callback)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Shutdown
	return a, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // no callback after this, so no call either
		a.resumed.Wait()
		_ = a.manager.Close()
	}, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// run is main with everything it depends on.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	isDemo := flags.Bool("demo", false, "play a conversation with servers of its own")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *isDemo {
		return demo(ctx, out)
	}
	if flags.NArg() != 1 {
		return errors.New("usage: agent -demo | serverURL")
	}
	a, stop, err := start(flags.Arg(0), oauthclient.NetworkPolicy{}, func(text string) { fmt.Fprintln(out, "bot:", text) })
	if err != nil {
		return err
	}
	defer stop()
	lines := bufio.NewScanner(in)
	for ctx.Err() == nil && lines.Scan() {
		a.hear(ctx, lines.Text())
	}
	return lines.Err()
}

// demo is a conversation in which the user is asked twice: before the first
// call, and for a tool that needs the scope admin.
func demo(ctx context.Context, out io.Writer) error {
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{Consent: true})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()

	messages := make(chan string, 8)
	a, stop, err := start(server.URL(), oauthclient.NetworkPolicy{AllowLoopback: true}, func(text string) { messages <- text })
	if err != nil {
		return err
	}
	defer stop()
	hear := func() (string, error) {
		select {
		case text := <-messages:
			fmt.Fprintln(out, "bot:  "+strings.SplitN(text, "?", 2)[0]) // the link has a state in it
			return text, nil
		case <-time.After(time.Minute):
			return "", errors.New("the bot is silent")
		}
	}
	say := func(text string) (string, error) {
		fmt.Fprintln(out, "user: "+text)
		a.hear(ctx, text)
		return hear()
	}
	approve := func(link string) error {
		fmt.Fprintln(out, "      (opens the link, approves)")
		return oauthtest.Browser{}.Authorize(ctx, link[strings.Index(link, "http"):])
	}

	link, err := say(`add {"a":2,"b":40}`)
	if err != nil {
		return err
	}
	if err := approve(link); err != nil {
		return err
	}
	if _, err := hear(); err != nil { // 42
		return err
	}
	if link, err = say("admin"); err != nil {
		return err
	}
	if _, err := say("whoami"); err != nil { // the conversation goes on meanwhile
		return err
	}
	if err := approve(link); err != nil {
		return err
	}
	_, err = hear() // done as admin
	return err
}
