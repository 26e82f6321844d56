// Package store defines what this library asks of a database: opaque values
// with an absolute expiry, one atomic compare-and-swap, and a lease.
//
// The interface is [SessionStore]. Hosts choose a backend and hand it to package
// session: memstore keeps everything in the process, and redisstore, hybridstore and
// sqlstore share it among replicas. [SessionStore] also says how to write one;
// examples/customstore is a small one, and package storetest tests it.
//
// # Walk-through
//
// Create a record by swapping it in where nothing is:
//
//	err := s.Swap(ctx, key, nil, value, time.Now().Add(time.Hour))
//	if errors.Is(err, store.ErrConflict) {
//		// another caller created it first
//	}
//
// Change it by naming the value that the change started from. A caller that loses a
// race reads again, so no update is lost:
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
// Extend its life, take it exactly once, and do expensive work once among many
// replicas:
//
//	err = s.Extend(ctx, key, time.Now().Add(time.Hour))
//	err = s.Swap(ctx, key, pending, nil, time.Time{}) // ErrConflict: another caller took it
//	unlock, err := s.Lock(ctx, key, 30*time.Second)   // then Get again
//
// # Concurrency
//
// All methods of a SessionStore are safe for concurrent use. Swap is atomic across
// all processes. A lease can run out while its holder works: if the next holder has
// written by then, the late Swap is an ErrConflict.
//
// # Security
//
// Package session seals every record before it reaches a durable store. Keys and
// values belong in no log line, metric label or error text.
package store
