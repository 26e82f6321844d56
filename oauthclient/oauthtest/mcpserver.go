package oauthtest

import (
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// MCPServerConfig configures an [MCPServer]. The zero value is an open,
// stateless server of the newest protocol version, which speaks the older ones
// too.
type MCPServerConfig struct {
	// Addr is the address to listen on. Defaults to a free port of 127.0.0.1.
	Addr string
	// Path is the path of the MCP endpoint. Defaults to "/mcp".
	Path string
	// Auth is the authorization server whose tokens are required. Defaults to
	// none: every request is answered.
	Auth *AuthServer
	// RequiredScopes are needed for every request. Defaults to none.
	RequiredScopes []string
	// ToolScopes are needed to call a tool. Defaults to "admin" for the tool of
	// that name.
	ToolScopes map[string][]string
	// ProtocolVersions are the versions that are served. Defaults to all that
	// the SDK knows.
	ProtocolVersions []string
	// Stateful keeps sessions (Mcp-Session-Id), which protocol versions up to
	// 2025-11-25 have. Defaults to stateless.
	Stateful bool
	// JSONResponse answers with JSON. Defaults to event streams.
	JSONResponse bool
	// Configure adds tools, prompts and resources to the SDK's server before it
	// serves. Defaults to nothing.
	Configure func(*mcp.Server)
	// Faults are there from the start; see [MCPServer.SetFaults].
	Faults Faults
}

// MCPServer is an MCP server on the loopback interface. It has these tools, and
// the ones that Configure adds:
//
//   - add returns the sum of the integers a and b
//   - admin needs the scope admin
//   - echo returns its arguments, as structured content and as text
//   - fail returns a result with isError
//   - protocol_error answers with a JSON-RPC error
//   - rich returns content of every kind, and _meta
//   - slow sends count progress notifications, intervalMs apart
//   - whoami returns user, client and scopes of the token
type MCPServer struct{ server *mcptest.Server }

// NewMCPServer starts a server; the caller closes it. It panics if it cannot
// listen, as [net/http/httptest.NewServer] does, and for a configuration that is
// not valid.
func NewMCPServer(cfg MCPServerConfig) *MCPServer {
	options := mcptest.Options{
		Addr: cfg.Addr, Path: cfg.Path, RequiredScopes: cfg.RequiredScopes, ToolScopes: cfg.ToolScopes,
		ProtocolVersions: cfg.ProtocolVersions, Stateful: cfg.Stateful, JSONResponse: cfg.JSONResponse, Configure: cfg.Configure,
	}
	if cfg.Auth != nil {
		options.Auth = cfg.Auth.server
	}
	s := &MCPServer{mcptest.New(options)}
	s.SetFaults(cfg.Faults)
	return s
}

// Close stops the server, cuts every connection and ends every session.
func (s *MCPServer) Close() { s.server.Close() }

// URL returns the URL of the MCP endpoint.
func (s *MCPServer) URL() string { return s.server.URL() }

// SetFaults replaces the faults; nil ends all. A key is [EndpointMCP],
// [EndpointMetadata], [EveryEndpoint] or a JSON-RPC method; it panics for an endpoint of an
// authorization server.
func (s *MCPServer) SetFaults(faults Faults) {
	faults.set(s.server.Faults(), []string{EndpointMCP, EndpointMetadata}, func(name string) string {
		switch {
		case name == EndpointMCP || name == EndpointMetadata:
			return name
		case slices.Contains(authEndpoints, name):
			return ""
		}
		return "rpc:" + name
	})
}

// RejectTokens answers the next n requests with 401 and a challenge, whatever
// their token.
func (s *MCPServer) RejectTokens(n int) { s.server.RejectNext(n) }

// ForgetSessions ends every session of a stateful server, as a restart does.
func (s *MCPServer) ForgetSessions() { s.server.KillSessions() }

// Requests returns the requests with a JSON-RPC method, oldest first, or all
// requests for an empty name. Requests that failed are among them.
func (s *MCPServer) Requests(rpcMethod string) []Request {
	if rpcMethod == "" {
		return fromMCP(s.server.Requests())
	}
	return fromMCP(s.server.RPC(rpcMethod))
}

// Executed returns how often one of the server's own tools ran.
func (s *MCPServer) Executed(tool string) int { return s.server.Executed(tool) }
