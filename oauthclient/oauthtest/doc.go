// Package oauthtest is a test kit for hosts of this library: an OAuth
// authorization server, an MCP server that it protects, a user's browser, and a
// clock. The servers speak real HTTP on the loopback interface, record what
// they receive, and fail on demand.
//
// # Walk-through
//
// Start both servers, and make a client that may reach loopback addresses:
//
//	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
//	defer auth.Close()
//	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
//	defer server.Close()
//
//	cfg := oauthclient.Config{ServerURL: server.URL(), CallbackURL: "http://127.0.0.1:3000/callback"}
//	cfg.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
//
// A [Browser] is the user. Approve returns the URL that the browser would be
// sent to; Authorize goes there too:
//
//	callbackURL, err := oauthtest.Browser{}.Approve(ctx, required.AuthURL)
//
// Faults are data, and the wire is recorded:
//
//	auth.SetFaults(oauthtest.Faults{oauthtest.EndpointToken: {Status: 503, Times: 2}})
//	refreshes := auth.TokenRequests("refresh_token")
//	calls := server.Requests("tools/call")
//
// A whole server is away, and comes back:
//
//	auth.SetFaults(oauthtest.Faults{oauthtest.EveryEndpoint: {Cut: true}})
//	auth.SetFaults(nil)
//
// Time is a [Clock] that both the servers and the library read:
//
//	clock := oauthtest.NewClock(time.Now())
//	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{Now: clock.Now})
//	cfg.Now = clock.Now
//	clock.Advance(time.Hour) // access tokens have expired
//
// Package httpapi/httpapitest has what a test of a whole host needs: a host in
// one line, and a user with a browser.
//
// # Concurrency
//
// All types are safe for concurrent use.
//
// # Security
//
// The authorization server approves everything without a login, and recorded
// requests have tokens and codes in them. Use it in tests and demonstrations
// on loopback only.
package oauthtest
