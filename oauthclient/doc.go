// Package oauthclient connects one user to one MCP server that is protected by
// OAuth: it finds the authorization server, registers a client, sends the user
// to the browser, exchanges the code, keeps the tokens fresh, and calls tools.
//
// An authorization is two requests: one that ends with a URL for the browser,
// and one that the browser comes back with. They may reach different
// processes, with a restart in between. So nothing here waits for a user: a
// method that needs one returns [*AuthorizationRequiredError], and works when
// it is called again after [MCPOAuthClient.FinishAuth].
//
// The package can be used alone, by a command-line tool or by a host with its
// own storage; examples/cli is a whole program. Package session builds on it
// for web applications with many users.
//
// # Walk-through
//
// Make a client. The callback URL is a page of yours:
//
//	client, err := oauthclient.New(oauthclient.Config{
//		ServerURL:   "https://mcp.example.com/mcp",
//		CallbackURL: "https://app.example/oauth/callback",
//	})
//
// Connect, and send the user to the authorization server if that is needed:
//
//	err = client.Connect(ctx)
//	if required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err); ok {
//		http.Redirect(w, r, required.AuthURL, http.StatusFound)
//		return
//	}
//
// At the callback URL, pass on what the browser brings. The host must make
// sure that it is the browser it sent away (see Security below):
//
//	resp := oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(r.URL.RawQuery))
//	err := client.FinishAuth(ctx, resp)
//
// From then on there are tools to list and to call:
//
//	tools, err := client.ListTools(ctx)
//	result, err := client.CallTool(ctx, "search", map[string]any{"query": "go"})
//
// Any call may return [*AuthorizationRequiredError] again: the user withdrew
// the authorization, it ended for good, the tool needs more scopes, or the
// server asks for a token only now. Handle it as at connect. What went wrong
// otherwise has a type of its own: a [*TemporaryError] may be gone when the
// call is repeated, an [*InsufficientScopeError] will not.
//
// When the user disconnects, revoke what they granted:
//
//	err = client.Disconnect(ctx)
//
// # Storage
//
// By default everything is in memory. A host with several processes, or one
// that restarts, implements three small interfaces: [CredentialStore] for the
// tokens of a connection, [AttemptStore] for authorizations under way, and
// [RegistrationStore] for the clients that were registered, which all
// connections share. The values have MarshalBinary and UnmarshalBinary; encrypt
// what they return.
//
// # Client registration
//
// A client is what the authorization server knows the host as. In order of
// preference: one from [Config.PreregisteredClients], a Client ID Metadata
// Document ([Config.ClientMetadataURL]), dynamic registration (RFC 7591). When
// none is possible, [*RegistrationRequiredError] says where to register which
// redirect URI by hand.
//
// A dynamic registration is shared by all connections. Many servers show only
// the user's browser that they no longer know a client:
// [OAuthProvider.Reauthorize] asks for a new one.
//
// # Servers that deviate
//
// The specifications are followed strictly. Where a server does not, an error
// says what it was, with both values of a mismatch, and [ServerPolicy] has a
// switch for it, named after what it gives up. [Shared.PolicyFor] sets switches
// for one server and not for others; [KnownServers] has those of known servers.
//
// # The SDK's client
//
// [MCPOAuthClient.Session] gives the SDK's session, for prompts, resources and
// everything else. [OAuthProvider] is the part without MCP; it implements the
// SDK's OAuthHandler and can be given to any [mcp.StreamableClientTransport].
// MCPOAuthClient does more: it refreshes before a call instead of within the
// SDK's lock, replaces lost sessions, bounds answers, and keeps results and
// schemas as the server sent them.
//
// # Concurrency
//
// All types are safe for concurrent use. Concurrent calls share one connect,
// one authorization attempt, one registration and one refresh; processes that
// share a store share them too. A refresh or an exchange that has begun goes on
// when its caller gives up, because the server has spent the old token or the
// code by then.
//
// A request is repeated only if the server certainly did not execute it: it
// answered 401, or 404 for an MCP session that it had ended. A call whose
// connection broke is never repeated.
//
// # Security
//
// PKCE (S256), a single-use state, the issuer of the response (RFC 9207) and
// the resource indicator (RFC 8707) are always checked or sent, unless a
// [ServerPolicy] says otherwise. Credentials and clients are bound to the issuer
// they came from.
//
// FinishAuth proves that a response belongs to an attempt, not that the browser
// that brings it is the one the attempt was made for. A host with users must
// bind the two, with a cookie for instance: otherwise an attacker can have a
// victim authorize the attacker's connection. Packages session and httpapi do.
//
// The default transport reaches public addresses over https only, on ports
// 443 and 8443; see [NetworkPolicy]. Access tokens do not follow a redirect to
// another origin. Where both servers support DPoP (RFC 9449), tokens are bound to a
// key of the connection, and are never sent without its proof.
//
// Secrets are of type [Secret], which no log, error or format verb shows. The
// one exception is [AuthorizationRequiredError].AuthURL, which holds the state
// and is for the browser alone.
package oauthclient
