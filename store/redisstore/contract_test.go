package redisstore_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// open returns a store that is closed at the test's end.
func open(t testing.TB, cfg redisstore.Config) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// runContract runs the suite on stores that config opens, each case with a
// prefix of its own, and two of them per case: two replicas.
func runContract(t *testing.T, config redisstore.Config) {
	t.Helper()
	base := config.KeyPrefix
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		mine, other := config, config
		mine.KeyPrefix, other.KeyPrefix = base+rand.Text()+":", base+rand.Text()+":"
		return storetest.Backend{
			Store: open(t, mine), Peer: open(t, mine), Isolated: open(t, other), Resolution: resolution,
		}
	})
}

// resolution is short, because the suite waits in multiples of it, and Redis
// keeps milliseconds.
const resolution = 10 * time.Millisecond

// skipInShort leaves out variants of what others cover.
func skipInShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a variant; left out with -short")
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	runContract(t, redisstore.Config{URL: server.URL()})
}

func TestContractOnCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.RunCluster(t, 3)
	runContract(t, redisstore.Config{URL: cluster.URL()})
}

func TestContractWithoutCache(t *testing.T) {
	t.Parallel()
	skipInShort(t)
	server := redistest.Run(t, redistest.Options{})
	runContract(t, redisstore.Config{URL: server.URL(), DisableCache: true})
}

// aclRules are those of the package's documentation.
const aclRules = "-@all +hello +ping +get +pttl +exists +set +del +pexpire +eval +evalsha +multi +exec" +
	" +client|tracking +client|caching"

// TestContractAsRestrictedUser uses a user who may run nothing but what is
// documented, on nothing but the prefix.
func TestContractAsRestrictedUser(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{
		Password: "admin",
		Users:    []string{"user mcpoauth on >s3cret ~mcpoauth:* " + aclRules},
	})
	runContract(t, redisstore.Config{URL: "redis://mcpoauth:s3cret@" + server.Addr(), KeyPrefix: "mcpoauth:"})

	elsewhere := open(t, redisstore.Config{URL: "redis://mcpoauth:s3cret@" + server.Addr(), KeyPrefix: "other:"})
	_, err := elsewhere.Get(t.Context(), "k")
	require.ErrorContains(t, err, "redisstore: get: the server refuses: NOPERM")
}

// TestContractWithBorrowedClient has a client with several connections, as
// rueidis makes them by default on larger machines.
func TestContractWithBorrowedClient(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{})
	for _, tt := range []struct {
		name   string
		option rueidis.ClientOption
	}{
		{"four connections", rueidis.ClientOption{PipelineMultiplex: 2}},
		{"without cache", rueidis.ClientOption{DisableCache: true}},
		{"RESP2", rueidis.ClientOption{DisableCache: true, AlwaysRESP2: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.option.DisableCache {
				skipInShort(t)
			}
			tt.option.InitAddress = []string{server.Addr()}
			storetest.Run(t, func(t testing.TB) storetest.Backend {
				prefix := rand.Text() + ":"
				var stores [2]*redisstore.Store
				for i := range stores {
					client, err := rueidis.NewClient(tt.option)
					require.NoError(t, err)
					t.Cleanup(client.Close)
					stores[i] = open(t, redisstore.Config{Client: client, KeyPrefix: prefix})
					require.Equal(t, !tt.option.DisableCache, stores[i].Caching())
				}
				return storetest.Backend{Store: stores[0], Peer: stores[1], Resolution: resolution}
			})
		})
	}
}

func TestContractOverTLS(t *testing.T) {
	t.Parallel()
	skipInShort(t)
	server := redistest.Run(t, redistest.Options{TLS: true, Password: "s3cret"})
	runContract(t, redisstore.Config{ClientOption: rueidis.ClientOption{
		InitAddress: []string{server.Addr()},
		Password:    "s3cret",
		TLSConfig:   server.TLSConfig(),
	}})
}

// TestContractOnOldServers covers servers, and users, without what a cache
// needs; every read then asks the server.
func TestContractOnOldServers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, rules, config string }{
		{"no RESP3", "+@all", `rename-command HELLO ""`},
		{"no tracking", "+@all -client|tracking", ""},
		{"no opting in to tracking", "+@all -client|caching", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Run(t, redistest.Options{
				Password: "admin",
				Users:    []string{"user old on >s3cret ~* " + tt.rules},
				Config:   []string{tt.config},
			})
			config := redisstore.Config{URL: fmt.Sprintf("redis://old:s3cret@%s", server.Addr())}
			require.False(t, open(t, config).Caching())
			skipInShort(t)
			runContract(t, config)
		})
	}
}
