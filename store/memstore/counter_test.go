package memstore_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	storetest.RunCounter(t, func(testing.TB) (store.Counter, store.Counter) {
		s := memstore.New(memstore.Config{})
		return s, s
	})
}

// A flood of counts must not keep a user from having a session.
func TestCountsAreBoundedAndTakeNoRoomFromRecords(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	s := memstore.New(memstore.Config{MaxEntries: 10, Now: func() time.Time { return now }})
	for i := range 10 {
		_, err := s.Add(t.Context(), strconv.Itoa(i), 1, now.Add(time.Minute))
		require.NoError(t, err)
	}
	_, err := s.Add(t.Context(), "one more", 1, now.Add(time.Minute))
	require.ErrorIs(t, err, store.ErrFull)
	total, err := s.Add(t.Context(), "3", 1, now.Add(time.Minute))
	require.NoError(t, err)
	require.EqualValues(t, 2, total)
	require.Zero(t, s.Len())
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), now.Add(time.Hour)))

	now = now.Add(time.Minute)
	_, err = s.Add(t.Context(), "one more", 1, now.Add(time.Minute))
	require.NoError(t, err, "what has expired makes room")
	now = now.Add(time.Minute)
	s.Sweep()
	require.Equal(t, 1, s.Len())
}
