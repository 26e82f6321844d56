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
// Peer is a second handle on the same data, as a second replica has one. With
// it every race and every lock is tried across handles, and a cache inside the
// backend shows whether it is coherent. Isolated shares the server and must
// share nothing else.
//
// # Time
//
// A backend on a server has the server's clock. Leave Advance nil: the suite
// then uses short lives, in multiples of Backend.Resolution, and waits for
// them to pass; it takes some seconds. No case demands that anything be quick,
// so a slow machine does not fail it.
//
// A backend with a clock of its own gives Now and Advance, and time is moved
// instead of waited for; see the example of [Backend].
//
// # What is covered
//
// Missing records, create, update, delete and conflicts through Swap, odd keys
// and binary values, aliasing, expiry to the moment, invalid arguments, ended
// contexts, races of takers, creators and counters, reads that must not be
// stale, leases with all their edges, separate spaces for locks and for other
// prefixes, and error texts without keys or values.
//
// Outages are not covered, as only the backend's own tests can cause one. They
// should show that an unreachable server gives an error that is none of the
// sentinels of package store.
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
