package hybridstore_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// The password for Redis is part of the configuration that a Store holds.
func TestFormat_StoreShowsNoPassword(t *testing.T) {
	t.Parallel()
	const canary = "canary-password"
	server := redistest.Run(t, redistest.Options{Password: canary})
	redis := redisstore.Config{URL: "redis://:" + canary + "@" + server.Addr()}
	hybrid, err := hybridstore.Open(t.Context(), redis.URL)
	require.NoError(t, err)
	t.Cleanup(hybrid.Close)
	plain, err := redisstore.New(t.Context(), redis)
	require.NoError(t, err)
	t.Cleanup(plain.Close)
	for name, value := range map[string]any{"hybrid": hybrid, "redis": plain, "config": redis} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			require.NotContains(t, fmt.Sprintf(verb, value), canary, "%s as %s", name, verb)
		}
	}
}
