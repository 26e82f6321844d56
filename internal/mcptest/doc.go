// Package mcptest is an MCP server, protected by OAuth or open, for tests,
// examples and benchmarks. It is the official SDK's server behind real HTTP on
// the loopback interface; it records what it was sent, and can be made to fail
// and deviate in the ways real servers do.
//
//	as := authtest.New(authtest.Options{})
//	defer as.Close()
//	srv := mcptest.New(mcptest.Options{Auth: as})
//	defer srv.Close()
//	// … connect a client to srv.URL() …
//	calls := srv.Count("tools/call")
//
// The zero Options are an open, stateless server of the newest protocol version
// that also speaks the older ones. With [Options.Auth] every request needs a
// token of that authorization server which was issued for this server.
//
// The tools it has are listed at [Tools].
//
// # Concurrency
//
// A Server is safe for concurrent use.
//
// # Security
//
// It is for loopback use only.
package mcptest
