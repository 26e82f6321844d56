// Package store defines what this library asks of a database: opaque values
// with an absolute expiry, one atomic compare-and-swap, and a lease.
//
// The interface is [SessionStore]. Backends live in packages of their own, so
// that a host compiles only what it uses: package memstore keeps everything in
// the process, packages redisstore, hybridstore and sqlstore share it among
// replicas. Hosts rarely call a store themselves; they choose one and hand it to
// package session.
//
// # Walk-through
//
// Create a record by swapping it in where nothing is:
//
//	err := s.Swap(ctx, "session:7", nil, value, time.Now().Add(time.Hour))
//	if errors.Is(err, store.ErrConflict) {
//		// another caller created it first
//	}
//
// Change it by naming the value that the change started from. A caller that loses a
// race gets ErrConflict, reads again and decides again, so no update is lost:
//
//	for {
//		old, _, err := s.Get(ctx, key)
//		if err != nil {
//			return err
//		}
//		err = s.Swap(ctx, key, old, change(old), expiry)
//		if !errors.Is(err, store.ErrConflict) {
//			return err // nil, or an outage
//		}
//	}
//
// Keep it alive without changing it, so that use conflicts with no change. Get
// returned the expiry; the caller decides whether it is worth a write:
//
//	if time.Until(expiry) < 50*time.Minute {
//		err = s.Extend(ctx, key, time.Now().Add(time.Hour))
//	}
//
// Take it exactly once, on whichever replica is first, by swapping it for
// nothing, or for a mark that says it was taken:
//
//	err := s.Swap(ctx, key, pending, nil, time.Time{})
//	if err != nil {
//		return err // ErrConflict: another request took it
//	}
//
// Do expensive work once among many replicas by taking a lease first, then
// reading again, because the previous holder may have done the work:
//
//	unlock, err := s.Lock(ctx, key, 30*time.Second)
//	if err != nil {
//		return err
//	}
//	defer unlock()
//	value, _, err := s.Get(ctx, key) // sees what the last holder wrote
//
// A lease can run out while its holder is still busy. Keep the Swap: it turns
// the late writer's result into an ErrConflict instead of a lost write.
//
// A store may also count, for limits that replicas share; see [Counter]. And it
// may notice when a record changes, for callers that wait; see [Watcher].
//
// # Writing a backend
//
// A small one, in a directory, is in examples/customstore.
//
// Every method works on one key, so a backend needs no transactions over
// several records and a cluster needs no co-location. What it must have is an
// atomic compare-and-write: a script in Redis, UPDATE … WHERE in SQL, a
// condition expression in DynamoDB. Reading, comparing in Go and then writing
// is not one.
//
//   - Check arguments with [CheckKey], [CheckSwap], [CheckExtend] and [CheckLock], and a
//     context that is already done, before anything else.
//   - Compare the expiry with the clock when reading. A database that reclaims
//     expired rows now and then does not do it at the right moment.
//   - Give each lease a random token of its own and release with a comparison,
//     so that a late unlock does not release its successor's lease.
//   - Return the sentinels for their outcomes only. In particular a timeout or
//     a refused connection must never become [ErrNotFound].
//   - Leave keys and values out of error texts, those of a driver included.
//
// Then run the contract suite against it; package storetest has everything
// that is promised here as tests:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) storetest.Backend {
//			prefix := rand.Text()
//			return storetest.Backend{Store: open(t, prefix), Peer: open(t, prefix)}
//		})
//	}
//
// # Concurrency
//
// All methods of a SessionStore are safe for concurrent use. Swap is atomic
// across every handle on the same data, in all processes. Get may lag behind
// other handles by a moment, never behind its own handle's writes; see
// [SessionStore]. A read that lags costs one more turn of the loop above, never
// a lost update.
//
// # Security
//
// A store sees opaque bytes. Package session seals every record with AES-256-GCM
// before it reaches a durable store, and derives keys that are useless without
// a secret inside the sealed record, so that a stolen database opens no
// session. A store that says it is [Ephemeral] is trusted as far as the
// process's own memory.
//
// Keys may still be sensitive, and values are. Neither belongs in a log line,
// a metric label or an error text.
//
// Bounded stores answer [ErrFull] and never drop a live record to make room:
// otherwise a stranger who starts many sessions could log everyone else out.
package store
