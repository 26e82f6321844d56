package httpapi_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
)

func TestRateLimiterRefills(t *testing.T) {
	t.Parallel()
	l := httpapi.NewRateLimiter(3)
	now := time.Unix(1e9, 0)
	for range 3 {
		require.Zero(t, l.Take("a", now))
	}
	require.Equal(t, 20*time.Second, l.Take("a", now))
	require.Equal(t, 20*time.Second, l.Take("a", now), "asking costs nothing")
	require.Equal(t, 5*time.Second, l.Take("a", now.Add(15*time.Second)))
	require.Zero(t, l.Take("a", now.Add(20*time.Second)))
	require.NotZero(t, l.Take("a", now.Add(20*time.Second)))
	for range 3 {
		require.Zero(t, l.Take("a", now.Add(time.Hour)), "a bucket holds no more than a minute's worth")
	}
	require.NotZero(t, l.Take("a", now.Add(time.Hour)))
	require.Zero(t, l.Take("", now))
}

func TestRateLimiterIsBounded(t *testing.T) {
	t.Parallel()
	l := httpapi.NewRateLimiter(1)
	now := time.Unix(1e9, 0)
	for i := range httpapi.MaxRateKeys + 10 {
		require.Zero(t, l.Take(strconv.Itoa(i), now))
	}
	require.LessOrEqual(t, l.Len(), httpapi.MaxRateKeys)
	for i := range httpapi.MaxRateKeys {
		l.Take("x"+strconv.Itoa(i), now.Add(time.Hour))
	}
	require.LessOrEqual(t, l.Len(), httpapi.MaxRateKeys)
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"8.8.8.8:1": "8.8.8.8/32", "[::ffff:8.8.8.8]:1": "8.8.8.8/32", "[2001:4860:1:2:3:4:5:6]:1": "2001:4860:1:2::/64",
		"10.1.2.3:1": "", "192.168.1.1:1": "", "172.16.0.1:1": "", "127.0.0.1:1": "", "[::1]:1": "", "[fd00::1]:1": "",
		"169.254.1.1:1": "", "[fe80::1%eth0]:1": "", "100.64.0.1:1": "", "": "", "@": "", "8.8.8.8": "",
	} {
		require.Equal(t, want, httpapi.AddressKey(remote), remote)
	}
}
