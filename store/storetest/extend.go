package storetest

import (
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// extendCases are about the expiry that Get returns and Extend moves.
func extendCases() []testCase {
	return []testCase{
		{"ExpiryIsReturned", checkExpiryIsReturned},
		{"ExtendLater", checkExtendLater},
		{"ExtendNeverEarlier", checkExtendNeverEarlier},
		{"ExtendAbsent", checkExtendAbsent},
		{"ExtendKeepsValue", checkExtendKeepsValue},
		{"RaceToExtend", checkRaceToExtend},
	}
}

// wantExpiry requires that a handle's record expires at expiry, as exactly as
// the backend keeps it.
func (s *suite) wantExpiry(st store.SessionStore, key string, expiry time.Time, clause string) {
	s.Helper()
	ctx, cancel := s.op()
	defer cancel()
	_, got, err := st.Get(ctx, key)
	require.NoError(s, err, "contract: %s", clause)
	require.WithinDuration(s, expiry, got, s.Resolution, "contract: %s", clause)
	require.False(s, got.After(expiry), "contract: an expiry is rounded down: %s", clause)
}

func checkExpiryIsReturned(s *suite) {
	first, second := s.Now().Add(time.Hour), s.Now().Add(2*time.Hour)
	require.NoError(s, s.swap(s.Store, "k", nil, []byte("v"), second), "contract: Swap creates")
	s.wantExpiry(s.Store, "k", second, "Get returns the expiry that Swap created the record with")
	s.wantExpiry(s.Peer, "k", second, "Get returns the expiry, whichever handle stored it")
	require.NoError(s, s.swap(s.Store, "k", []byte("v"), []byte("w"), first), "contract: Swap replaces")
	s.wantExpiry(s.Store, "k", first, "Get returns the expiry that Swap replaced the record with")
}

func checkExtendLater(s *suite) {
	later, life := s.later(), 4*s.short()
	for range 5 {
		key := "k " + life.String()
		if !s.extendInTime(key, life, later) {
			life *= 4 // more time for a machine that is too slow
			continue
		}
		s.wantExpiry(s.Store, key, later, "Extend moves the expiry, and its own handle sees that")
		s.pass(life)
		s.wantValue(key, []byte("v"), "an extended record is live until its new expiry")
		s.wantEventually(s.Peer, key, []byte("v"), "other handles see that a record was extended")
		s.wantExpiry(s.Peer, key, later, "other handles see that a record was extended")
		return
	}
	require.Fail(s, "no record lives until its expiry", "contract: a record is live until its expiry")
}

// extendInTime creates a record with a short life, lets the other handle see the
// record, and extends it. It reports whether the machine was fast enough for that.
func (s *suite) extendInTime(key string, life time.Duration, later time.Time) bool {
	s.Helper()
	first := s.Now().Add(life)
	inTime := func() bool { return s.Now().Before(first.Add(-s.Resolution)) }
	require.NoError(s, s.swap(s.Store, key, nil, []byte("v"), first), "contract: Swap creates")
	for inTime() {
		if _, err := s.get(s.Peer, key); err != nil {
			require.ErrorIs(s, err, store.ErrNotFound, "contract: Get catches up with the writes of other handles")
			time.Sleep(time.Millisecond)
			continue
		}
		err := s.extend(s.Store, key, later)
		if err != nil && !inTime() {
			return false
		}
		require.NoError(s, err, "contract: Extend of a live record succeeds")
		return true
	}
	return false
}

func checkExtendNeverEarlier(s *suite) {
	expiry := s.later()
	require.NoError(s, s.swap(s.Store, "k", nil, []byte("v"), expiry), "contract: Swap creates")
	for _, earlier := range []time.Time{
		s.Now().Add(s.short()), s.Now().Add(-time.Hour), time.Unix(0, 0), time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		require.NoError(s, s.extend(s.Store, "k", earlier), "contract: Extend to an earlier time is no error")
		s.wantExpiry(s.Store, "k", expiry, "Extend never moves the expiry earlier")
		s.wantValue("k", []byte("v"), "Extend never moves the expiry earlier")
	}
	s.pass(s.short())
	s.wantValue("k", []byte("v"), "Extend never moves the expiry earlier")
}

func checkExtendAbsent(s *suite) {
	const clause = "Extend of a record that is absent is ErrNotFound"
	require.ErrorIs(s, s.extend(s.Store, "never", s.later()), store.ErrNotFound, "contract: %s", clause)
	s.wantAbsent("never", "Extend creates nothing")

	s.create("deleted", []byte("v"))
	require.NoError(s, s.del(s.Store, "deleted"), "contract: Delete removes")
	require.ErrorIs(s, s.extend(s.Store, "deleted", s.later()), store.ErrNotFound, "contract: %s", clause)
	s.wantAbsent("deleted", "Extend brings nothing back")

	require.NoError(s, s.swap(s.Store, "expired", nil, []byte("v"), s.Now().Add(s.short())), "contract: Swap creates")
	s.pass(s.short())
	require.ErrorIs(s, s.extend(s.Store, "expired", s.later()), store.ErrNotFound, "contract: %s, also an expired one", clause)
	s.wantAbsent("expired", "Extend brings nothing back")
}

func checkExtendKeepsValue(s *suite) {
	for name, value := range map[string][]byte{"empty": {}, "text": []byte("v"), "binary": {0, 0xff, 0, 1}} {
		expiry := s.Now().Add(time.Hour)
		require.NoError(s, s.swap(s.Store, name, nil, value, expiry), "contract: Swap creates")
		require.NoError(s, s.extend(s.Peer, name, s.later()), "contract: Extend succeeds whatever the value: %s", name)
		s.wantEventually(s.Store, name, value, "Extend leaves the value alone: "+name)
		require.NoError(s, s.swap(s.Store, name, value, []byte("next"), expiry),
			"contract: a Swap from the value that an Extend has left alone succeeds: %s", name)
		s.wantExpiry(s.Store, name, expiry, "Swap replaces an extended expiry with an earlier one: "+name)
	}
}

// checkRaceToExtend has handles extend one record at once, and change it
// meanwhile: no change is lost, and the latest expiry stays.
func checkRaceToExtend(s *suite) {
	const n = 8
	s.create("k", []byte{0})
	latest := s.later().Add(n * time.Hour)
	errs := s.race(2*n, func(i int, st store.SessionStore) error {
		if i < n {
			return s.extend(st, "k", latest.Add(-time.Duration(i)*time.Hour))
		}
		for {
			old, err := s.get(st, "k")
			if err != nil {
				return err
			}
			err = s.swap(st, "k", old, []byte{old[0] + 1}, latest)
			if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
	})
	for _, err := range errs {
		require.NoError(s, err, "contract: Extend and Swap succeed beside each other")
	}
	s.wantEventually(s.Store, "k", []byte{n}, "an Extend undoes no Swap")
	s.wantExpiry(s.Store, "k", latest, "of several expiries the latest stays")
}
