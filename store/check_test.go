package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
)

func TestCheckKey(t *testing.T) {
	t.Parallel()
	require.NoError(t, store.CheckKey("k"))
	requireInvalid(t, store.CheckKey(""), "store: empty key")
}

func TestCheckSwap(t *testing.T) {
	t.Parallel()
	expiry := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		key    string
		new    []byte
		expiry time.Time
		want   string
	}{
		{"a value with an expiry", "k", []byte("v"), expiry, ""},
		{"a value that expired long ago", "k", []byte("v"), time.Unix(0, 0), ""},
		{"an empty value with an expiry", "k", []byte{}, expiry, ""},
		{"deleting without an expiry", "k", nil, time.Time{}, ""},
		{"deleting with an expiry", "k", nil, expiry, ""},
		{"a value without an expiry", "k", []byte("v"), time.Time{}, "store: zero expiry"},
		{"an empty value without an expiry", "k", []byte{}, time.Time{}, "store: zero expiry"},
		{"a zero expiry in another zone", "k", []byte("v"), time.Time{}.In(time.FixedZone("", 3600)), "store: zero expiry"},
		{"a value without a key", "", []byte("v"), expiry, "store: empty key"},
		{"deleting without a key", "", nil, time.Time{}, "store: empty key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := store.CheckSwap(tt.key, tt.new, tt.expiry)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			requireInvalid(t, err, tt.want)
		})
	}
}

func TestCheckAdd(t *testing.T) {
	t.Parallel()
	require.NoError(t, store.CheckAdd("k", time.Unix(0, 0)))
	requireInvalid(t, store.CheckAdd("", time.Unix(0, 0)), "store: empty key")
	requireInvalid(t, store.CheckAdd("k", time.Time{}), "store: zero expiry")
}

func TestCheckExtend(t *testing.T) {
	t.Parallel()
	require.NoError(t, store.CheckExtend("k", time.Unix(0, 0)))
	requireInvalid(t, store.CheckExtend("", time.Unix(0, 0)), "store: empty key")
	requireInvalid(t, store.CheckExtend("k", time.Time{}), "store: zero expiry")
}

func TestCheckLock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		key  string
		ttl  time.Duration
		want string
	}{
		{"a lease", "k", time.Nanosecond, ""},
		{"no key", "", time.Second, "store: empty key"},
		{"a lease of no time", "k", 0, "store: lease ttl is not positive"},
		{"a lease of negative time", "k", -time.Second, "store: lease ttl is not positive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := store.CheckLock(tt.key, tt.ttl)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			requireInvalid(t, err, tt.want)
		})
	}
}

// requireInvalid requires an argument error, which must not be taken for an
// answer about a record.
func requireInvalid(t *testing.T, err error, text string) {
	t.Helper()
	require.EqualError(t, err, text)
	require.ErrorIs(t, err, store.ErrInvalid)
	for _, other := range []error{store.ErrNotFound, store.ErrUnsure, store.ErrConflict, store.ErrFull} {
		require.NotErrorIs(t, err, other)
	}
}
