package storetest_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// A backend with a clock of its own tells the suite how to read and to move
// it, and no case has to wait. The test of the backend is then one line:
//
//	func TestStore(t *testing.T) { storetest.Run(t, open) }
func ExampleBackend() {
	open := func(testing.TB) storetest.Backend {
		var elapsed atomic.Int64
		now := func() time.Time {
			return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(elapsed.Load()))
		}
		s := memstore.New(memstore.Config{Now: now})
		return storetest.Backend{
			Store: s,
			Now:   now,
			Advance: func(d time.Duration) {
				elapsed.Add(int64(d))
				s.Sweep() // lets in the waiters of a lease that has now run out
			},
		}
	}

	b := open(nil)
	b.Advance(time.Hour)
	fmt.Println(b.Now().Format(time.TimeOnly))
	// Output: 04:04:05
}
