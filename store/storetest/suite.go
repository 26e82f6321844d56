package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// suite is one case at work: the test it reports to and the backend it tries.
type suite struct {
	testing.TB
	Backend
}

// newSuite fills in the defaults of b.
func newSuite(t testing.TB, b Backend) *suite {
	t.Helper()
	require.NotNil(t, b.Store, "storetest: Backend.Store is nil")
	if b.Peer == nil {
		b.Peer = b.Store
	}
	if b.Now == nil {
		b.Now = time.Now
	}
	if b.Resolution <= 0 {
		b.Resolution = defaultResolution
	}
	if b.MaxValueBytes <= 0 {
		b.MaxValueBytes = store.DefaultMaxValueBytes
	}
	if b.Timeout <= 0 {
		b.Timeout = defaultTimeout
	}
	return &suite{TB: t, Backend: b}
}

// later is an expiry that no case reaches.
func (s *suite) later() time.Time { return s.Now().Add(24 * time.Hour) }

// short is a life that a case waits for: it is long only where time is moved.
func (s *suite) short() time.Duration {
	if s.Advance != nil {
		return time.Minute
	}
	return 4 * s.Resolution
}

// longTTL is a lease that outlasts every wait of a case.
func (s *suite) longTTL() time.Duration { return time.Minute + 10*s.Timeout }

// patience is how long a case watches that something does not happen.
func (s *suite) patience() time.Duration { return 2*s.Resolution + 25*time.Millisecond }

// pass lets d go by, and a little more where the clock is not the suite's own.
func (s *suite) pass(d time.Duration) {
	if s.Advance != nil {
		s.Advance(d)
		return
	}
	time.Sleep(d + s.Resolution)
}

// op is the context of one operation that has to succeed in time.
func (s *suite) op() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.Context(), s.Timeout)
}

// get, swap, extend and del are the operations, each bounded by Timeout. They report
// nothing and may be called from any goroutine.
func (s *suite) get(st store.SessionStore, key string) ([]byte, error) {
	ctx, cancel := s.op()
	defer cancel()
	value, _, err := st.Get(ctx, key)
	return value, err
}

func (s *suite) extend(st store.SessionStore, key string, expiry time.Time) error {
	ctx, cancel := s.op()
	defer cancel()
	return st.Extend(ctx, key, expiry)
}

func (s *suite) swap(st store.SessionStore, key string, old, new []byte, expiry time.Time) error {
	ctx, cancel := s.op()
	defer cancel()
	return st.Swap(ctx, key, old, new, expiry)
}

func (s *suite) del(st store.SessionStore, key string) error {
	ctx, cancel := s.op()
	defer cancel()
	return st.Delete(ctx, key)
}

// errLockHangs is the outcome of a Lock that does not honour its context.
var errLockHangs = errors.New("storetest: Lock did not return after its context had ended")

// lockFor waits for the lock no longer than wait. The lease outlives the
// context of the wait, as the contract says.
func (s *suite) lockFor(st store.SessionStore, key string, ttl, wait time.Duration) (func(), error) {
	ctx, cancel := context.WithTimeout(s.Context(), wait)
	defer cancel()
	select {
	case g := <-s.lockLater(ctx, st, key, ttl):
		return g.unlock, g.err
	case <-time.After(wait + s.Timeout):
		return nil, errLockHangs
	}
}

// create stores a value where none is, until a time that no case reaches.
func (s *suite) create(key string, value []byte) {
	s.Helper()
	require.NoError(s, s.swap(s.Store, key, nil, value, s.later()),
		"contract: Swap with a nil old creates a record that does not exist")
}

// wantValue requires that Store has value under key.
func (s *suite) wantValue(key string, value []byte, clause string) {
	s.Helper()
	got, err := s.get(s.Store, key)
	require.NoError(s, err, "contract: %s", clause)
	require.NotNil(s, got, "contract: Get never returns nil without an error")
	require.Equal(s, value, got, "contract: %s", clause)
}

// wantAbsent requires that Store has nothing live under key.
func (s *suite) wantAbsent(key, clause string) {
	s.Helper()
	ctx, cancel := s.op()
	defer cancel()
	got, expiry, err := s.Store.Get(ctx, key)
	require.ErrorIs(s, err, store.ErrNotFound, "contract: %s", clause)
	require.NotErrorIs(s, err, store.ErrUnsure, "contract: a record that is absent is not unsure")
	require.Nil(s, got, "contract: Get returns no value with an error")
	require.Zero(s, expiry, "contract: Get returns no expiry with an error")
}

// wantEventually requires that a handle comes to see value, or nothing if
// value is nil, however its cache works.
func (s *suite) wantEventually(st store.SessionStore, key string, value []byte, clause string) {
	s.Helper()
	deadline := time.Now().Add(s.Timeout)
	for {
		got, err := s.get(st, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if value == nil {
				return
			}
		default:
			require.NoError(s, err, "contract: %s", clause)
			if value != nil && string(got) == string(value) {
				return
			}
		}
		if time.Now().After(deadline) {
			require.Fail(s, "the write was never seen", "contract: %s", clause)
		}
		time.Sleep(time.Millisecond)
	}
}

// wantLock takes a lock that has to be granted in time.
func (s *suite) wantLock(st store.SessionStore, key string, ttl time.Duration, clause string) (unlock func()) {
	s.Helper()
	unlock, err := s.lockFor(st, key, ttl, s.Timeout)
	require.NoError(s, err, "contract: %s", clause)
	require.NotNil(s, unlock, "contract: Lock returns a function when it returns no error")
	s.Cleanup(unlock)
	return unlock
}

// wantHeld requires that no caller gets the lock.
func (s *suite) wantHeld(st store.SessionStore, key, clause string) {
	s.Helper()
	unlock, err := s.lockFor(st, key, s.longTTL(), s.patience())
	if err == nil {
		unlock()
	}
	require.ErrorIs(s, err, context.DeadlineExceeded, "contract: %s", clause)
}

// race calls f in n goroutines at once, with the handles in turn, and returns
// the errors in order.
func (s *suite) race(n int, f func(i int, st store.SessionStore) error) []error {
	start := make(chan struct{})
	errs := make([]error, n)
	handles := []store.SessionStore{s.Store, s.Peer}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i, handles[i%len(handles)])
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// grant is the outcome of a Lock that waits in a goroutine of its own.
type grant struct {
	unlock func()
	err    error
	at     time.Time
}

// lockLater starts a Lock with ctx and delivers its outcome.
func (s *suite) lockLater(ctx context.Context, st store.SessionStore, key string, ttl time.Duration) <-chan grant {
	done := make(chan grant, 1)
	go func() {
		unlock, err := st.Lock(ctx, key, ttl)
		done <- grant{unlock, err, time.Now()}
	}()
	return done
}

// wantOutcome waits for a Lock started by lockLater to return.
func (s *suite) wantOutcome(done <-chan grant, clause string) grant {
	s.Helper()
	select {
	case g := <-done:
		if g.err == nil {
			s.Cleanup(g.unlock)
		}
		return g
	case <-time.After(s.Timeout):
		require.Fail(s, "Lock did not return", "contract: %s", clause)
		return grant{}
	}
}

// wantWaiting requires that a Lock started by lockLater goes on waiting.
func (s *suite) wantWaiting(done <-chan grant, clause string) {
	s.Helper()
	select {
	case g := <-done:
		if g.err == nil {
			g.unlock()
		}
		require.Fail(s, "Lock returned", "contract: %s (got error %v)", clause, g.err)
	case <-time.After(s.patience()):
	}
}
