package main

import (
	"net/http"
	"strings"
)

// kind is a kind of exchange, and the fields of it that are shown. No other field is
// shown.
type kind struct {
	name string
	note string // for the reader

	// What an exchange must have to be of this kind; the first kind that fits
	// is the one.
	to, method, path string // path is a part of it
	rpc              string // the JSON-RPC method
	status           int    // zero for any

	asked, answered string // names of fields, separated by spaces; see content.find
}

// kinds is the protocol, in the order in which a reader meets it.
var kinds = []kind{
	{
		name: "connect", to: host, path: "/auth/connect",
		asked: "serverUrl", answered: "success requiresAuth authUrl sessionId Set-Cookie",
	},
	{
		name: "challenge", note: "no good token: a challenge", to: mcpServer, status: http.StatusUnauthorized,
		asked: "Authorization", answered: "WWW-Authenticate",
	},
	{
		name: "resource metadata", note: "RFC 9728: who issues tokens?", to: mcpServer, path: "/.well-known/oauth-protected-resource",
		answered: "resource authorization_servers scopes_supported",
	},
	{
		name: "server metadata", note: "RFC 8414: where are its endpoints?", to: authServer, path: "/.well-known/",
		answered: "issuer authorization_endpoint token_endpoint registration_endpoint revocation_endpoint code_challenge_methods_supported",
	},
	{
		name: "registration", note: "RFC 7591: the host becomes a client", to: authServer, path: "/register",
		asked:    "client_name application_type redirect_uris grant_types token_endpoint_auth_method",
		answered: "client_id client_secret",
	},
	{
		name: "authorization page", note: "the authorization URL", to: authServer, method: http.MethodGet, path: "/authorize",
		asked:    "response_type client_id redirect_uri resource scope state code_challenge code_challenge_method prompt",
		answered: "Location title",
	},
	{
		name: "decision", note: "the user's answer", to: authServer, method: http.MethodPost, path: "/authorize",
		asked: "decision", answered: "Location",
	},
	{
		name: "callback", to: host, path: "/auth/callback",
		asked: "Cookie code state iss", answered: "Content-Type title success message",
	},
	{
		name: "token request", note: "the code and the verifier for tokens", to: authServer, path: "/token",
		asked:    "Authorization grant_type code code_verifier redirect_uri resource refresh_token",
		answered: "access_token token_type expires_in refresh_token scope",
	},
	{
		name: "discover", note: "MCP 2026-07-28", to: mcpServer, rpc: "server/discover",
		asked: "Authorization", answered: "result.supportedVersions",
	},
	{
		name: "initialize", note: "MCP 2025-11-25 and before", to: mcpServer, rpc: "initialize",
		asked: "Authorization params.protocolVersion", answered: "result.serverInfo.name result.protocolVersion Mcp-Session-Id",
	},
	{
		name: "initialized", to: mcpServer, rpc: "notifications/initialized",
		asked: "Authorization Mcp-Session-Id",
	},
	{
		name: "status", to: host, path: "/auth/status",
		asked: "sessionId", answered: "status serverUrl",
	},
	{
		name: "list", to: host, path: "/tool/list",
		asked: "sessionId", answered: "tools",
	},
	{
		name: "tools/list", to: mcpServer, rpc: "tools/list",
		asked: "Authorization Mcp-Session-Id", answered: "result.tools",
	},
	{
		name: "call", to: host, path: "/tool/call",
		asked: "sessionId toolName toolArgs", answered: "content structuredContent isError requiresAuth authUrl",
	},
	{
		name: "tools/call", to: mcpServer, rpc: "tools/call",
		asked: "Authorization Mcp-Session-Id params.name params.arguments", answered: "WWW-Authenticate result.content result.structuredContent",
	},
	{
		name: "disconnect", to: host, path: "/auth/disconnect",
		asked: "sessionId", answered: "success message",
	},
	{
		name: "end of MCP session", note: "ends the MCP session", to: mcpServer, method: http.MethodDelete,
		asked: "Authorization Mcp-Session-Id",
	},
	{
		name: "revocation", note: "RFC 7009", to: authServer, path: "/revoke",
		asked: "Authorization token_type_hint token",
	},
}

// unknown is the kind of all other exchanges. Nothing is shown of them.
var unknown = kind{name: "unknown"}

// kindOf finds the kind of an exchange.
func kindOf(x *exchange) kind {
	status, _, _, _ := x.answer()
	rpc := rpcMethod(x)
	for _, k := range kinds {
		if k.to == x.to && (k.method == "" || k.method == x.req.Method) && strings.Contains(x.req.URL.Path, k.path) &&
			(k.rpc == "" || k.rpc == rpc) && (k.status == 0 || k.status == status) {
			return k
		}
	}
	return unknown
}
