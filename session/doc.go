// Package session keeps the connections of many users to many MCP servers: on
// every replica of a web application, across restarts, with the users' tokens
// sealed in a store that all replicas share. Package httpapi is this package as HTTP
// routes. A chat bot calls it directly: examples/agent is a whole program.
//
// # Walk-through
//
// Make one [Manager] per process. All replicas need the same store, keys and client
// settings:
//
//	keys, err := session.ParseSealKeys(os.Getenv("SEAL_KEYS")) // openssl rand -base64 32
//	m, err := session.New(session.Config{Store: store, SealKeys: keys})
//	defer m.Close()
//
// Say on whose behalf you call: your own ID of the user, from your login, and a
// random value in a cookie of this browser. Most servers want the user to authorize.
// Then the error has the URL to send the browser to, and info is valid:
//
//	caller := session.Caller{Owner: userID, Binding: cookie.Value}
//	info, err := m.Connect(ctx, caller, session.ConnectParams{
//		ServerURL:   "https://mcp.example.com/mcp",
//		CallbackURL: "https://app.example.com/callback",
//	})
//	if required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err); ok {
//		http.Redirect(w, r, required.AuthURL, http.StatusFound)
//	}
//
// In the handler of the callback URL, on whichever replica:
//
//	response := oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery))
//	info, err := m.FinishAuth(ctx, caller, "", response)
//
// From now on the session's ID is enough. Any call may ask for the user again:
//
//	result, err := m.CallTool(ctx, caller, info.ID.Reveal(), "search", args)
//	err = m.RemoveClient(ctx, caller, info.ID.Reveal()) // revokes the tokens
//
// # Concurrency
//
// A [Manager] is safe for concurrent use, and so is any number of Managers on one
// store. Clocks of replicas may differ by less than half a minute.
//
// # Security
//
// Treat a session ID as you treat a login cookie; only its first half is logged. The
// owner must come from your login, and CallbackURL from your configuration. Another
// owner's session does not exist. A callback is accepted from the owner and the
// browser that began; a host with neither owners nor bindings lets an attacker have
// a victim authorize the attacker's session.
package session
