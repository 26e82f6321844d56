package store

import (
	"fmt"
	"time"
)

// argumentError is an error about an argument; it matches [ErrInvalid].
type argumentError struct{ text string }

func (e *argumentError) Error() string { return e.text }

func (e *argumentError) Unwrap() error { return ErrInvalid }

var (
	errEmptyKey   = &argumentError{"store: empty key"}
	errZeroExpiry = &argumentError{"store: zero expiry"}
	errLeaseTTL   = &argumentError{"store: lease ttl is not positive"}
)

// CheckKey reports whether key may be given to a [SessionStore]. Backends call
// it in Get and Delete, so that all of them refuse the same things with the
// same error, one that matches [ErrInvalid].
func CheckKey(key string) error {
	if key == "" {
		return errEmptyKey
	}
	return nil
}

// CheckSwap does for Swap what [CheckKey] does for Get: a key is not empty, and
// a new value has an expiry.
func CheckSwap(key string, new []byte, expiry time.Time) error {
	if new != nil && expiry.IsZero() {
		return errZeroExpiry
	}
	return CheckKey(key)
}

// CheckExtend does for Extend what [CheckKey] does for Get: a key is not empty,
// and an expiry is not zero.
func CheckExtend(key string, expiry time.Time) error {
	if expiry.IsZero() {
		return errZeroExpiry
	}
	return CheckKey(key)
}

// DefaultMaxValueBytes is how long a value may be in the backends of this module
// unless their Config says otherwise: 256 KiB.
const DefaultMaxValueBytes = 256 << 10

// CheckValue reports whether a new value is longer than a backend's limit,
// MaxValueBytes of its Config.
func CheckValue(new []byte, maxBytes int) error {
	if len(new) > maxBytes {
		return &argumentError{fmt.Sprintf("store: value of %d bytes, MaxValueBytes allows %d", len(new), maxBytes)}
	}
	return nil
}

// CheckLock does for Lock what [CheckKey] does for Get: a key is not empty, and
// a lease lasts longer than no time.
func CheckLock(key string, ttl time.Duration) error {
	if ttl <= 0 {
		return errLeaseTTL
	}
	return CheckKey(key)
}

// CheckAdd does for [Counter] what [CheckKey] does for Get: a key is not empty,
// and a count has an expiry.
func CheckAdd(key string, expiry time.Time) error {
	if expiry.IsZero() {
		return errZeroExpiry
	}
	return CheckKey(key)
}
