package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// exampleServers starts an authorization server and an MCP server that needs
// its tokens, and returns the configuration of a Manager that may reach them.
func exampleServers() (as *authtest.Server, mcp *mcptest.Server, cfg session.Config, stop func()) {
	as = authtest.New(authtest.Options{})
	mcp = mcptest.New(mcptest.Options{Auth: as})
	cfg.Store = memstore.New(memstore.Config{})
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	return as, mcp, cfg, func() { mcp.Close(); as.Close() }
}

// exampleBrowser approves, and returns the query that the callback gets.
func exampleBrowser(as *authtest.Server, authURL string) url.Values {
	callback, err := as.Approve(context.Background(), authURL)
	if err != nil {
		log.Fatal(err)
	}
	u, err := url.Parse(callback)
	if err != nil {
		log.Fatal(err)
	}
	return u.Query()
}

// A user connects on one replica. The callback reaches another one, and either
// can call tools then.
func Example() {
	as, mcp, cfg, stop := exampleServers()
	defer stop()
	one, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer one.Close()
	other, err := session.New(cfg) // the same store
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()

	ctx := context.Background()
	caller := session.Caller{Owner: "user-7", Binding: "value of a cookie"}
	info, err := one.Connect(ctx, caller, session.ConnectParams{
		ServerURL: mcp.URL(), ServerName: "Tools", CallbackURL: "https://app.example/callback",
	})
	var required *oauthclient.AuthorizationRequiredError
	if !errors.As(err, &required) {
		log.Fatal(err)
	}
	fmt.Println(info.ServerName, info.Status)

	query := exampleBrowser(as, required.AuthURL)
	done, err := other.FinishAuth(ctx, caller, "", oauthclient.ParseAuthorizationResponse(query))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(done.ServerName, done.Status)

	result, err := one.CallTool(ctx, caller, info.ID.Reveal(), "add", map[string]int{"a": 2, "b": 3})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Decode().StructuredContent)
	// Output:
	// Tools authorizing
	// Tools connected
	// map[sum:5]
}

// What a user sees who is not the owner.
func ExampleManager_Status() {
	_, mcp, cfg, stop := exampleServers()
	defer stop()
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx := context.Background()
	info, _ := m.Connect(ctx, session.Caller{Owner: "user-7"}, session.ConnectParams{
		ServerURL: mcp.URL(), CallbackURL: "https://app.example/callback",
	})
	mine, err := m.Status(ctx, session.Caller{Owner: "user-7"}, info.ID.Reveal())
	fmt.Println(mine.Status, err)
	_, err = m.Status(ctx, session.Caller{Owner: "user-8"}, info.ID.Reveal())
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output:
	// authorizing <nil>
	// true
}

// A chat back end resumes a tool call when its user has authorized.
func ExampleConfig_onAuthorized() {
	as, mcp, cfg, stop := exampleServers()
	defer stop()
	resume := make(chan string, 1)
	cfg.OnAuthorized = func(_ context.Context, info session.Info) { resume <- info.Key }
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	info, err := m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), CallbackURL: "https://app.example/callback"})
	var required *oauthclient.AuthorizationRequiredError
	if !errors.As(err, &required) {
		log.Fatal(err)
	}
	response := oauthclient.ParseAuthorizationResponse(exampleBrowser(as, required.AuthURL))
	if _, err := m.FinishAuth(ctx, caller, "", response); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-resume == info.Key)
	// Output: true
}

// The sessions of a user, after a reload of the page say, and the end of one.
func ExampleManager_Sessions() {
	_, mcp, cfg, stop := exampleServers()
	defer stop()
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	for _, name := range []string{"Mail", "Calendar"} {
		_, _ = m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), ServerName: name, CallbackURL: "https://app.example/callback"})
	}
	infos, err := m.Sessions(ctx, session.Caller{Owner: "user-7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(infos[0].ServerName, infos[1].ServerName)
	if err := m.RemoveClient(ctx, caller, infos[0].ID.Reveal()); err != nil {
		log.Fatal(err)
	}
	infos, _ = m.Sessions(ctx, session.Caller{Owner: "user-7"})
	fmt.Println(infos[0].ServerName, len(infos))
	// Output:
	// Mail Calendar
	// Calendar 1
}

// Tokens for a host that speaks MCP by other means.
func ExampleManager_TokenSource() {
	as, mcp, cfg, stop := exampleServers()
	defer stop()
	m, err := session.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	ctx, caller := context.Background(), session.Caller{Owner: "user-7"}
	info, err := m.Connect(ctx, caller, session.ConnectParams{ServerURL: mcp.URL(), CallbackURL: "https://app.example/callback"})
	var required *oauthclient.AuthorizationRequiredError
	if !errors.As(err, &required) {
		log.Fatal(err)
	}
	if _, err := m.FinishAuth(ctx, caller, "", oauthclient.ParseAuthorizationResponse(exampleBrowser(as, required.AuthURL))); err != nil {
		log.Fatal(err)
	}
	source, err := m.TokenSource(ctx, caller, info.ID.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		log.Fatal(err)
	}
	known, err := as.Verify(token.AccessToken)
	fmt.Println(token.Type(), known.Resource == mcp.URL(), err)
	// Output: Bearer true <nil>
}

// A store that outlives the process needs keys.
func ExampleNew_durableStore() {
	_, err := session.New(session.Config{Store: newSpy(memstore.New(memstore.Config{}))})
	fmt.Println(err)
	// Output: session: Config.SealKeys: are required with a store that outlives the process; make one with: openssl rand -base64 32
}
