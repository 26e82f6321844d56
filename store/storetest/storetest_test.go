package storetest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func newClock() *testclock.Clock { return testclock.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) }

// sound is a backend without a flaw, on a clock of its own.
func sound() storetest.Backend {
	c := newClock()
	s := memstore.New(memstore.Config{Now: c.Now})
	return storetest.Backend{
		Store:    s,
		Isolated: memstore.New(memstore.Config{Now: c.Now}),
		Now:      c.Now,
		Advance: func(d time.Duration) {
			c.Advance(d)
			s.Sweep()
		},
	}
}

func TestRunWithInjectedClock(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Backend { return sound() })
}

func TestRunWithRealTime(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(testing.TB) storetest.Backend {
		return storetest.Backend{Store: memstore.New(memstore.Config{})}
	})
}

func TestRunEndsWithItsCases(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	opened, ended := 0, 0
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		mu.Lock()
		defer mu.Unlock()
		opened++
		t.Cleanup(func() {
			mu.Lock()
			defer mu.Unlock()
			ended++
		})
		return sound()
	})
	if opened == 0 || opened != ended {
		t.Fatalf("%d cases opened a backend, %d had ended when Run returned", opened, ended)
	}
}
