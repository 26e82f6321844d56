package redisstore_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// open returns a store that is closed at the test's end. A busy machine may need more
// than one attempt to connect.
func open(t testing.TB, cfg redisstore.Config) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(t.Context(), cfg)
	for range 20 {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		s, err = redisstore.New(t.Context(), cfg)
	}
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
			Store: open(t, mine), Peer: open(t, mine), Isolated: open(t, other), Resolution: resolution, Timeout: patience,
		}
	})
}

// resolution is short, because the suite waits in multiples of it, and Redis
// keeps milliseconds.
const resolution = 10 * time.Millisecond

// patience bounds what happens soon, on a busy machine.
const patience = time.Minute

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

// aclRules are the rules in the package's documentation, for all servers.
const aclRules = "-@all +hello +ping +get +pttl +exists +set +del +pexpire +eval +evalsha +multi +exec" +
	" +client|tracking +client|caching"

// clusterRules are the additional ones for a cluster.
const clusterRules = "+cluster|slots +cluster|shards +asking"

// TestContractAsRestrictedUser has a user with the documented commands on the prefix,
// and no others. A second user lacks the commands for this kind of server.
func TestContractAsRestrictedUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		more  string // rules beside aclRules
		start func(t *testing.T) (url string, servers []*redistest.Server)
	}{
		{"database 0", "", func(t *testing.T) (string, []*redistest.Server) {
			server := redistest.Run(t, redistest.Options{})
			return server.URL() + "/0", []*redistest.Server{server}
		}},
		{"database 3", "+select", func(t *testing.T) (string, []*redistest.Server) {
			server := redistest.Run(t, redistest.Options{})
			return server.URL() + "/3", []*redistest.Server{server}
		}},
		{"Sentinel", "+role", func(t *testing.T) (string, []*redistest.Server) {
			sentinel := redistest.RunSentinel(t)
			primary, err := sentinel.Primary()
			require.NoError(t, err)
			return sentinel.URL(), []*redistest.Server{primary}
		}},
		{"Cluster", clusterRules, func(t *testing.T) (string, []*redistest.Server) {
			cluster := redistest.RunCluster(t, 2)
			return cluster.URL(), cluster.Nodes
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address, servers := tt.start(t)
			for user, rules := range map[string]string{"mcpoauth": aclRules + " " + tt.more, "toofew": aclRules} {
				for _, server := range servers {
					rule := append([]string{"ACL", "SETUSER", user, "on", ">s3cret", "~mcpoauth:*"}, strings.Fields(rules)...)
					_, err := server.Do(rule...)
					require.NoError(t, err)
				}
			}
			as := func(user, prefix string) redisstore.Config {
				return redisstore.Config{URL: strings.Replace(address, "://", "://"+user+":s3cret@", 1), KeyPrefix: prefix}
			}
			runContract(t, as("mcpoauth", "mcpoauth:"))

			_, _, err := open(t, as("mcpoauth", "other:")).Get(t.Context(), "k")
			require.ErrorContains(t, err, "redisstore: get: the server refuses: NOPERM")
			if tt.more != "" {
				require.ErrorContains(t, useAll(as("toofew", "mcpoauth:")), "the server refuses: ")
			}
		})
	}
}

// useAll uses a store for a while, and so all nodes that it knows.
func useAll(config redisstore.Config) error {
	s, err := redisstore.New(context.Background(), config)
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range 20 {
		if _, _, err := s.Get(context.Background(), strconv.Itoa(i)); !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// TestRestrictedUserWhileClusterMoves moves a record from one node to another: the old
// node sends clients to the new one.
func TestRestrictedUserWhileClusterMoves(t *testing.T) {
	t.Parallel()
	cluster := redistest.RunCluster(t, 2)
	do := func(node *redistest.Server, args ...string) any {
		answer, err := node.Do(args...)
		require.NoError(t, err)
		return answer
	}
	for user, rules := range map[string]string{"mcpoauth": "", "toofew": " -asking"} {
		for _, node := range cluster.Nodes {
			do(node, append([]string{"ACL", "SETUSER", user, "on", ">s3cret", "~mcpoauth:*"}, strings.Fields(aclRules+" "+clusterRules+rules)...)...)
		}
	}
	from, err := cluster.NodeOf("mcpoauth:v:k")
	require.NoError(t, err)
	to := cluster.Nodes[0]
	if from == to {
		to = cluster.Nodes[1]
	}
	slot := fmt.Sprint(do(from, "CLUSTER", "KEYSLOT", "mcpoauth:v:k"))
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fmt.Sprint(do(from, "CLUSTER", "MYID")))
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", fmt.Sprint(do(to, "CLUSTER", "MYID")))

	as := func(user string) *redisstore.Store {
		return open(t, redisstore.Config{
			URL: "redis://" + user + ":s3cret@" + cluster.Nodes[0].Addr(), KeyPrefix: "mcpoauth:", OpTimeout: 3 * time.Second,
		})
	}
	s := as("mcpoauth")
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))
	record, _, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(record))
	require.EqualValues(t, 1, do(to, "DBSIZE"))
	_, _, err = as("toofew").Get(t.Context(), "k")
	require.ErrorContains(t, err, "redisstore: get: ", "redirected back and forth")
	require.NotErrorIs(t, err, store.ErrNotFound)
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
				return storetest.Backend{Store: stores[0], Peer: stores[1], Resolution: resolution, Timeout: patience}
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

// A rediss:// URL is TLS, with the authorities that the system trusts: it gets
// as far as a certificate that is none of theirs.
func TestURLOverTLS(t *testing.T) {
	t.Parallel()
	server := redistest.Run(t, redistest.Options{TLS: true, Password: "s3cret"})
	require.Regexp(t, "^rediss://", server.URL())
	_, err := redisstore.New(t.Context(), redisstore.Config{URL: server.URL()})
	var untrusted x509.UnknownAuthorityError
	require.ErrorAs(t, err, &untrusted)
	require.NotContains(t, err.Error(), "s3cret")

	open(t, redisstore.Config{URL: server.URL() + "?skip_verify=1"}) // it was the certificate, and nothing else

	_, err = redisstore.New(t.Context(), redisstore.Config{URL: strings.Replace(server.URL(), "rediss://", "redis://", 1)})
	require.Error(t, err, "the server speaks TLS only")
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
