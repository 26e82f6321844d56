// Package wire holds what the test servers of this repository share: a
// listener on the loopback interface, a log of the requests that arrived, and
// faults on demand (errors, hangs, delays, answers lost on the way).
//
// It knows nothing of OAuth or MCP and does not import testing, so that an
// example program can run the same servers.
package wire
