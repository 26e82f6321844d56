package oauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/oauthclient/oauthtest"
)

// newClient makes a client that may reach servers on loopback.
func newClient(serverURL string, now func() time.Time) *oauthclient.MCPOAuthClient {
	cfg := oauthclient.Config{ServerURL: serverURL, CallbackURL: "http://127.0.0.1:3000/callback"}
	cfg.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	cfg.Now = now
	client, err := oauthclient.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// authorize connects a client, with a user who says yes.
func authorize(ctx context.Context, client *oauthclient.MCPOAuthClient) error {
	err := client.Connect(ctx)
	required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	if !ok {
		return fmt.Errorf("want an authorization, got %w", err)
	}
	callbackURL, err := oauthtest.Browser{}.Approve(ctx, required.AuthURL)
	if err != nil {
		return err
	}
	callback, err := url.Parse(callbackURL)
	if err != nil {
		return err
	}
	return client.FinishAuth(ctx, oauthclient.ParseAuthorizationResponse(callback.Query()))
}

// A client authorizes and calls a tool; the wire shows what was sent.
func Example() {
	ctx := context.Background()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()

	client := newClient(server.URL(), nil)
	if err := authorize(ctx, client); err != nil {
		log.Fatal(err)
	}
	result, err := client.CallTool(ctx, "add", map[string]int{"a": 2, "b": 40})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Text())
	exchange := auth.TokenRequests("authorization_code")[0]
	fmt.Println(exchange.Form.Get("resource") == server.URL(), exchange.Status)
	fmt.Println(server.Requests("tools/call")[0].Tool)
	// Output:
	// 42
	// true 200
	// add
}

// The token endpoint is down for one request when the access token has expired.
func ExampleFaults() {
	ctx := context.Background()
	clock := oauthtest.NewClock(time.Now())
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{Now: clock.Now})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()
	client := newClient(server.URL(), clock.Now)
	if err := authorize(ctx, client); err != nil {
		log.Fatal(err)
	}

	auth.SetFaults(oauthtest.Faults{oauthtest.EndpointToken: {Status: http.StatusServiceUnavailable, Times: 1}})
	clock.Advance(2 * time.Hour)
	_, err := client.CallTool(ctx, "whoami", nil)
	_, temporary := errors.AsType[*oauthclient.TemporaryError](err)
	fmt.Println("the outage is a temporary error:", temporary)

	clock.Advance(time.Minute) // retries wait longer and longer
	result, err := client.CallTool(ctx, "whoami", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("afterwards:", result.Text())
	fmt.Println("refreshes:", len(auth.TokenRequests("refresh_token")))
	// Output:
	// the outage is a temporary error: true
	// afterwards: alice
	// refreshes: 2
}

// A user says no.
func ExampleBrowser_Deny() {
	ctx := context.Background()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{Consent: true})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()

	err := newClient(server.URL(), nil).Connect(ctx)
	required, _ := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	callbackURL, err := oauthtest.Browser{User: "bob"}.Deny(ctx, required.AuthURL)
	if err != nil {
		log.Fatal(err)
	}
	callback, err := url.Parse(callbackURL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(callback.Query().Get("error"))
	// Output: access_denied
}

// A command-line tool listens on loopback for the browser to come back.
func ExampleBrowser_Authorize() {
	ctx := context.Background()
	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
	defer auth.Close()
	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
	defer server.Close()

	var client *oauthclient.MCPOAuthClient
	tool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response := oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery))
		if err := client.FinishAuth(r.Context(), response); err != nil {
			http.Error(w, "that did not work", http.StatusBadRequest)
		}
	}))
	defer tool.Close()
	cfg := oauthclient.Config{ServerURL: server.URL(), CallbackURL: tool.URL + "/callback"}
	cfg.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	client, err := oauthclient.New(cfg)
	if err != nil {
		log.Fatal(err)
	}

	required, _ := errors.AsType[*oauthclient.AuthorizationRequiredError](client.Connect(ctx))
	if err := (oauthtest.Browser{User: "bob"}).Authorize(ctx, required.AuthURL); err != nil {
		log.Fatal(err)
	}
	result, err := client.CallTool(ctx, "whoami", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Text())
	// Output: bob
}
