package oauthclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// servers starts an authorization server and an MCP server that it protects.
func servers(opts authtest.Options) (*authtest.Server, *mcptest.Server, func()) {
	as := authtest.New(opts)
	srv := mcptest.New(mcptest.Options{Auth: as})
	return as, srv, func() { srv.Close(); as.Close() }
}

// browser plays a user who agrees, and returns the query of the callback.
func browser(as *authtest.Server, authURL string) url.Values {
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

// development allows servers on this machine.
var development = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})

// Connect a user, finish at the callback, call a tool.
func Example() {
	as, srv, stop := servers(authtest.Options{})
	defer stop()
	ctx := context.Background()

	client, err := oauthclient.New(oauthclient.Config{
		ServerURL:   srv.URL(),
		CallbackURL: "https://app.example/oauth/callback",
		Shared:      oauthclient.Shared{Transport: development}, // leave it out for servers on the internet
	})
	if err != nil {
		log.Fatal(err)
	}

	// The first request: there are no tokens yet.
	err = client.Connect(ctx)
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	if !ok {
		log.Fatal(err)
	}
	fmt.Println(err)

	// The second request: the browser came back to the callback URL.
	query := browser(as, required.AuthURL)
	if err := client.FinishAuth(ctx, oauthclient.ParseAuthorizationResponse(query)); err != nil {
		log.Fatal(err)
	}

	tools, err := client.ListTools(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(tools), "tools")
	result, err := client.CallTool(ctx, "add", map[string]int{"a": 2, "b": 3})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Text())

	fmt.Println(client.Disconnect(ctx))
	// Output:
	// oauthclient: authorization required
	// 8 tools
	// 5
	// <nil>
}

// authorized returns a client whose user has authorized.
func authorized(as *authtest.Server, cfg oauthclient.Config) *oauthclient.MCPOAuthClient {
	cfg.CallbackURL, cfg.Transport = "https://app.example/oauth/callback", development
	client, err := oauthclient.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](client.Connect(ctx))
	if !ok {
		log.Fatal("no authorization was required")
	}
	if err := client.FinishAuth(ctx, oauthclient.ParseAuthorizationResponse(browser(as, required.AuthURL))); err != nil {
		log.Fatal(err)
	}
	return client
}

func ExampleMCPOAuthClient_CallToolProgress() {
	as, srv, stop := servers(authtest.Options{})
	defer stop()
	client := authorized(as, oauthclient.Config{ServerURL: srv.URL()})

	_, err := client.CallToolProgress(context.Background(), "slow", json.RawMessage(`{"count":2,"intervalMs":1}`),
		func(p mcp.ProgressNotificationParams) { fmt.Println(p.Message) })
	fmt.Println(err)
	// Output:
	// step 1 of 2
	// step 2 of 2
	// <nil>
}

// A tool that needs another scope asks the user for it, once.
func ExampleMCPOAuthClient_CallTool_moreScopes() {
	as, srv, stop := servers(authtest.Options{})
	defer stop()
	ctx := context.Background()
	client := authorized(as, oauthclient.Config{ServerURL: srv.URL()})

	_, err := client.CallTool(ctx, "admin", nil)
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	fmt.Println(ok, required.Scopes)
	if err := client.FinishAuth(ctx, oauthclient.ParseAuthorizationResponse(browser(as, required.AuthURL))); err != nil {
		log.Fatal(err)
	}
	result, err := client.CallTool(ctx, "admin", nil)
	fmt.Println(result.Text(), err)
	// Output:
	// true [admin]
	// done as admin <nil>
}

// The provider alone, with a client of the SDK.
func ExampleOAuthProvider() {
	as, srv, stop := servers(authtest.Options{})
	defer stop()
	ctx := context.Background()

	provider, err := oauthclient.NewOAuthProvider(oauthclient.Config{
		ServerURL: srv.URL(), CallbackURL: "https://app.example/oauth/callback", Shared: oauthclient.Shared{Transport: development},
	})
	if err != nil {
		log.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "app", Version: "1"}, nil)
	transport := &mcp.StreamableClientTransport{Endpoint: srv.URL(), OAuthHandler: provider}

	_, err = client.Connect(ctx, transport, nil)
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	if !ok {
		log.Fatal(err)
	}
	if err := provider.FinishAuth(ctx, oauthclient.ParseAuthorizationResponse(browser(as, required.AuthURL))); err != nil {
		log.Fatal(err)
	}
	session, err := client.Connect(ctx, transport, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "whoami"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Content[0].(*mcp.TextContent).Text)
	// Output: alice
}

// A server without automatic registration says what to register, and where.
func ExampleRegistrationRequiredError() {
	as, srv, stop := servers(authtest.Options{
		NoRegistration: true,
		Clients:        []authtest.Client{{ID: "my-app", Secret: "hush", RedirectURIs: []string{"https://app.example/oauth/callback"}}},
	})
	defer stop()
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: srv.URL(), CallbackURL: "https://app.example/oauth/callback", Shared: oauthclient.Shared{Transport: development},
	})
	if err != nil {
		log.Fatal(err)
	}
	required, ok := errors.AsType[*oauthclient.RegistrationRequiredError](client.Connect(context.Background()))
	fmt.Println(ok, required.Issuer == as.Issuer(), required.RedirectURI)

	// Register there by hand, then:
	again := authorized(as, oauthclient.Config{
		ServerURL: srv.URL(),
		Shared: oauthclient.Shared{PreregisteredClients: []oauthclient.PreregisteredClient{{
			Issuer: as.Issuer(), ClientID: "my-app", ClientSecret: oauthclient.NewSecret("hush"),
		}}},
	})
	_, err = again.CallTool(context.Background(), "echo", nil)
	fmt.Println(err)
	// Output:
	// true true https://app.example/oauth/callback
	// <nil>
}

// Credentials survive a restart in the form of MarshalBinary, which holds the
// secrets and must be encrypted. Other forms hold none.
func ExampleCredentials_MarshalBinary() {
	as, srv, stop := servers(authtest.Options{})
	defer stop()
	ctx := context.Background()
	before := authorized(as, oauthclient.Config{ServerURL: srv.URL()})
	creds, err := before.Credentials(ctx)
	if err != nil {
		log.Fatal(err)
	}
	data, err := creds.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}

	var restored oauthclient.Credentials
	if err := restored.UnmarshalBinary(data); err != nil {
		log.Fatal(err)
	}
	after, err := oauthclient.New(oauthclient.Config{
		ServerURL: srv.URL(), CallbackURL: "https://app.example/oauth/callback", Shared: oauthclient.Shared{Transport: development},
		Credentials: oauthclient.NewMemoryCredentialStore(restored),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(after.Connect(ctx))
	fmt.Println(restored.AccessToken, restored.RefreshToken)
	// Output:
	// <nil>
	// [redacted] [redacted]
}

// The classic pitfall: a mistake in the configuration is found when the client
// is made, all of them at once.
func ExampleNew_incorrect() {
	_, err := oauthclient.New(oauthclient.Config{ServerURL: "mcp.example.com", CallbackURL: "/oauth/callback"})
	fmt.Println(err)
	// Output:
	// oauthclient: Config.ServerURL: must be an absolute http or https URL
	// oauthclient: Config.CallbackURL: must be an absolute URL
}
