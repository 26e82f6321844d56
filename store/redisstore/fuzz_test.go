package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// Whatever somebody else put under our keys is told from a record, and a record
// comes back as it was written.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("value"), int64(1_800_000_000_000), byte('v'))
	f.Add([]byte(""), int64(0), byte('t'))
	f.Add([]byte("12345678abcdefghvx"), int64(-1), byte('r'))
	f.Add([]byte("12345678\xff\xff\xff\xff\xff\xff\xff\xffv"), int64(1)<<62, byte(0))
	f.Add([]byte("12345678\x80\x00\x00\x00\x00\x00\x00\x00t"), int64(-1)<<63, byte('V'))
	f.Fuzz(func(t *testing.T, data []byte, millis int64, mark byte) {
		if r, err := redisstore.Decode(string(data)); err == nil {
			require.Equal(t, string(data[17:]), r.Value)
			require.Equal(t, string(data[:8]), r.Stamp)
			require.Contains(t, "vr", string(data[16]))
		} else {
			require.True(t, len(data) < 17 || !strings.Contains("vr", string(data[16])))
		}
		expiry := time.UnixMilli(millis)
		r, err := redisstore.Decode(redisstore.Encode(mark, data, expiry))
		switch mark {
		case 'v', 'r':
			require.NoError(t, err)
			require.Equal(t, string(data), r.Value)
			last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
			switch {
			case millis > 0 && expiry.Before(last):
				require.Equal(t, millis, r.Expiry.UnixMilli())
			case millis <= 0:
				require.LessOrEqual(t, r.Expiry.UnixMilli(), int64(1), "it has passed")
			default:
				require.Equal(t, last.UnixMilli(), r.Expiry.UnixMilli())
			}
		case 't':
			require.ErrorIs(t, err, store.ErrNotFound)
		default:
			require.Error(t, err)
			require.NotErrorIs(t, err, store.ErrNotFound, "a foreign value is no absence")
		}
	})
}
