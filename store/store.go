package store

import (
	"context"
	"errors"
	"time"
)

// The outcomes that a caller branches on. Backends return them as they are or
// wrapped, so callers compare with [errors.Is]. Whatever else a backend
// returns is a failure of the system: the context ended, the network is down,
// the server refuses.
var (
	// ErrNotFound is returned by Get when no live record has the key. An
	// expired record and one that never existed look the same. An outage is
	// never ErrNotFound: a caller that took it for one would throw away
	// credentials that still exist.
	ErrNotFound = errors.New("store: not found")

	// ErrUnsure is matched by the error of a Get or an Extend through a store
	// that has only a part of its data at the moment: the record is not in that
	// part, but may exist. The error does not match ErrNotFound. A caller that
	// creates the record if it is absent may go on; every other caller treats
	// the error as an outage.
	ErrUnsure = errors.New("store: the record may exist where the store cannot look now")

	// ErrConflict is returned by Swap when the stored value is not the old
	// value. Nothing was written. The usual answer is to Get again and
	// decide again.
	ErrConflict = errors.New("store: conflict")

	// ErrFull is returned by Swap when a bounded store has no room for a new
	// record. Nothing was written, and nothing live was evicted to make room.
	ErrFull = errors.New("store: full")

	// ErrInvalid is matched by every error about an argument that the
	// contract does not allow, such as an empty key. It is a bug in the
	// caller, not an outage: trying again cannot help.
	ErrInvalid = errors.New("store: invalid argument")
)

// SessionStore keeps opaque values under string keys, each until an absolute
// expiry. It is all that the rest of the library asks of a database: one
// atomic primitive, Swap, from which create, update and take-once are made,
// and a lease that spares replicas from doing the same work twice.
//
// A SessionStore value is a handle: several handles, in one process or in
// many, may stand for the same data. All methods are safe for concurrent use.
//
// Keys are non-empty strings, compared byte for byte; a backend takes every
// key of up to 512 bytes, whatever the bytes, and one whose own keys are
// narrower encodes or hashes them. Values are any bytes, also none. A backend has
// a limit for the length of a value, [DefaultMaxValueBytes] unless its
// configuration says otherwise; a Swap to a longer value is an argument error.
// An argument outside the contract gives an error that
// matches [ErrInvalid], and has no effect.
//
// Values are copied in and out: a backend neither keeps nor changes a slice
// that it was given, and never hands out one that it will look at again.
//
// A record is live while the store's clock is before its expiry. From the
// expiry on it counts as absent for every method, whether or not the backend
// has reclaimed it. A backend that keeps coarser times than [time.Time] keeps
// milliseconds at least and rounds an expiry down.
//
// A context that is done before the call gives its error, wrapped or not, and
// no effect. If it ends during the call, or the call fails for any reason
// that is not one of this package's errors, a write may or may not have
// happened.
//
// Keys and values never appear in an error's text.
//
// # Writing a backend
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
// Then run the suite of package storetest, which has everything that is promised
// here as tests. [Counter] and [Watcher] are optional.
type SessionStore interface {
	// Get returns the value stored under key and the record's expiry, or
	// ErrNotFound if there is no live record. With a nil error the value is not
	// nil, also when its length is zero, so it can be given to Swap as old. The
	// expiry is the one that Swap or Extend stored, as exact as the backend
	// keeps it. With an error, value and expiry are zero.
	//
	// Get may answer from a cache that other handles' writes reach with a
	// short delay, at most a second or so; Swap and Lock never do. Two things
	// are never stale: a Get sees every write that its own handle finished
	// before, and, while the handle holds Lock(key), a Get of the same key
	// sees every write finished before that lease was granted.
	Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error)

	// Swap replaces the value stored under key with new, and its expiry with
	// expiry, if the stored value equals old. Otherwise it returns
	// ErrConflict and changes nothing. Comparison and write are one atomic
	// step, across all handles.
	//
	// A nil old stands for "no live record", so Swap creates. A nil new
	// deletes, and expiry is not looked at. Both nil asks only whether the
	// record is absent. An empty slice that is not nil is a value of length
	// zero, as old and as new.
	//
	//	old      new      no live record    stored value is old    another value
	//	nil      value    created           -                      ErrConflict
	//	nil      nil      nothing to do     -                      ErrConflict
	//	value    value    ErrConflict       replaced               ErrConflict
	//	value    nil      ErrConflict       deleted                ErrConflict
	//
	// Every record expires: a zero expiry with a new value is an argument
	// error. An expiry that is not after the store's clock is allowed; the
	// comparison is made as always, and then the record is gone, exactly as
	// if new were nil.
	//
	// Creating in a bounded store may return ErrFull; replacing and deleting
	// never do.
	Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error

	// Extend moves the record's expiry to expiry if that is later, whatever the
	// record's value, and leaves the value alone: a Swap from that value still
	// succeeds. An expiry that is not later changes nothing and is no error.
	// Extend returns ErrNotFound if there is no live record. A zero expiry is an
	// argument error.
	Extend(ctx context.Context, key string, expiry time.Time) error

	// Delete removes the record, whatever its value. An absent or expired
	// record is no error.
	Delete(ctx context.Context, key string) error

	// Lock waits until the lock of that name is free, then holds it, at most for
	// ttl: it is a lease, so that a holder that crashed delays the others but
	// cannot stop them. Once the lease has run out the next waiter gets in,
	// although the old holder may still be running. A lease therefore saves
	// work and never protects data: writes still go through Swap.
	//
	// The context governs the waiting only. If it ends first, Lock returns
	// its error, and leaves nothing behind that could be granted the lease
	// later. A context that ends after Lock returned does not release the
	// lease. A ttl of zero or less is an argument error.
	//
	// The returned function gives the lease back. It may be called any
	// number of times, by any goroutine, also after the lease has run out: it
	// only ever releases this lease, not one granted since. It does not
	// report errors, as the lease ends by itself, and it bounds its own time.
	// It is only valid when the error is nil.
	//
	// Locks are not reentrant, waiters get in eventually but in no promised
	// order, and names of locks live in a space of their own: Lock(ctx, "a",
	// ttl) has no effect on the record "a", nor the record on the lock.
	Lock(ctx context.Context, key string, ttl time.Duration) (unlock func(), err error)
}

// Ephemeral is implemented by stores whose contents may die with the process
// and are never written anywhere else, such as package memstore's. A store
// that does not implement it, or answers false, is treated as durable: package
// session then demands keys to seal the records with. A wrapper around a store
// is a [Wrapper]; one that is not is only treated more strictly.
type Ephemeral interface {
	// Ephemeral reports whether no value outlives, or leaves, the process.
	Ephemeral() bool
}

// Counter is implemented by stores that also count, for limits that all
// replicas share, such as requests per minute. It is optional: without it each
// replica counts for itself. Counts are approximate by nature, so losing some
// is allowed, and blocking for long is not.
type Counter interface {
	// Add adds n, which may be negative, to the count under key in one atomic
	// step and returns the new total. A count that does not exist, or whose
	// expiry has passed, begins at zero. From now on it expires at expiry. An n
	// of zero asks for the total.
	//
	// Keys are as in [SessionStore], in a space of their own. After an error
	// n may or may not have been counted; it is never counted twice. A bounded
	// store may return [ErrFull].
	Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error)
}

// Watcher is implemented by stores that notice when a record changes, so that a
// caller can wait for the change without reading again and again. It is
// optional: without it, callers read once a second.
type Watcher interface {
	// Watch returns a channel that is closed when the record under key may have
	// changed, whichever handle changes it. The caller calls Watch, then Get, and
	// then waits: the channel reports every Swap and Delete that this Get did not
	// see, within a second or so. It may be closed without a change. That a record
	// expires or is extended need not close it.
	//
	// ok is false if the store cannot watch at the moment. Otherwise the caller
	// calls stop when it waits no longer. Watching costs no goroutine.
	Watch(key string) (changed <-chan struct{}, stop func(), ok bool)
}
