// Package interop has the tests against servers of other projects. Authorization
// servers: a user of examples/server connects, authorizes in a browser, calls
// tools, has the tokens refreshed, allows more, and disconnects. MCP servers: a
// session.Manager uses their prompts, resources and completion, and answers what
// they ask the user, on another replica. The package has no code of its own.
//
//	make interop
//
// The Node.js programs in stacks start the servers that come from npm. Every
// server is configured as its documentation says, apart from short lifetimes.
package interop
