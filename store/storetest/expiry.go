package storetest

import (
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

// expiryCases are about records that expire.
func expiryCases() []testCase {
	return []testCase{
		{"ExpiryHides", checkExpiryHides},
		{"ExpiryIsExact", checkExpiryIsExact},
		{"ExpiredIsAbsent", checkExpiredIsAbsent},
		{"ExpiryReplaced", checkExpiryReplaced},
		{"ExpiryInThePast", checkExpiryInThePast},
		{"ExpiryFarAway", checkExpiryFarAway},
	}
}

func checkExpiryHides(s *suite) {
	expiry := s.Now().Add(s.short())
	require.NoError(s, s.swap(s.Store, "k", nil, []byte("v"), expiry), "contract: Swap creates")
	s.create("k2", []byte("v2"))
	got, err := s.get(s.Store, "k")
	if errors.Is(err, store.ErrNotFound) {
		require.False(s, s.Now().Before(expiry.Add(-s.Resolution)),
			"contract: a record is live until its expiry")
	} else {
		require.NoError(s, err, "contract: Get of a live record succeeds")
		require.Equal(s, "v", string(got), "contract: Get returns what Swap created")
	}
	s.pass(s.short())
	s.wantAbsent("k", "Get of an expired record is ErrNotFound, also when it was read before")
	s.wantValue("k2", []byte("v2"), "a record lives on when another expires")
}

// checkExpiryIsExact needs a clock that only moves when it is told to.
func checkExpiryIsExact(s *suite) {
	if s.Advance == nil {
		s.Skip("storetest: Backend.Advance is nil, the clock does not stand still")
	}
	zone := time.FixedZone("", 5*60*60)
	require.NoError(s, s.swap(s.Store, "k", nil, []byte("v"), s.Now().Add(s.short()).In(zone)),
		"contract: Swap creates")
	s.pass(s.short() - s.Resolution)
	s.wantValue("k", []byte("v"), "a record is live until its expiry, whatever the time's zone")
	s.pass(s.Resolution)
	s.wantAbsent("k", "a record has expired at its expiry, whatever the time's zone")
}

func checkExpiredIsAbsent(s *suite) {
	expiry := s.Now().Add(s.short())
	for _, key := range []string{"create", "update", "take", "ask", "delete"} {
		require.NoError(s, s.swap(s.Store, key, nil, []byte("v"), expiry), "contract: Swap creates")
	}
	s.pass(s.short())

	err := s.swap(s.Store, "update", []byte("v"), []byte("w"), s.later())
	require.ErrorIs(s, err, store.ErrConflict,
		"contract: Swap with an old value is ErrConflict when the record has expired, even if it was that value")
	s.wantAbsent("update", "a Swap that conflicts does not revive an expired record")
	err = s.swap(s.Store, "take", []byte("v"), nil, time.Time{})
	require.ErrorIs(s, err, store.ErrConflict, "contract: an expired record cannot be taken")
	require.NoError(s, s.swap(s.Store, "ask", nil, nil, time.Time{}),
		"contract: Swap of nil for nil counts an expired record as absent")
	require.NoError(s, s.del(s.Store, "delete"), "contract: Delete of an expired record is no error")

	require.NoError(s, s.swap(s.Store, "create", nil, []byte("w"), s.later()),
		"contract: Swap with a nil old counts an expired record as absent and creates")
	s.wantValue("create", []byte("w"), "a record created over an expired one is live")
}

func checkExpiryReplaced(s *suite) {
	soon := s.Now().Add(s.short())
	require.NoError(s, s.swap(s.Store, "sooner", nil, []byte("v"), s.later()), "contract: Swap creates")
	require.NoError(s, s.swap(s.Store, "sooner", []byte("v"), []byte("v"), soon),
		"contract: Swap replaces a value that equals old")
	// The first expiry is far enough away for the second Swap to be in time.
	first := s.Now().Add(3 * s.short())
	require.NoError(s, s.swap(s.Store, "later", nil, []byte("v"), first), "contract: Swap creates")
	err := s.swap(s.Store, "later", []byte("v"), []byte("v"), s.later())
	extended := err == nil
	if !extended {
		require.ErrorIs(s, err, store.ErrConflict, "contract: Swap replaces a value that equals old")
		require.False(s, s.Now().Before(first.Add(-s.Resolution)), "contract: a record is live until its expiry")
	}
	s.pass(s.short())
	s.wantAbsent("sooner", "Swap replaces the expiry with an earlier one")
	s.pass(2 * s.short())
	if extended {
		s.wantValue("later", []byte("v"), "Swap replaces the expiry with a later one")
	}
}

func checkExpiryInThePast(s *suite) {
	for name, expiry := range map[string]time.Time{
		"just now":       s.Now().Add(-s.Resolution),
		"an hour ago":    s.Now().Add(-time.Hour),
		"in 1970":        time.Unix(1, 0),
		"the Unix epoch": time.Unix(0, 0),
		"before 1970":    time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		require.NoError(s, s.swap(s.Store, name, nil, []byte("v"), expiry),
			"contract: creating with an expiry in the past succeeds: %s", name)
		s.wantAbsent(name, "a record created with an expiry in the past has expired: "+name)

		s.create(name, []byte("v"))
		err := s.swap(s.Store, name, nil, []byte("w"), expiry)
		require.ErrorIs(s, err, store.ErrConflict,
			"contract: Swap compares first, also with an expiry in the past: %s", name)
		err = s.swap(s.Store, name, []byte("other"), []byte("w"), expiry)
		require.ErrorIs(s, err, store.ErrConflict,
			"contract: Swap compares first, also with an expiry in the past: %s", name)
		s.wantValue(name, []byte("v"), "a Swap that conflicts changes nothing: "+name)

		require.NoError(s, s.swap(s.Store, name, []byte("v"), []byte("w"), expiry),
			"contract: replacing with an expiry in the past succeeds: %s", name)
		s.wantAbsent(name, "replacing with an expiry in the past deletes the record: "+name)
	}
}

func checkExpiryFarAway(s *suite) {
	for name, expiry := range map[string]time.Time{
		"100 years":     s.Now().AddDate(100, 0, 0),
		"the year 9999": time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		require.NoError(s, s.swap(s.Store, name, nil, []byte("v"), expiry),
			"contract: an expiry may be far away: %s", name)
		s.wantValue(name, []byte("v"), "a record is live until its expiry, however far away: "+name)
		require.NoError(s, s.del(s.Store, name), "contract: Delete removes a record whatever its expiry: %s", name)
	}
}
