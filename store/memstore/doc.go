// Package memstore is a [store.SessionStore] in the memory of the process.
//
// It suits a host with one replica, command-line and desktop programs, and
// tests. Sessions are gone after a restart and no other process sees them; a
// host with several replicas needs a store that they share.
//
// # Walk-through
//
//	s := memstore.New(memstore.Config{MaxEntries: 10_000})
//	manager, err := session.New(session.Config{Store: s})
//
// There is nothing to close: the store has no background goroutine.
//
// # Bounds
//
// A Store holds at most [Config].MaxEntries records of at most
// [Config].MaxValueBytes each. Expired records make room for new ones; when
// none is left, creating returns [store.ErrFull]. A live record is never
// evicted, because it may be the only copy of a refresh token.
//
// Each write reclaims a few expired records. A host that wants expired values out
// of memory at once, or that writes seldom, calls [Store.Sweep] from a ticker.
//
// # Testing
//
// Two Managers that share one *Store behave like two replicas that share a
// database. Inside a [testing/synctest] bubble a Store with the default clock runs
// on the bubble's time. With an injected [Config].Now, move the clock and call
// [Store.Sweep].
//
// # Concurrency
//
// A *Store is safe for concurrent use. Locks are granted in the order in which
// they were asked for; waiting costs no polling.
//
// # Security
//
// Values lie in memory as they were given. [Store.Ephemeral] reports true, so
// package session does not insist on sealing them; it does so if it is given
// keys. An expired value is never returned.
package memstore
