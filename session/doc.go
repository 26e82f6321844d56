// Package session keeps the connections of many users to many MCP servers: on
// every replica of a web application, across restarts, with the users' tokens
// sealed in a store that all replicas share.
//
// A web application cannot wait for its users in a goroutine. Here an
// authorization is two requests: one sends the user to authorize, another one
// gets the answer, perhaps on another replica and after a restart. Everything
// in between is in the store.
//
// Package httpapi is this package as HTTP routes, which is all that most hosts
// need to look at. A host that calls it directly, such as a chat bot, finds a
// whole program in examples/agent.
//
// # Walk-through
//
// Make one [Manager] per process. All replicas need the same store, the same
// keys and the same client settings:
//
//	keys, err := session.ParseSealKeys(os.Getenv("SEAL_KEYS"))
//	if err != nil {
//		return err
//	}
//	m, err := session.New(session.Config{Store: store, SealKeys: keys})
//	if err != nil {
//		return err // every mistake in the Config at once
//	}
//	defer m.Close()
//
// Say on whose behalf you call. The owner is your own ID of the user, from your
// login; the binding is a random value in a cookie of this browser:
//
//	caller := session.Caller{Owner: userID, Binding: cookie.Value}
//
// [Manager.Connect] makes a session. Most servers want the user to authorize:
// then the error has the URL to send the browser to:
//
//	info, err := m.Connect(ctx, caller, session.ConnectParams{
//		ServerURL:   "https://mcp.example.com/mcp",
//		CallbackURL: "https://app.example.com/callback",
//	})
//	if required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err); ok {
//		http.Redirect(w, r, required.AuthURL, http.StatusFound) // info is valid: the session exists
//	}
//
// Keep the session's ID, which is what the front end needs for everything else.
// It is a Secret, so that it gets into no log by accident:
//
//	sessionID := info.ID.Reveal()
//
// In the handler of the callback URL, on whichever replica:
//
//	response := oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery))
//	info, err := m.FinishAuth(ctx, caller, "", response)
//
// From now on call tools:
//
//	tools, err := m.ListTools(ctx, caller, sessionID)
//	result, err := m.CallTool(ctx, caller, sessionID, "search", args)
//
// Any call may return [*oauthclient.AuthorizationRequiredError] again: users
// withdraw their consent, and some tools need more scopes. Treat it as you do
// after Connect, and call again when [Config.OnAuthorized] tells that the user
// is back; [Config.OnAuthorizationFailed] tells that the user, or a server, said
// no. [Manager.RemoveClient] ends a session and revokes its tokens.
//
// A server may ask the user in the middle of a call ([Ask]). One of revision
// 2026-07-28 gets the answers with a second call ([InputRequiredError]). An older
// one lets the call wait: [Ask].OnInput shows the question, and
// [Manager.AnswerInput] takes the answer, on any replica.
//
// Other errors to tell apart: [ErrNotFound] (no such session, for this caller),
// [*StoreError] (try again), [*LimitError], [*InputError], [ErrClosed], and
// those of package oauthclient.
//
// # Life of a session
//
// A session lives for [Config].TTL after its last use. In the meantime it is in
// one of the states of [Status], none of which it can be stuck in: using it, or
// connecting again, always starts over.
//
// All that a call needs is in the session's record: credentials, and what was
// agreed on with the MCP server. In memory a replica has a bounded cache of
// decoded records and nothing that must be closed. A replica that has never seen
// a session, or has forgotten it, calls with one Get and one request.
//
// An access token is refreshed ahead of its end, once for all calls of all
// replicas. The new tokens are stored before they are used. An outage of the
// authorization server, the MCP server or the store costs no credentials.
//
// A session that must outlast more than Config.TTL's 24 hours without use needs a
// longer TTL, and [Config].KeepAlive with [Manager.KeepAlive], so that its refresh
// token does not end in the meantime.
//
// # What the host decides
//
// [Config].AllowServer, ToolFilter and BeforeCall say which servers and tools a
// user has, and hold at the call. AllowHeaders and AllowKeyHeaders let users give
// API keys with [ConnectParams].Headers; HeaderProvider adds the host's own.
// [Manager.Tools] lists the tools of all of a user's sessions for a model, and
// [Manager.RemoveOwner] ends everything of a user.
//
// # Concurrency
//
// A [Manager] is safe for concurrent use, and so is any number of Managers on
// one store, in one process or in many. Records change by compare-and-swap
// only. Refreshes, registrations and removals also take a lease in the store;
// one that runs out early costs work, never a lost update. Clocks of replicas
// may differ by less than half a minute.
//
// Hooks are called in the goroutine of the call that they are about.
//
// # Security
//
// A session ID is a key and a secret. The key names the record and may be
// logged ([Info].Key); the secret is in the sealed record only. Neither a copy
// of the store nor a log gives access to a session. Treat the ID as you treat a
// login cookie.
//
// Records are sealed with AES-256-GCM, bound to their place in the store.
// [New] refuses a store that outlives the process without [Config].SealKeys. To
// replace a key, add the new one at the end on all replicas, then move it to
// the front, and drop the old one when the records it sealed have expired. What
// no key opens does not exist.
//
// A session of another owner is answered exactly like one that does not exist.
// The owner must come from your own login, never from the request.
//
// The callback is accepted from the browser that began, or for the same owner.
// Otherwise an attacker could have a victim authorize the attacker's session. A
// host with neither owners nor bindings has no such protection. CallbackURL
// must come from configuration, never from a request unchecked.
//
// Which addresses may be reached is up to [Config].Client.Transport; by
// default public ones over https only, see [oauthclient.NetworkPolicy].
//
// No secret is in an error, a log record or a formatted value of this package.
package session
