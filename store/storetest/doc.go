// Package storetest is the contract of [store.SessionStore] as a test suite.
//
// The author of a backend runs it from a test of the backend's own package. A
// backend for this library is one that passes. Every failure begins
// with "contract:" and names the promise that was broken.
//
// # Walk-through
//
// [Run] calls a function of yours once per case. It returns a [Backend]: a
// store with no records in it, and what the suite may know about it.
//
//	func TestStore(t *testing.T) {
//		server := startServer(t)
//		storetest.Run(t, func(t testing.TB) storetest.Backend {
//			prefix := rand.Text() // cases run in parallel, each with its own keys
//			return storetest.Backend{
//				Store:    open(t, server, prefix),
//				Peer:     open(t, server, prefix),
//				Isolated: open(t, server, rand.Text()),
//			}
//		})
//	}
//
// Peer is a second handle on the same data, as a second replica has one: with
// it, races, locks and caches are tried across handles. Isolated shares the server
// and must share nothing else. A backend with a clock of its own also gives Now and
// Advance; without them the suite waits for short lives to pass, for some seconds.
//
// Covered are values, conflicts, expiry, leases, races, arguments and error texts.
// Outages are not: the backend's own tests should show that an unreachable server
// gives an error that is none of the sentinels of package store.
//
// # Concurrency
//
// Cases run in parallel, and Run returns when all of them have ended. Within a
// case the handles are used from many goroutines.
//
// # Security
//
// The suite writes made-up values only. Point it at a database made for tests:
// most cases leave records behind that expire after a day.
package storetest
