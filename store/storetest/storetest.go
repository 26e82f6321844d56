package storetest

import (
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

const (
	defaultResolution = 25 * time.Millisecond
	defaultTimeout    = 10 * time.Second
)

// Backend is what the suite gets for one case. Only Store is required.
type Backend struct {
	// Store is the store under test. It has no records, and no
	// other program writes to its data during the case.
	Store store.SessionStore

	// Peer is another handle on the data of Store, such as another replica
	// would have. Defaults to Store.
	Peer store.SessionStore

	// Isolated shares the server with Store, but neither records nor locks,
	// for instance because its keys have another prefix. Defaults to none;
	// the case about isolation is then skipped.
	Isolated store.SessionStore

	// Now is the clock by which records expire. It may be off from the
	// store's by less than Resolution. Defaults to [time.Now].
	Now func() time.Time

	// Advance moves the store's clock, and Now with it, and lets the store
	// notice. Defaults to nil: the clock is the real one, and the suite
	// sleeps.
	Advance func(d time.Duration)

	// Resolution is the shortest time by which expiries must differ for the
	// backend to tell them apart: a second, say, where it keeps seconds. It
	// also scales the waits. Defaults to 25 ms.
	Resolution time.Duration

	// MaxValueBytes is how long a value may be. Defaults to
	// [store.DefaultMaxValueBytes].
	MaxValueBytes int

	// Timeout bounds the wait for what has to happen, and so how long a
	// broken store takes to fail. Defaults to 10 s.
	Timeout time.Duration
}

// Run checks a backend against every clause of the contract. It calls open once
// for each case, from that case's test, which open may use to skip, to fail and
// to clean up. The cases run in parallel with each other and have ended when
// Run returns.
func Run(t *testing.T, open func(t testing.TB) Backend) {
	t.Helper()
	t.Run("contract", func(t *testing.T) {
		for _, c := range allCases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, open)
			})
		}
	})
}

// testCase is one group of clauses. check may end the test with FailNow, so it
// needs a goroutine of its own, as every test has.
type testCase struct {
	name  string
	check func(s *suite)
}

// run opens a backend for the case and checks it.
func (c testCase) run(t testing.TB, open func(testing.TB) Backend) {
	t.Helper()
	c.check(newSuite(t, open(t)))
}

// allCases returns the whole suite.
func allCases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{
		valueCases(), expiryCases(), extendCases(), argumentCases(), raceCases(), handleCases(), lockCases(), leaseCases(),
	} {
		all = append(all, group...)
	}
	return all
}
