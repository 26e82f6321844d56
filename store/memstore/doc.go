// Package memstore is a [store.SessionStore] in the memory of the process.
//
// It suits a host with one replica, command-line and desktop programs, and
// tests. Sessions are gone after a restart and no other process sees them; a
// host with several replicas needs a store that they share.
//
// # Walk-through
//
//	s := memstore.New(memstore.Config{MaxEntries: 10_000})
//
//	expiry := time.Now().Add(time.Hour)
//	err := s.Swap(ctx, "session:7", nil, []byte("v1"), expiry)             // create
//	value, expiry, err := s.Get(ctx, "session:7")                          // "v1"
//	err = s.Swap(ctx, "session:7", value, []byte("v2"), expiry)            // update
//	err = s.Swap(ctx, "session:7", []byte("v2"), nil, time.Time{})         // take
//
// There is nothing to close: the store has no background goroutine.
//
// # Bounds
//
// A Store holds at most [Config].MaxEntries records of at most
// [Config].MaxValueBytes each. Expired records make room for new ones; when
// none is left, creating returns [store.ErrFull]. A live record is never
// evicted, because it may be the only copy of a refresh token. Locks are
// not counted: there are as many as there are leases that have not ended.
//
// Reclaiming happens with each write, a few expired records at a time and in
// the order of their expiry, so the cost is spread out and no call scans the
// store. A host that wants expired values out of memory at once, or that
// writes seldom, calls [Store.Sweep] from a ticker of its own.
//
// # Testing
//
// Two Managers that share one *Store behave like two replicas that share a
// database; the locks exclude them from each other too.
//
// Inside a [testing/synctest] bubble a Store with the default clock runs on the
// bubble's time, leases included. With an injected [Config].Now, move the clock
// and call [Store.Sweep]: waiters whose turn has come get in at once.
//
// # Concurrency
//
// A *Store is safe for concurrent use. Readers do not exclude each other, and
// values are copied outside the lock. Locks are granted in the order in which
// they were asked for; waiting costs no polling.
//
// # Security
//
// Values lie in memory as they were given. [Store.Ephemeral] reports true, so
// package session does not insist on sealing them; it does so if it is given
// keys. An expired value can stay in memory until a later write or Sweep
// reclaims it, but is never returned.
package memstore
