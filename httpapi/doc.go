// Package httpapi is the HTTP side of the library: the endpoints with which a
// web application's front end connects its users to MCP servers and uses their
// tools. It decodes, guards, calls a [session.Manager] and encodes.
//
// # Walk-through
//
// Make a [Handler] and mount it under Config.Prefix, without http.StripPrefix:
//
//	h, err := httpapi.New(manager, httpapi.Config{
//		PublicURL: "https://app.example.com", // as browsers see it
//		Identify: func(r *http.Request) (string, error) {
//			return users.SignedIn(r) // your own
//		},
//	})
//	mux.Handle("/api/mcp/", h) // docs/howto.md has chi, gin and echo
//
// The front end imports the module mcp-oauth.js, which is served beside the routes:
//
//	import { MCPOAuth } from "/api/mcp/mcp-oauth.js";
//	const mcp = new MCPOAuth();
//	const { sessionId } = await mcp.connect("https://mcp.example.com/mcp", { eagerPopup: true });
//	const result = await mcp.callTool(sessionId, "search", { q: "x" });
//
// Or it sends the requests itself. Each may answer 401 {"requiresAuth":true,
// "authUrl":…,"sessionId":…}: open authUrl in a popup, wait, and repeat the request.
//
//	POST /api/mcp/auth/connect    {"serverUrl": "https://mcp.example.com/mcp"}
//	GET  /api/mcp/auth/status?sessionId=…&attemptId=…&wait=25
//	GET  /api/mcp/tool/list?sessionId=…
//	POST /api/mcp/tool/call       {"sessionId":…, "toolName":"search", "toolArgs":{"q":"x"}}
//	POST /api/mcp/auth/disconnect {"sessionId":…}
//
// docs/http-api.md in the repository has all routes. types.ts has the answers for
// TypeScript; a Go client decodes a [Response].
//
// # Concurrency
//
// A Handler is safe for concurrent use. Shut the server down first, then close the
// manager.
//
// # Security
//
// Without Identify a session ID is a bearer secret. Requests from pages of other
// origins are refused, and so are callbacks from another browser or owner than the
// ones that began. No log line of this package has a secret; an access log with
// queries has codes and session IDs. [Handler] says more.
package httpapi
