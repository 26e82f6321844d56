package storetest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// expiryAs plants a flaw in the expiry that Swap stores.
func expiryAs(change func(now, expiry time.Time) time.Time) func(b *storetest.Backend) {
	return func(b *storetest.Backend) {
		now := b.Now
		swapAs(func(_ *string, _, _ *[]byte, expiry *time.Time) {
			if !expiry.IsZero() {
				*expiry = change(now(), *expiry)
			}
		})(b)
	}
}

// lockAs plants a flaw in what Lock is called with.
func lockAs(change func(ctx *context.Context, key *string, ttl *time.Duration)) func(b *storetest.Backend) {
	return with(func(in store.SessionStore) flawed {
		return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
			change(&ctx, &key, &ttl)
			return in.Lock(ctx, key, ttl)
		}}
	})
}

func expiryFlaws() []flaw {
	return []flaw{
		{"records never expire", []string{"ExpiryHides", "ExpiryIsExact", "ExpiredIsAbsent", "ExpiryReplaced"},
			expiryAs(func(now, _ time.Time) time.Time { return now.AddDate(1, 0, 0) })},
		{"records expire too early", []string{"ExpiryHides", "ExpiryIsExact"},
			expiryAs(func(_, expiry time.Time) time.Time { return expiry.Add(-time.Minute) })},
		{"records expire a moment too late", []string{"ExpiryIsExact"},
			expiryAs(func(_, expiry time.Time) time.Time { return expiry.Add(time.Nanosecond) })},
		{"a time's zone counts", []string{"ExpiryIsExact"}, expiryAs(func(_, expiry time.Time) time.Time {
			_, offset := expiry.Zone()
			return expiry.Add(time.Duration(offset) * time.Second)
		})},
		{"a far expiry overflows", []string{"ExpiryFarAway"}, expiryAs(func(now, expiry time.Time) time.Time {
			return now.Add(time.Duration(int32(expiry.Sub(now)/time.Second)) * time.Second)
		})},
	}
}

func pastExpiryFlaws() []flaw {
	return []flaw{
		{"an expiry in the past is refused", []string{"ExpiryInThePast"}, func(b *storetest.Backend) {
			now, in := b.Now, b.Store
			b.Store = flawed{SessionStore: in, swap: func(
				ctx context.Context, key string, old, new []byte, expiry time.Time,
			) error {
				if new != nil && !expiry.After(now()) {
					return store.ErrInvalid
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		}},
		{"an expiry in the past means for ever", []string{"ExpiryInThePast"},
			expiryAs(func(now, expiry time.Time) time.Time {
				if expiry.Before(now) {
					return now.AddDate(1, 0, 0)
				}
				return expiry
			})},
		{"an expiry in the past deletes without comparing", []string{"ExpiryInThePast"}, func(b *storetest.Backend) {
			now, in := b.Now, b.Store
			b.Store = flawed{SessionStore: in, swap: func(
				ctx context.Context, key string, old, new []byte, expiry time.Time,
			) error {
				if new != nil && !expiry.After(now()) {
					return in.Delete(ctx, key)
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		}},
	}
}

func laterExpiryFlaws() []flaw {
	return []flaw{
		{"an update keeps the first expiry", []string{"ExpiryReplaced"}, with(keepExpiry)},
		{"an expired record is in the way", []string{"ExpiredIsAbsent"}, with(func(in store.SessionStore) flawed {
			var exists sync.Map
			return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
				if _, ok := exists.LoadOrStore(key, true); ok && old == nil {
					return store.ErrConflict
				}
				return in.Swap(ctx, key, old, new, expiry)
			}}
		})},
	}
}

// keepExpiry stores every update with the expiry of the creation.
func keepExpiry(in store.SessionStore) flawed {
	var first sync.Map
	return flawed{swap: func(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
		kept, _ := first.LoadOrStore(key, expiry)
		return in.Swap(ctx, key, old, new, kept.(time.Time))
	}}
}

func handleFlaws() []flaw {
	return []flaw{
		{"a peer has other records", []string{"PeerSharesRecords", "PeerCatchesUp"}, func(b *storetest.Backend) {
			b.Peer = memstore.New(memstore.Config{Now: b.Now})
		}},
		{"a peer's cache is never told", []string{"PeerCatchesUp", "RaceToCount"}, func(b *storetest.Backend) {
			b.Peer = cached(b.Store, time.Hour)
		}},
		{"a peer's cache is told late", []string{"LockedReadsAreFresh"}, func(b *storetest.Backend) {
			b.Peer = cached(b.Store, 200*time.Millisecond)
		}},
		{"a handle's own writes leave its cache alone", []string{"OwnWritesAreSeen"}, func(b *storetest.Backend) {
			b.Store = cached(b.Store, 200*time.Millisecond)
		}},
		{"isolated stores share their records", []string{"Isolation"}, func(b *storetest.Backend) {
			b.Isolated = b.Store
		}},
		{"isolated stores share their locks", []string{"Isolation"}, func(b *storetest.Backend) {
			b.Isolated = flawed{SessionStore: b.Isolated, lock: b.Store.Lock}
		}},
	}
}

// cached answers Get, found or not, with what it was up to life ago.
func cached(in store.SessionStore, life time.Duration) flawed {
	type answer struct {
		value  []byte
		expiry time.Time
		err    error
		until  time.Time
	}
	var mu sync.Mutex
	answers := make(map[string]answer)
	return flawed{SessionStore: in, get: func(ctx context.Context, key string) ([]byte, time.Time, error) {
		mu.Lock()
		defer mu.Unlock()
		a, ok := answers[key]
		if !ok || time.Now().After(a.until) {
			a.value, a.expiry, a.err = in.Get(ctx, key)
			a.until = time.Now().Add(life)
			answers[key] = a
		}
		return append([]byte{}, a.value...), a.expiry, a.err
	}}
}

func lockFlaws() []flaw {
	return []flaw{
		{"Lock does not exclude", []string{
			"LockExcludes", "LockWaits", "LockIsNotReentrant", "LockPastDeadline",
		}, with(func(store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, _ string, _ time.Duration) (func(), error) {
				return func() {}, ctx.Err()
			}}
		})},
		{"Lock excludes within a handle only", []string{"LockExcludes", "LockWaits"}, func(b *storetest.Backend) {
			b.Peer = flawed{SessionStore: b.Store, lock: memstore.New(memstore.Config{Now: b.Now}).Lock}
		}},
		{"there is one lock for all names", []string{"LockKeysAreIndependent", "OddKeys"}, lockAs(
			func(_ *context.Context, key *string, _ *time.Duration) { *key = "lock" })},
		{"a lock is a record", []string{"LockAndRecordsAreSeparate"}, with(func(in store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				unlock, err := in.Lock(ctx, key, ttl)
				if err != nil {
					return nil, err
				}
				_ = in.Swap(ctx, key, nil, []byte("token"), time.Now().AddDate(1, 0, 0))
				return unlock, nil
			}}
		})},
		{"unlock deletes the record", []string{"LockAndRecordsAreSeparate"}, with(func(in store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				unlock, err := in.Lock(ctx, key, ttl)
				return func() {
					_ = in.Delete(context.WithoutCancel(ctx), key)
					unlock()
				}, err
			}}
		})},
	}
}

func waitFlaws() []flaw {
	return []flaw{
		{"the lease ends with the context", []string{"LockContextEndsWaitingOnly"}, with(func(in store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				unlock, err := in.Lock(ctx, key, ttl)
				if err == nil {
					context.AfterFunc(ctx, unlock)
				}
				return unlock, err
			}}
		})},
		{"Lock ignores its context", []string{"LockCancelled", "EndedContext"}, lockAs(
			func(ctx *context.Context, _ *string, _ *time.Duration) { *ctx = context.WithoutCancel(*ctx) })},
		{"a waiter that gave up waits on", []string{"LockCancelled", "LockPastDeadline"}, with(phantom)},
		{"a grant to a waiter that gave up is lost", []string{"LockCancelledAtHandover"}, with(
			func(in store.SessionStore) flawed {
				return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
					unlock, err := in.Lock(ctx, key, ttl)
					time.Sleep(5 * time.Millisecond)
					if ctx.Err() != nil {
						return nil, ctx.Err()
					}
					return unlock, err
				}}
			})},
		{"giving up is an outage", []string{"LockPastDeadline", "LockCancelled"}, with(func(in store.SessionStore) flawed {
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				unlock, err := in.Lock(ctx, key, ttl)
				if err != nil {
					err = errors.New("lock timeout")
				}
				return unlock, err
			}}
		})},
	}
}

func unlockFlaws() []flaw {
	return []flaw{
		{"unlock releases every holder of the lock", []string{
			"UnlockIsIdempotent", "LeaseLetsWaiterIn", "LeaseLetsNewcomerIn",
		}, with(releaseAny)},
		{"unlock does nothing", []string{"LockWaits", "UnlockIsIdempotent", "UnlockAfterLease"}, with(
			func(in store.SessionStore) flawed {
				return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
					_, err := in.Lock(ctx, key, ttl)
					return func() {}, err
				}}
			})},
	}
}

// phantom leaves a waiter behind when the context ends. The waiter then holds the
// lease without a caller.
func phantom(in store.SessionStore) flawed {
	return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
		granted := make(chan func(), 1)
		go func() {
			if unlock, err := in.Lock(context.WithoutCancel(ctx), key, ttl); err == nil {
				granted <- unlock
			}
		}()
		select {
		case unlock := <-granted:
			return unlock, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

// releaseAny gives leases no identity: an unlock releases the current one.
func releaseAny(in store.SessionStore) flawed {
	var current sync.Map
	return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
		unlock, err := in.Lock(ctx, key, ttl)
		if err != nil {
			return nil, err
		}
		current.Store(key, unlock)
		return func() {
			if unlock, ok := current.Load(key); ok {
				unlock.(func())()
			}
		}, nil
	}}
}

func leaseFlaws() []flaw {
	return []flaw{
		{"leases never run out", []string{"LeaseLetsWaiterIn", "LeaseLetsNewcomerIn"}, lockAs(
			func(_ *context.Context, _ *string, ttl *time.Duration) { *ttl *= 1000 })},
		{"leases run out too early", []string{"LeaseHasItsOwnLength"}, lockAs(
			func(_ *context.Context, _ *string, ttl *time.Duration) { *ttl /= 2 })},
		{"every lease is as long as the first", []string{"LeaseHasItsOwnLength"}, with(func(in store.SessionStore) flawed {
			var first sync.Map
			return flawed{lock: func(ctx context.Context, key string, ttl time.Duration) (func(), error) {
				kept, _ := first.LoadOrStore(key, ttl)
				return in.Lock(ctx, key, kept.(time.Duration))
			}}
		})},
		{"a late unlock holds the lock", []string{"UnlockAfterLease"}, func(b *storetest.Backend) {
			now, in := b.Now, b.Store
			b.Store = flawed{SessionStore: in, lock: func(
				ctx context.Context, key string, ttl time.Duration,
			) (func(), error) {
				unlock, err := in.Lock(ctx, key, ttl)
				until := now().Add(ttl)
				return func() {
					if now().Before(until) {
						unlock()
						return
					}
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					defer cancel()
					_, _ = in.Lock(ctx, key, time.Hour)
				}, err
			}}
		}},
	}
}
