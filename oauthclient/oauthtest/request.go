package oauthtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// The endpoints of the servers, for [Faults] and [Request].
const (
	// EndpointAuthorize is where an authorization server sends the user.
	EndpointAuthorize = "authorize"
	// EndpointToken issues and refreshes tokens.
	EndpointToken = "token"
	// EndpointRegister registers clients (RFC 7591).
	EndpointRegister = "register"
	// EndpointRevoke revokes tokens (RFC 7009).
	EndpointRevoke = "revoke"
	// EndpointMetadata is the metadata of an authorization server (RFC 8414), or
	// that of a protected resource (RFC 9728).
	EndpointMetadata = "metadata"
	// EndpointMCP is all of an MCP server but its metadata.
	EndpointMCP = "mcp"
)

// Request is a request that a server received, whatever the server answered.
type Request struct {
	// Endpoint is one of the Endpoint constants, or "other".
	Endpoint string
	Method   string
	Path     string
	Header   http.Header
	// Form has the parameters of the query and of a form body.
	Form url.Values
	Body []byte
	// RPCMethod is the JSON-RPC method; empty for other requests.
	RPCMethod string
	// Params are the JSON-RPC parameters.
	Params json.RawMessage
	// Tool is the name of the tool that tools/call names.
	Tool string
	Time time.Time
	// Status is the status of the answer; 0 if there is none.
	Status int
}

func fromAuth(requests []authtest.Request) []Request {
	out := make([]Request, 0, len(requests))
	for _, r := range requests {
		form := url.Values{}
		for _, values := range []url.Values{r.Query, r.Form} {
			for name, value := range values {
				form[name] = append(form[name], value...)
			}
		}
		out = append(out, Request{
			Endpoint: r.Endpoint, Method: r.Method, Path: r.Path, Header: r.Header, Form: form,
			Body: r.Body, Time: r.Time, Status: r.Status,
		})
	}
	return out
}

func fromMCP(requests []mcptest.Request) []Request {
	out := make([]Request, 0, len(requests))
	for _, r := range requests {
		out = append(out, Request{
			Endpoint: r.Endpoint, Method: r.Method, Path: r.Path, Header: r.Header, Form: url.Values{},
			Body: r.Body, RPCMethod: r.RPCMethod, Params: r.Params, Tool: r.Tool, Time: r.Time, Status: r.Status,
		})
	}
	return out
}
