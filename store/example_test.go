package store_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// A record goes through its life by Swap: created where nothing is, replaced
// by a caller that knows its value, and taken exactly once.
func Example() {
	ctx := context.Background()
	var s store.SessionStore = memstore.New(memstore.Config{})
	expiry := time.Now().Add(time.Hour)

	fmt.Println("create:", s.Swap(ctx, "attempt:1", nil, []byte("pending"), expiry))
	fmt.Println("create again:", s.Swap(ctx, "attempt:1", nil, []byte("other"), expiry))

	value, _, err := s.Get(ctx, "attempt:1")
	fmt.Printf("read: %s %v\n", value, err)

	fmt.Println("take:", s.Swap(ctx, "attempt:1", value, nil, time.Time{}))
	fmt.Println("take again:", s.Swap(ctx, "attempt:1", value, nil, time.Time{}))

	_, _, err = s.Get(ctx, "attempt:1")
	fmt.Println("read again:", err)
	// Output:
	// create: <nil>
	// create again: store: conflict
	// read: pending <nil>
	// take: <nil>
	// take again: store: conflict
	// read again: store: not found
}

// Work that should be done once is done under a lease, after looking whether
// it still has to be done. The Swap stays: the lease may have run out.
func ExampleSessionStore_lock() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{})
	expiry := time.Now().Add(time.Hour)
	_ = s.Swap(ctx, "token", nil, []byte("stale"), expiry)

	refresh := func() error {
		unlock, err := s.Lock(ctx, "token", 30*time.Second)
		if err != nil {
			return err
		}
		defer unlock()
		value, _, err := s.Get(ctx, "token")
		if err != nil || string(value) == "fresh" {
			return err // another process did it
		}
		fmt.Println("refreshing")
		return s.Swap(ctx, "token", value, []byte("fresh"), expiry)
	}

	fmt.Println(refresh())
	fmt.Println(refresh())
	// Output:
	// refreshing
	// <nil>
	// <nil>
}

// A missing record and a failing store are different things. Only the first
// one may end a session.
func ExampleSessionStore_outage() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := memstore.New(memstore.Config{}).Get(ctx, "session:1")
	switch {
	case err == nil:
		fmt.Println("go on")
	case errors.Is(err, store.ErrNotFound):
		fmt.Println("sign in again")
	default:
		fmt.Println("try later:", err)
	}
	// Output: try later: memstore: get: context canceled
}

// Backends check arguments with the functions of this package, so that all of
// them refuse the same things in the same words.
func ExampleCheckSwap() {
	err := store.CheckSwap("session:1", []byte("value"), time.Time{})
	fmt.Println(err, errors.Is(err, store.ErrInvalid))
	// Output: store: zero expiry true
}
