// Package httpapi is the HTTP side of the library: the endpoints with which a
// web application's front end connects its users to MCP servers and uses their
// tools. It decodes, guards, calls a [session.Manager] and encodes.
//
// # Walk-through
//
// Make a [Handler] of a manager and mount it under Config.Prefix, without
// http.StripPrefix:
//
//	h, err := httpapi.New(manager, httpapi.Config{
//		PublicURL: "https://app.example.com",
//		Identify: func(r *http.Request) (string, error) {
//			return users.SignedIn(r) // your own
//		},
//	})
//	if err != nil {
//		return err
//	}
//	mux.Handle("/api/mcp/", h)                        // net/http
//	router.Handle("/api/mcp/*", h)                    // chi
//	engine.Any("/api/mcp/*path", gin.WrapH(h))        // gin
//	e.Any("/api/mcp/*", echo.WrapHandler(h))          // echo
//
// Or give each endpoint a route of your own; all protections are in the
// methods:
//
//	mux.HandleFunc("POST /mcp/connect", h.Connect)
//	mux.HandleFunc("/oauth/callback", h.Callback) // and Config.AllowedCallbackURLs
//
// The front end connects:
//
//	POST /api/mcp/auth/connect   {"serverUrl": "https://mcp.example.com/mcp"}
//
// The answer is 200 {"success":true,"sessionId":…}, or, for most servers the
// first time, 401 {"requiresAuth":true,"authUrl":…,"sessionId":…}. Then open
// authUrl in a popup or a tab. When the user has decided, the authorization
// server sends the browser to auth/callback, which shows a small page: that
// page posts the message {source:"mcpoauth", status:"connected"|"failed"} to
// window.opener and on the BroadcastChannel "mcpoauth", and closes itself.
// Where both get lost, ask GET auth/status?sessionId=&attemptId=&wait=25. Without
// popups, set Config.AfterCallback and the browser is sent there instead.
//
// The module mcp-oauth.js, which is served beside the routes, does all that:
//
//	import { MCPOAuth } from "/api/mcp/mcp-oauth.js";
//	const mcp = new MCPOAuth();
//	const { sessionId } = await mcp.connect("https://mcp.example.com/mcp", { eagerPopup: true });
//	const result = await mcp.callTool(sessionId, "search", { q: "x" });
//
// From then on the session ID is all that is needed, on every replica:
//
//	GET  /api/mcp/tool/list?sessionId=…
//	POST /api/mcp/tool/call      {"sessionId":…, "toolName":"search", "toolArgs":{"q":"x"}}
//	POST /api/mcp/auth/disconnect {"sessionId":…}
//
// Any of these calls may answer 401 with requiresAuth again, because a token
// was revoked or a tool needs more scopes: handle it as in connect, then call
// once more.
//
// # Answers
//
// Bodies are the types of this package; types.ts beside it has the same for
// TypeScript, and openapi.json, which is served, describes all routes. A Go client decodes a [Response] and asks what it is with
// [IsConnectSuccess] and its siblings. Errors are an [ErrorResponse] with a
// text for a person and a code for a program; 429 and 503 come with
// Retry-After. A 5xx other than 500 is about a server further on, and 500 is
// a bug of ours: neither a caller nor an MCP server nor an authorization
// server can cause it. A tool that ran and failed is a 200 with isError.
//
// Tools and results pass through as the MCP server wrote them, further members
// and large numbers included, and so does toolArgs in the other direction.
//
// With Accept: text/event-stream, tool/call answers with events: progress
// while the tool runs, then result or error. EventSource cannot send a POST;
// read the stream with fetch. Stopping to read cancels the call.
//
// # Hosts
//
// Behind a proxy, Config.PublicURL is what browsers see, and Config.TrustedProxies
// has the proxy's network: X-Forwarded-For is read for the rate limits, from the
// right and as far as those networks wrote it. Without it the proxy is taken for
// a client, with one budget for everybody behind it, and the log says so. No
// other forwarded header is looked at. The callback must be reachable without a
// header or a SameSite=Strict cookie, because the browser comes from another
// site.
//
// The host's other middleware applies as always; only two things need a
// thought. Compression must flush with the events. And a front end at another
// origin than PublicURL belongs into Config.TrustedOrigins: the Handler sets the
// headers of CORS for it, and the host's middleware must not set them again.
//
// # Concurrency
//
// A Handler is safe for concurrent use. Requests that run when the server
// shuts down end with it; close the manager afterwards.
//
// # Security
//
// Every answer is no-referrer and nosniff, and may not be framed. All but the
// client metadata document and the static files are no-store.
// POSTs from pages of other origins are refused ([http.CrossOriginProtection]),
// and so is what is not JSON, except that the callback also takes a form. Bodies
// are bounded in size and depth, queries in length. How long a client may take to
// send them is for the host's [http.Server] to say: set ReadHeaderTimeout,
// ReadTimeout and MaxHeaderBytes, but no WriteTimeout, which would end event
// streams; those have Config.WriteTimeout.
//
// Each caller has three budgets a minute, for connects, callbacks and all the
// rest: an owner, or the address of a client without a login, and so
// a flood without a login uses up no user's budget. Requests are counted after
// Identify and before their body is read. If the store counts (see
// [session.Manager.Counter]), replicas share the budgets: each reserves a portion
// of a budget in the store before it uses that portion, so together they never
// allow more than the limit. Portions grow while a caller needs them and shrink
// near the limit. While the store is away each replica counts alone. Memory is
// bounded: of more than 100,000 callers in a minute the later ones share 1,024
// budgets, and no flood of addresses resets a count or takes an owner's budget.
// Answers say what is left in X-RateLimit-Limit, -Remaining and -Reset, and at
// the limit Retry-After.
//
// An authorization belongs to the browser in which it was begun: connect sets
// an HttpOnly, SameSite=Lax cookie with a random value (named __Host-mcpoauth-…
// where PublicURL is https), and the callback is refused unless the browser
// has it and Config.Identify, if any, names the owner who began. So an attacker
// cannot get a victim to authorize the attacker's session. A page on another
// site, which gets no cookie, sends a random value of its own in the header
// Mcpoauth-Binding, and posts the authorization response with it.
//
// Where PublicURL is http, on loopback, requests to another Host are refused:
// a page of an attacker's could have its own name resolve to loopback.
//
// callbackUrl is compared with the host's own configuration, byte for byte.
// Another owner's session is answered exactly like one that does not exist, byte
// for byte, and whatever is wrong with a callback has one answer too.
// Without Identify a session ID is a bearer secret: keep it as you would keep
// a login. GETs take it in the header Mcpoauth-Session, or in their query; no
// query is ever logged here, and a host should not log these either.
//
// What is sent has no detail that is not the caller's to know; the log has it,
// under the ID that the client finds in X-Request-Id. Neither has secrets.
package httpapi
