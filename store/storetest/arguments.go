package storetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// argumentCases are about what is refused: bad arguments, contexts that have
// ended, and what the refusals say.
func argumentCases() []testCase {
	return []testCase{
		{"InvalidArguments", checkInvalidArguments},
		{"EndedContext", checkEndedContext},
		{"ErrorsTellNothing", checkErrorsTellNothing},
	}
}

// operation is one call with everything but the context filled in.
type operation struct {
	name string
	call func(ctx context.Context) error
}

func checkInvalidArguments(s *suite) {
	s.create("k", []byte("v"))
	for _, op := range []operation{
		{"Get of an empty key", func(ctx context.Context) error { _, _, err := s.Store.Get(ctx, ""); return err }},
		{"Delete of an empty key", func(ctx context.Context) error { return s.Store.Delete(ctx, "") }},
		{"Swap that creates under an empty key", func(ctx context.Context) error {
			return s.Store.Swap(ctx, "", nil, []byte("v"), s.later())
		}},
		{"Swap that deletes under an empty key", func(ctx context.Context) error {
			return s.Store.Swap(ctx, "", []byte("v"), nil, time.Time{})
		}},
		{"Swap that creates with a zero expiry", func(ctx context.Context) error {
			return s.Store.Swap(ctx, "new", nil, []byte("v"), time.Time{})
		}},
		{"Swap that replaces with a zero expiry", func(ctx context.Context) error {
			return s.Store.Swap(ctx, "k", []byte("v"), []byte("w"), time.Time{})
		}},
		{"Extend of an empty key", func(ctx context.Context) error { return s.Store.Extend(ctx, "", s.later()) }},
		{"Extend to a zero expiry", func(ctx context.Context) error { return s.Store.Extend(ctx, "k", time.Time{}) }},
		{"Lock of an empty key", func(ctx context.Context) error { return tryLock(ctx, s.Store, "", time.Minute) }},
		{"Lock with a ttl of zero", func(ctx context.Context) error { return tryLock(ctx, s.Store, "k", 0) }},
		{"Lock with a negative ttl", func(ctx context.Context) error {
			return tryLock(ctx, s.Store, "k", -time.Second)
		}},
	} {
		ctx, cancel := s.op()
		err := op.call(ctx)
		cancel()
		require.ErrorIs(s, err, store.ErrInvalid, "contract: %s is an argument error", op.name)
		wantNoSentinel(s, err, op.name)
	}
	s.wantAbsent("new", "a Swap with a zero expiry creates nothing")
	s.wantValue("k", []byte("v"), "a Swap with a zero expiry changes nothing")
	s.wantLock(s.Store, "k", s.longTTL(), "a Lock that was refused holds nothing")
}

func checkEndedContext(s *suite) {
	cancelled, cancel := context.WithCancel(s.Context())
	cancel()
	late, cancelLate := context.WithDeadline(s.Context(), time.Now().Add(-time.Hour))
	defer cancelLate()

	s.create("k", []byte("v"))
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "past its deadline": late} {
		for _, op := range s.everyOperation("k", "new", []byte("v")) {
			err := op.call(ctx)
			require.ErrorIs(s, err, ctx.Err(),
				"contract: %s with a context that is %s returns the context's error", op.name, name)
			wantNoSentinel(s, err, op.name+" with an ended context")
		}
	}
	s.wantValue("k", []byte("v"), "a call with an ended context has no effect")
	s.wantAbsent("new", "a call with an ended context has no effect")
	s.wantLock(s.Store, "k", s.longTTL(), "a Lock with an ended context holds nothing, also where the lock was free")
}

// everyOperation is each method as it would succeed on a live record of that
// value, and, under another key, where there is none.
func (s *suite) everyOperation(live, absent string, value []byte) []operation {
	return []operation{
		{"Get", func(ctx context.Context) error { _, _, err := s.Store.Get(ctx, live); return err }},
		{"Get of an absent record", func(ctx context.Context) error { _, _, err := s.Store.Get(ctx, absent); return err }},
		{"Swap that creates", func(ctx context.Context) error {
			return s.Store.Swap(ctx, absent, nil, []byte("w"), s.later())
		}},
		{"Swap that replaces", func(ctx context.Context) error {
			return s.Store.Swap(ctx, live, value, []byte("w"), s.later())
		}},
		{"Swap that deletes", func(ctx context.Context) error {
			return s.Store.Swap(ctx, live, value, nil, time.Time{})
		}},
		{"Swap that conflicts", func(ctx context.Context) error {
			return s.Store.Swap(ctx, live, nil, []byte("w"), s.later())
		}},
		{"Extend", func(ctx context.Context) error { return s.Store.Extend(ctx, live, s.later()) }},
		{"Delete", func(ctx context.Context) error { return s.Store.Delete(ctx, live) }},
		{"Lock", func(ctx context.Context) error { return tryLock(ctx, s.Store, live, s.longTTL()) }},
	}
}

func checkErrorsTellNothing(s *suite) {
	const key, value = "canary-key-5f3a", "canary-value-91bc"
	ctx, cancel := s.op()
	defer cancel()
	ended, end := context.WithCancel(ctx)
	end()

	_, _, missing := s.Store.Get(ctx, key)
	s.create(key, []byte(value))
	s.wantLock(s.Store, key, s.longTTL(), "a free lock is granted")
	_, held := s.lockFor(s.Peer, key, s.longTTL(), s.patience())
	errs := []error{
		missing,
		held,
		s.Store.Extend(ctx, key+"2", s.later()),
		s.Store.Swap(ctx, key, nil, []byte(value), s.later()),
		s.Store.Swap(ctx, key, []byte(value), []byte(value+"2"), time.Time{}),
		s.Store.Swap(ctx, key, []byte(value+"2"), []byte(value), s.later()),
		tryLock(ctx, s.Store, key, 0),
	}
	for _, op := range s.everyOperation(key, key+"2", []byte(value)) {
		errs = append(errs, op.call(ended))
	}
	for _, err := range errs {
		require.Error(s, err, "contract: a call that cannot do its work returns an error")
		require.False(s, strings.Contains(err.Error(), "canary-"),
			"contract: keys and values never appear in an error's text")
	}
}

// wantNoSentinel requires that an error about the call is not mistaken for an
// answer about the record.
func wantNoSentinel(s *suite, err error, what string) {
	s.Helper()
	for _, sentinel := range []error{store.ErrNotFound, store.ErrUnsure, store.ErrConflict, store.ErrFull} {
		require.False(s, errors.Is(err, sentinel),
			"contract: %s says nothing about the record, so it is not %q", what, sentinel)
	}
}

// tryLock locks and, if that succeeds, unlocks.
func tryLock(ctx context.Context, st store.SessionStore, key string, ttl time.Duration) error {
	unlock, err := st.Lock(ctx, key, ttl)
	if err == nil {
		unlock()
	}
	return err
}
