// Package chaos_test lets many users work through replicas that share a real
// Redis, while that Redis, the network and the replicas fail in the ways they
// do in production. At the end every session has to work, no user was asked to
// authorize without need, and the authorization server must not have seen a refresh
// token twice.
//
// The short form is part of every test run. MCPOAUTH_CHAOS=long asks for the
// long form, and MCPOAUTH_CHAOS_SEED for the choices of an earlier run.
package chaos_test

import (
	"bytes"
	"context"
	"flag"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

const callback = loadtest.PublicURL + "/api/mcp/auth/callback"

var (
	sealKey = bytes.Repeat([]byte("k"), 32)
	long    = os.Getenv("MCPOAUTH_CHAOS") == "long"
	seed    = chooseSeed()
)

// TestMain is also the main of the replicas that run as processes of their own.
func TestMain(m *testing.M) {
	if os.Getenv(replicaEnv) != "" {
		os.Exit(replicaMain())
	}
	flag.Parse()
	runMore()
	os.Exit(m.Run())
}

// runMore runs twice as many tests at a time as there are processors, unless a
// flag says how many: most of their time goes by in outages and leases.
func runMore() {
	told := false
	flag.Visit(func(f *flag.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))) // the default stays if this fails
	}
}

// pick chooses between the short and the long form.
func pick[T any](short, full T) T {
	if long {
		return full
	}
	return short
}

func chooseSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("MCPOAUTH_CHAOS_SEED"), 10, 64); err == nil {
		return n
	}
	return rand.Uint64()
}

// newRandom returns the test's own choices, and says how to get them again.
func newRandom(t testing.TB) *rand.Rand {
	t.Helper()
	name := fnv.New64()
	_, _ = name.Write([]byte(t.Name()))
	t.Logf("MCPOAUTH_CHAOS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}

// backend is a store that shares its records through Redis.
type backend struct {
	name string
	open func(redisURL string, opTimeout time.Duration) (s store.SessionStore, closeStore func(), err error)
	// opTimeout is how long a store tries before it gives up. Where Redis does not go
	// away it is patience, so that a busy machine is no outage.
	opTimeout time.Duration
	// goesOn says that replicas go on in memory while Redis is away.
	goesOn bool
}

// outageCodes are what users may be told when Redis goes away and comes back with
// its data. A session that one replica has created meanwhile is a 404 on another
// one that is back earlier.
func (b backend) outageCodes() []string {
	codes := []string{httpapi.CodeStoreUnavailable, httpapi.CodeInvalidCallback}
	if b.goesOn {
		codes = append(codes, httpapi.CodeSessionNotFound)
	}
	return codes
}

var backends = []backend{
	{name: "redisstore", open: openRedis, opTimeout: loadtest.Patience},
	{name: "hybridstore", open: openHybrid, opTimeout: loadtest.Patience, goesOn: true},
}

// opTimeout is how long a store tries where Redis or a replica goes away;
// redisstore's default.
const opTimeout = 3 * time.Second

// givesUp is a backend for a test in which Redis or a replica goes away.
func (b backend) givesUp() backend {
	b.opTimeout = opTimeout
	return b
}

// cacheTTL is longer than any test takes, so that no test counts the reads of records
// that have left the cache.
const cacheTTL = time.Hour

func openRedis(redisURL string, opTimeout time.Duration) (store.SessionStore, func(), error) {
	s, err := redisstore.New(context.Background(), redisstore.Config{URL: redisURL, OpTimeout: opTimeout, CacheTTL: cacheTTL})
	return s, s.Close, err
}

func openHybrid(redisURL string, opTimeout time.Duration) (store.SessionStore, func(), error) {
	s, err := hybridstore.New(context.Background(), hybridstore.Config{
		Redis:  redisstore.Config{URL: redisURL, OpTimeout: opTimeout, CacheTTL: cacheTTL},
		Logger: slog.New(slog.DiscardHandler),
	})
	return s, s.Close, err
}

// store opens the store of one replica, until the end of the test.
func (b backend) store(t testing.TB, redisURL string) store.SessionStore {
	t.Helper()
	s, closeStore, err := b.open(redisURL, b.opTimeout)
	require.NoError(t, err)
	t.Cleanup(closeStore)
	return s
}

// onEachBackend runs a test once per backend.
func onEachBackend(t *testing.T, test func(t *testing.T, b backend)) {
	t.Helper()
	t.Parallel()
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// clock is a time that a test moves, starting from now.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// world is what belongs to others: an authorization server and an MCP server.
type world struct {
	clock *clock
	as    *authtest.Server
	mcp   *mcptest.Server
	busy  bool // tokens end all the time
}

func newWorld(t testing.TB, as authtest.Options, mcp mcptest.Options) *world {
	t.Helper()
	w := &world{clock: new(clock)}
	as.Now = w.clock.Now
	w.as = authtest.New(as)
	t.Cleanup(w.as.Close)
	mcp.Auth = w.as
	w.mcp = mcptest.New(mcp)
	t.Cleanup(w.mcp.Close)
	return w
}

// busyWorld is a world for a client load: tokens end after a second, in the
// long form after three, so that refreshes are always going on, and requests
// are not remembered. In the short form tokens are accepted for a while after
// their end, because of machines that are too busy to send in the last fifth of
// a second what was begun before it: a token that comes too late twice in a row
// is one that the server does not want.
func busyWorld(t testing.TB, change ...func(*authtest.Options)) *world {
	t.Helper()
	as := authtest.Options{
		AccessTokenTTL: pick(time.Second, 3*time.Second), Leeway: pick(30*time.Second, 0),
		DiscardRequests: true,
	}
	for _, fn := range change {
		fn(&as)
	}
	w := newWorld(t, as, mcptest.Options{DiscardRequests: true, JSONResponse: true})
	w.busy = true
	return w
}

// newUsers returns users of the world's MCP server.
func (w *world) newUsers(n int, random *rand.Rand) []*loadtest.User {
	return loadtest.NewUsers(n, w.mcp.URL(), random)
}

// newLoad returns a load on a world that is not started yet.
func newLoad(t testing.TB, w *world, users []*loadtest.User, f *loadtest.Fleet, allowed ...string) *loadtest.Load {
	t.Helper()
	l := loadtest.New(t, w.as, users, f, allowed...)
	l.Busy = w.busy
	return l
}

func startLoad(t testing.TB, w *world, users []*loadtest.User, f *loadtest.Fleet, allowed ...string) *loadtest.Load {
	t.Helper()
	l := newLoad(t, w, users, f, allowed...)
	l.Start()
	return l
}

// isAlone reports whether a replica has noticed that Redis is away, and goes on
// without it.
func isAlone(r *loadtest.Replica) bool {
	s, ok := r.Store.(*hybridstore.Store)
	return ok && !s.IsRedisConnected()
}

// replica starts a replica in this process.
func (w *world) replica(t testing.TB, name string, s store.SessionStore, change ...func(*session.Config)) *loadtest.Replica {
	t.Helper()
	cfg := session.Config{Store: s, SealKeys: [][]byte{sealKey}, Now: w.clock.Now}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	for _, fn := range change {
		fn(&cfg)
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = m.Close()
		(&http.Client{Transport: cfg.Client.Transport}).CloseIdleConnections()
	})
	return loadtest.NewReplica(t, name, m, s)
}

// replicas starts two replicas, each with its own connection to Redis.
func (w *world) replicas(t testing.TB, b backend, redisURL string, change ...func(*session.Config)) []*loadtest.Replica {
	t.Helper()
	return []*loadtest.Replica{
		w.replica(t, "a", b.store(t, redisURL), change...),
		w.replica(t, "b", b.store(t, redisURL), change...),
	}
}

// concurrently runs fn n times at once and returns the errors.
func concurrently(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func requireNoErrors(t testing.TB, errs []error) {
	t.Helper()
	for _, err := range errs {
		require.NoError(t, err)
	}
}
