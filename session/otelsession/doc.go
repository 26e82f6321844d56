// Package otelsession reports the work of packages session, httpapi and oauthclient
// to OpenTelemetry: metrics and traces. It is a module of its own and uses
// OpenTelemetry's API alone; the host brings the SDK and the exporters.
//
//	observer, err := otelsession.New(otelsession.Config{})
//	if err != nil {
//		return err
//	}
//	manager, err := session.New(session.Config{Store: sessions, Observer: observer})
//
// # Metrics
//
// Names are those of the semantic conventions where they have one:
// mcp.client.operation.duration and http.client.request.duration. The others begin
// with mcpoauth. docs/operations.md in the repository lists all.
//
// The labels are bounded: constants of this module, HTTP statuses, registered error
// codes, and at most [Config.MaxServers] servers. No label has a session, an owner,
// a tool, a path or a query.
//
// # Traces
//
// A span of an endpoint has spans of the MCP requests in it, each with spans of
// HTTP requests, those to authorization servers included. The trace context goes to
// MCP servers in the header and in _meta (SEP-414), and to authorization servers in
// the header. A host that wants its own incoming trace context to count puts
// OpenTelemetry's HTTP middleware around the handler.
//
// # Concurrency
//
// An [Observer] is safe for concurrent use.
//
// # Security
//
// An Observer gets no secret and no text of a server. Spans have the names of tools
// and prompts, and the hosts of servers. The trace context that servers get is
// random. [Config.Propagator] leaves out baggage by default, because baggage may
// hold what is not for servers.
package otelsession
