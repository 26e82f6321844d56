// Package oauthclient connects one user to one MCP server that is protected by
// OAuth: it finds the authorization server, registers a client, sends the user to
// the browser, keeps the tokens fresh, and calls tools. Use it in a command-line
// program, a desktop app, or a host with its own storage. Package session builds
// on it for web applications with many users.
//
// Nothing here waits for a user. A method that needs one returns
// [*AuthorizationRequiredError], and works again after [MCPOAuthClient.FinishAuth].
//
// # Walk-through
//
//	client, err := oauthclient.New(oauthclient.Config{
//		ServerURL:   "https://mcp.example.com/mcp",
//		CallbackURL: "https://app.example/oauth/callback", // a page of yours
//	})
//	err = client.Connect(ctx)
//	if required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err); ok {
//		http.Redirect(w, r, required.AuthURL, http.StatusFound)
//		return
//	}
//
// At the callback URL, pass on what the browser brings:
//
//	resp := oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery))
//	err := client.FinishAuth(ctx, resp)
//
// Then call tools, and revoke the tokens in the end. Any call may ask for the user
// again:
//
//	tools, err := client.ListTools(ctx)
//	result, err := client.CallTool(ctx, "search", map[string]any{"query": "go"})
//	err = client.Disconnect(ctx)
//
// The zero [Config] keeps everything in memory; see [CredentialStore], [AttemptStore]
// and [RegistrationStore]. [Shared] says how a client is registered. [ServerPolicy]
// has switches for servers that deviate, and [NetworkPolicy] says which addresses
// are reached. [MCPOAuthClient.Transport] serves the SDK's own client. A whole
// program is examples/cli in the repository.
//
// # Concurrency
//
// All types are safe for concurrent use. Concurrent calls share one connect, one
// authorization and one refresh, which continue when a caller leaves.
//
// # Security
//
// FinishAuth proves that a response belongs to an attempt, not that it came with the
// browser that was sent away. A host with users must bind the two, as httpapi does.
// A [Secret] is in no log, error or format verb. The one exception is
// [AuthorizationRequiredError].AuthURL, which is for the browser alone.
package oauthclient
