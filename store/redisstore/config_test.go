package redisstore_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

func TestBadConfigIsRefused(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	option := rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}
	replicas := option
	replicas.SendToReplicas = func(rueidis.Completed) bool { return true }
	const which = "redisstore: Config: exactly one of Client, URL and ClientOption is needed"
	for _, tt := range []struct {
		name   string
		config redisstore.Config
		want   string
	}{
		{"nothing", redisstore.Config{}, which},
		{"two sources", redisstore.Config{URL: "redis://localhost", ClientOption: option}, which},
		{"another scheme", redisstore.Config{URL: "http://localhost:6379"},
			"redisstore: Config.URL: the scheme is none of redis, rediss, valkey, valkeys and unix"},
		{"no scheme", redisstore.Config{URL: "localhost:6379"},
			"redisstore: Config.URL: the scheme is none of redis, rediss, valkey, valkeys and unix"},
		{"no host", redisstore.Config{URL: "redis:///0"},
			"redisstore: Config.URL: names no host; want something like redis://localhost:6379"},
		{"a slash in the password", redisstore.Config{URL: "redis://u:" + canary + "/" + canary + "@localhost"},
			"redisstore: Config.URL: cannot be parsed; reserved characters in a password are to be percent-encoded"},
		{"a percent sign in the password", redisstore.Config{URL: "redis://u:" + canary + "%zz@localhost"},
			"redisstore: Config.URL: cannot be parsed; reserved characters in a password are to be percent-encoded"},
		{"no database", redisstore.Config{URL: "redis://localhost/" + canary},
			"redisstore: Config.URL: the database number or a parameter is not valid"},
		{"no duration", redisstore.Config{URL: "redis://localhost?dial_timeout=" + canary},
			"redisstore: Config.URL: the database number or a parameter is not valid"},
		{"reads from replicas", redisstore.Config{ClientOption: replicas},
			"redisstore: Config.ClientOption: replicas may lag behind, so reads must go to primaries"},
		{"all at once", redisstore.Config{URL: "redis://", CacheTTL: -1, OpTimeout: -1, MaxValueBytes: -1},
			"redisstore: Config.URL: names no host; want something like redis://localhost:6379\n" +
				"redisstore: Config.CacheTTL: is negative\n" +
				"redisstore: Config.OpTimeout: is negative\n" +
				"redisstore: Config.MaxValueBytes: is negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := redisstore.New(t.Context(), tt.config)
			require.EqualError(t, err, tt.want)
			require.NotContains(t, err.Error(), canary)
		})
	}
}

func TestConnectingFailsWithoutTellingCredentials(t *testing.T) {
	t.Parallel()
	const canary = "canary-password"
	server := redistest.Run(t, redistest.Options{Password: "right"})
	gone := redistest.Run(t, redistest.Options{})
	gone.Kill()
	for _, tt := range []struct{ name, addr, want string }{
		{"wrong password", server.Addr(), "redisstore: connecting: the server refuses: WRONGPASS (the user or the password is wrong)"},
		{"no server there", gone.Addr(), "redisstore: connecting: "},
	} {
		_, err := redisstore.New(t.Context(), redisstore.Config{URL: "redis://user:" + canary + "@" + tt.addr})
		require.ErrorContains(t, err, tt.want, tt.name)
		require.NotContains(t, err.Error(), canary, tt.name)
	}
	_, err := redisstore.New(t.Context(), redisstore.Config{URL: "redis://" + server.Addr()})
	require.ErrorContains(t, err, "NOAUTH")
}

func TestFormattingTellsNoCredentials(t *testing.T) {
	t.Parallel()
	const canary = "canary-password"
	server := redistest.Run(t, redistest.Options{Password: canary})
	config := redisstore.Config{URL: server.URL(), ClientOption: rueidis.ClientOption{Password: canary}}
	s := open(t, redisstore.Config{URL: server.URL()})
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, config), canary)
		require.NotContains(t, fmt.Sprintf(format, &config), canary)
		require.NotContains(t, fmt.Sprintf(format, s), canary)
	}
}

func TestDatabaseNumber(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	create(t, open(t, redisstore.Config{URL: server.URL() + "/3"}), "k", "v")
	info, err := server.Info("keyspace")
	require.NoError(t, err)
	require.Contains(t, info["db3"], "keys=1")
	require.NotContains(t, info, "db0")
}

// TestNamesInRedis fixes what other versions, and people with redis-cli, rely on.
func TestNamesInRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	s := open(t, redisstore.Config{URL: server.URL()})
	expiry := time.Now().Add(time.Hour)
	require.NoError(t, s.Swap(t.Context(), "session:1", nil, []byte("value"), expiry))
	_, err := s.Lock(t.Context(), "session:1", time.Minute)
	require.NoError(t, err)

	record, err := server.Do("GET", "mcpoauth:v:session:1")
	require.NoError(t, err)
	require.Equal(t, "vvalue", record.(string)[16:])
	at, err := server.Do("PEXPIRETIME", "mcpoauth:v:session:1")
	require.NoError(t, err)
	require.Equal(t, expiry.UnixMilli()-1, at, "the last millisecond of its life")
	left, err := server.Do("PTTL", "mcpoauth:l:session:1")
	require.NoError(t, err)
	require.InDelta(t, 60_000, left, 10_000)
	keys, err := server.Do("DBSIZE")
	require.NoError(t, err)
	require.Equal(t, int64(2), keys)
}

func TestCloseLeavesABorrowedClientOpen(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}})
	require.NoError(t, err)
	defer client.Close()
	s, err := redisstore.New(t.Context(), redisstore.Config{Client: client})
	require.NoError(t, err)
	s.Close()
	s.Close()
	_, _, err = s.Get(t.Context(), "k")
	require.ErrorIs(t, err, redisstore.ErrClosed)
	require.NoError(t, client.Do(t.Context(), client.B().Ping().Build()).Error())
}

func TestLackOfCachingIsLogged(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Config: []string{`rename-command HELLO ""`}})
	var log strings.Builder
	open(t, redisstore.Config{URL: server.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.Contains(t, log.String(), "no client-side caching")
}

// TestErrorsQuoteNothing uses servers that quote commands in their errors.
func TestErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{Config: []string{`rename-command EVALSHA ""`, `rename-command DEL ""`}})
	s := open(t, redisstore.Config{URL: server.URL()})
	err := s.Swap(t.Context(), "canary-key", nil, []byte("canary-value"), later())
	require.EqualError(t, err, "redisstore: swap: the server refuses: ERR")
	require.EqualError(t, s.Delete(t.Context(), "canary-key"), "redisstore: delete: the server refuses: ERR")
	_, err = s.Lock(t.Context(), "canary-key", time.Minute)
	require.EqualError(t, err, "redisstore: lock: the server refuses: ERR")

	_, err = server.Do("SET", "mcpoauth:v:canary-key", "not a record of ours")
	require.NoError(t, err)
	_, _, err = s.Get(t.Context(), "canary-key")
	require.EqualError(t, err, "redisstore: get: the key holds something else than a record")
	_, err = server.Do("LPUSH", "mcpoauth:v:canary-list", "x")
	require.NoError(t, err)
	_, _, err = s.Get(t.Context(), "canary-list")
	require.ErrorContains(t, err, "WRONGTYPE")
	require.NotContains(t, err.Error(), "canary")
}
