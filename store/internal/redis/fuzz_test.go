package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/internal/redis"
)

// A value that another program put under our keys is not taken for a record, and a
// record comes back as it was written.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("value"), int64(1_800_000_000_000))
	f.Add([]byte(""), int64(0))
	f.Add([]byte("12345678abcdefghvx"), int64(-1))
	f.Add([]byte("12345678\xff\xff\xff\xff\xff\xff\xff\xffv"), int64(1)<<62)
	f.Add([]byte("12345678\x80\x00\x00\x00\x00\x00\x00\x00t"), int64(-1)<<63)
	f.Fuzz(func(t *testing.T, data []byte, millis int64) {
		if r, err := redis.Decode(string(data)); err == nil {
			require.Equal(t, string(data[17:]), r.Value)
			require.Equal(t, string(data[:8]), string(r.Stamp[:]))
			require.Equal(t, byte('v'), data[16])
		} else {
			require.NotErrorIs(t, err, store.ErrNotFound, "a foreign value is no absence")
			require.True(t, len(data) < 17 || data[16] != 'v')
		}
		expiry, stamp := time.UnixMilli(millis), redis.NewStamp()
		r, err := redis.Decode(redis.Encode(stamp, data, expiry))
		require.NoError(t, err)
		require.Equal(t, string(data), r.Value)
		require.Equal(t, stamp, r.Stamp)
		last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		switch {
		case millis > 0 && expiry.Before(last):
			require.Equal(t, millis, r.Expiry.UnixMilli())
		case millis <= 0:
			require.LessOrEqual(t, r.Expiry.UnixMilli(), int64(1), "it has passed")
		default:
			require.Equal(t, last.UnixMilli(), r.Expiry.UnixMilli())
		}
	})
}
