package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

func ExampleNew() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{MaxEntries: 10_000})

	err := s.Swap(ctx, "session:1", nil, []byte("hello"), time.Now().Add(time.Hour))
	fmt.Println(err)
	value, _, err := s.Get(ctx, "session:1")
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// <nil>
	// hello <nil>
}

// A full store refuses new records. It does not drop a live one, which could be a
// user's only copy of the credentials.
func ExampleConfig_full() {
	ctx := context.Background()
	s := memstore.New(memstore.Config{MaxEntries: 1})
	expiry := time.Now().Add(time.Hour)

	fmt.Println(s.Swap(ctx, "session:1", nil, []byte("first"), expiry))
	err := s.Swap(ctx, "session:2", nil, []byte("second"), expiry)
	fmt.Println(errors.Is(err, store.ErrFull))
	// Output:
	// <nil>
	// true
}

// With a clock of its own a test moves time instead of waiting for it.
func ExampleStore_Sweep() {
	ctx := context.Background()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := memstore.New(memstore.Config{Now: func() time.Time { return now }})
	_ = s.Swap(ctx, "session:1", nil, []byte("hello"), now.Add(time.Minute))

	now = now.Add(time.Hour)
	_, _, err := s.Get(ctx, "session:1")
	fmt.Println(err, s.Len())
	s.Sweep()
	fmt.Println(s.Len())
	// Output:
	// store: not found 1
	// 0
}
