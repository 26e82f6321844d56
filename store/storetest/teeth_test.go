package storetest_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// flaw is one way in which a backend can be wrong.
type flaw struct {
	name  string
	cases []string // every one of these has to fail
	plant func(b *storetest.Backend)
}

func allFlaws() []flaw {
	var all []flaw
	for _, group := range [][]flaw{
		swapFlaws(), emptyFlaws(), recordFlaws(), keyFlaws(),
		argumentFlaws(), contextFlaws(), errorFlaws(),
		expiryFlaws(), pastExpiryFlaws(), laterExpiryFlaws(), extendFlaws(),
		raceFlaws(), handleFlaws(),
		lockFlaws(), waitFlaws(), unlockFlaws(), leaseFlaws(),
	} {
		all = append(all, group...)
	}
	return all
}

// TestFlawsAreFound proves that the suite has teeth: each flaw fails the cases
// that are there for it, with a message that names the clause.
func TestFlawsAreFound(t *testing.T) {
	t.Parallel()
	cases := casesByName()
	for _, f := range allFlaws() {
		for _, name := range f.cases {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				c, ok := cases[name]
				require.True(t, ok, "there is no case %s", name)
				r := record(t, c, func(testing.TB) storetest.Backend {
					b := sound()
					b.Timeout = 300 * time.Millisecond
					f.plant(&b)
					return b
				})
				require.True(t, r.Failed(), "the flaw was not found")
				require.Contains(t, r.log(), "contract:", "the failure does not name the clause")
			})
		}
	}
}

// TestEveryCaseHasTeeth keeps a case from being added that nothing can fail.
func TestEveryCaseHasTeeth(t *testing.T) {
	t.Parallel()
	bitten := make(map[string]bool)
	for _, f := range allFlaws() {
		for _, name := range f.cases {
			bitten[name] = true
		}
	}
	for name := range casesByName() {
		assert.True(t, bitten[name], "no flaw is known that fails %s", name)
	}
}

// TestSoundBackendIsNotAccused is the control: the recorder itself fails
// nothing.
func TestSoundBackendIsNotAccused(t *testing.T) {
	t.Parallel()
	for name, c := range casesByName() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t, c, func(testing.TB) storetest.Backend { return sound() })
			require.False(t, r.Failed(), "the case failed: %s", r.log())
			require.False(t, r.skipped, "the case was skipped")
		})
	}
}

func TestOptionalPartsAreSkipped(t *testing.T) {
	t.Parallel()
	cases := casesByName()
	for _, tt := range []struct {
		name string
		omit func(b *storetest.Backend)
	}{
		{"Isolation", func(b *storetest.Backend) { b.Isolated = nil }},
		{"ExpiryIsExact", func(b *storetest.Backend) { b.Advance = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := record(t, cases[tt.name], func(testing.TB) storetest.Backend {
				b := sound()
				tt.omit(&b)
				return b
			})
			require.True(t, r.skipped, "the case was not skipped")
			require.False(t, r.Failed(), "the case failed: %s", r.log())
		})
	}
}

func TestBackendWithoutStore(t *testing.T) {
	t.Parallel()
	r := record(t, casesByName()["GetMissing"], func(testing.TB) storetest.Backend { return storetest.Backend{} })
	require.True(t, r.Failed())
	require.Contains(t, r.log(), "Backend.Store is nil")
}

func casesByName() map[string]storetest.Case {
	cases := make(map[string]storetest.Case)
	for _, c := range storetest.Cases() {
		cases[c.Name] = c
	}
	return cases
}

// recorder stands in for the test of a case that is expected to fail. It
// passes on what it does not need to change.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	skipped  bool
	messages []string
	cleanups []func()
}

// record runs a case to its end, in a goroutine that FailNow can end.
func record(t *testing.T, c storetest.Case, open func(testing.TB) storetest.Backend) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.cleanUp()
		c.Run(r, open)
	}()
	<-done
	return r
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) FailNow() {
	r.mu.Lock()
	r.failed = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skip(...any) {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) cleanUp() {
	r.mu.Lock()
	cleanups := r.cleanups
	r.mu.Unlock()
	for i := len(cleanups) - 1; i >= 0; i-- {
		cleanups[i]()
	}
}

func (r *recorder) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.messages, "\n")
}
