// Package httpapitest is a test kit for hosts: a host in one line, and a user
// whose browser has the host's front end in it. Its servers are real HTTP
// servers on the loopback interface, and end with the test.
//
// # Walk-through
//
// A test of code that talks to a host takes [NewHost], with the servers of
// package oauthclient/oauthtest:
//
//	auth := oauthtest.NewAuthServer(oauthtest.AuthServerConfig{})
//	t.Cleanup(auth.Close)
//	server := oauthtest.NewMCPServer(oauthtest.MCPServerConfig{Auth: auth})
//	t.Cleanup(server.Close)
//
//	host := httpapitest.NewHost(t, httpapitest.HostConfig{})
//	alice := host.User("alice")
//	sessionID := alice.Connect(server.URL())
//	result := alice.CallTool(sessionID, "add", map[string]int{"a": 2, "b": 40})
//
// A test of a host with routes and a login of its own takes the parts:
// [NewManager] makes a manager for tests, [Serve] starts a handler that needs
// to know its own URL, and [NewUser] is a user of that host. The user signs in
// first, as the host demands; cookies are kept:
//
//	manager := httpapitest.NewManager(t, session.Config{})
//	url := httpapitest.Serve(t, func(url string) (http.Handler, error) {
//		return newRouter(manager, url) // your own
//	})
//	alice := httpapitest.NewUser(t, url+"/api/mcp", nil)
//	resp, err := alice.Client.PostForm(url+"/login", credentials)
//	resp.Body.Close()
//	sessionID := alice.Connect(server.URL())
//
// Connect and CallTool expect a success. For other answers, and for other
// requests, use Do, which returns the status and the answer. Status and Sessions
// return what the host says of sessions. [Host.Restart] restarts a [Host] on the
// same store.
//
// # Concurrency
//
// A [Host] is safe for concurrent use, except for Restart. The methods of [User] end the test when
// they fail, so call them from the test's own goroutine.
//
// # Security
//
// A [Host] trusts the user name in a header, and its manager reaches loopback
// addresses. Use it in tests only.
package httpapitest
