package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// sharedStores are measured beside each other. open returns what two replicas
// see of one store.
var sharedStores = []struct {
	name string
	open func(b *testing.B) (first, second store.SessionStore)
}{
	{"store=memory", func(*testing.B) (first, second store.SessionStore) {
		s := memstore.New(memstore.Config{})
		return s, s
	}},
	{"store=redis", func(b *testing.B) (first, second store.SessionStore) {
		server := redistest.Run(b, redistest.Options{})
		return openRedis(b, server), openRedis(b, server)
	}},
	{"store=hybrid", func(b *testing.B) (first, second store.SessionStore) {
		server := redistest.Run(b, redistest.Options{})
		return openHybrid(b, server), openHybrid(b, server)
	}},
}

func openRedis(b *testing.B, server *redistest.Server) *redisstore.Store {
	b.Helper()
	s, err := redisstore.New(context.Background(), redisstore.Config{URL: server.URL()})
	require.NoError(b, err)
	b.Cleanup(s.Close)
	return s
}

func openHybrid(b *testing.B, server *redistest.Server) *hybridstore.Store {
	b.Helper()
	cfg := hybridstore.Config{Redis: redisstore.Config{URL: server.URL()}, Logger: slog.New(slog.DiscardHandler)}
	s, err := hybridstore.New(b.Context(), cfg)
	require.NoError(b, err)
	b.Cleanup(s.Close)
	return s
}

// replica returns a replica on a store.
func replica(b *testing.B, s store.SessionStore) *session.Manager {
	b.Helper()
	cfg := session.Config{Store: s, SealKeys: [][]byte{bytes.Repeat([]byte{7}, 32)}, CacheSize: 1_000_000, TouchInterval: time.Hour}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	m, err := session.New(cfg)
	require.NoError(b, err)
	b.Cleanup(func() { _ = m.Close() })
	return m
}

// BenchmarkWarmToolCall is a tool call on a session that the replica knows, as
// an HTTP request to the host. The stores take turns with each call, so that
// what else the machine does weighs on both; the medians are compared.
func BenchmarkWarmToolCall(b *testing.B) {
	for _, wire := range wires {
		b.Run(wire.name, func(b *testing.B) {
			w := newWorld(b, wire.options)
			var calls []func()
			for _, s := range sharedStores {
				first, _ := s.open(b)
				m := replica(b, first)
				api, err := httpapi.New(m, httpapi.Config{PublicURL: "https://app.example", RequestsPerMinute: -1})
				require.NoError(b, err)
				body := mustJSON(b, map[string]any{"sessionId": w.adopt(b, m), "toolName": "echo", "toolArgs": map[string]any{"text": "hello", "n": 42}})
				call := func() { serve(b, api, http.MethodPost, "/api/mcp/tool/call", body) }
				call()
				calls = append(calls, call)
			}
			times := make([][]time.Duration, len(calls))
			for b.Loop() {
				for i, call := range calls {
					start := time.Now()
					call()
					times[i] = append(times[i], time.Since(start))
				}
			}
			memory, redis, hybrid := median(times[0]), median(times[1]), median(times[2])
			b.ReportMetric(memory, "memory-ns/call")
			b.ReportMetric(redis, "redis-ns/call")
			b.ReportMetric(hybrid, "hybrid-ns/call")
			b.ReportMetric(redis/memory, "redis/memory")
			b.ReportMetric(hybrid/memory, "hybrid/memory")
		})
	}
}

func median(times []time.Duration) float64 {
	slices.Sort(times)
	return float64(times[len(times)/2])
}

// BenchmarkColdToolCall is the first tool call of a session on a replica, which
// reads the record and connects to the MCP server, beside connecting and calling
// with the SDK alone.
func BenchmarkColdToolCall(b *testing.B) {
	for _, wire := range wires {
		w := newWorld(b, wire.options)
		transport := oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
		client := newSDKClient()
		b.Run(wire.name+"/floor=sdk", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.bare(b, client, transport).CallTool(b.Context(), &mcp.CallToolParams{Name: "echo"}); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, s := range sharedStores {
			b.Run(wire.name+"/"+s.name, func(b *testing.B) {
				first, second := s.open(b)
				origin, cold := replica(b, first), replica(b, second)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					id := w.adopt(b, origin)
					b.StartTimer()
					if _, err := cold.CallTool(b.Context(), session.Caller{}, id, "echo", nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// adoptAs makes a session of an owner's, with tokens of the given length and a
// registration, as after an authorization; only the server's own token is good
// for calls, which a length of zero asks for.
func (w *world) adoptAs(b *testing.B, m *session.Manager, owner string, length int) string {
	b.Helper()
	access, refresh := w.as.Issue(owner, w.mcp.URL()), "rt-"+rand.Text()
	if length > 0 {
		access, refresh = randomText(length), randomText(length)
	}
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: w.mcp.URL(), CallbackURL: callbackURL,
		Credentials: oauthclient.NewMemoryCredentialStore(oauthclient.Credentials{
			AccessToken: oauthclient.NewSecret(access), RefreshToken: oauthclient.NewSecret(refresh), TokenType: "Bearer",
			Issuer: w.as.Issuer(), Resource: w.mcp.URL(), TokenEndpoint: w.as.URL() + "/token",
			Expiry: time.Now().Add(time.Hour), RefreshAfter: time.Now().Add(59 * time.Minute),
			Registration: oauthclient.Registration{
				Issuer: w.as.Issuer(), ClientID: rand.Text(), TokenEndpointAuthMethod: "none", RedirectURI: callbackURL, Dynamic: true,
			},
		}),
	})
	require.NoError(b, err)
	id := session.GenerateSessionID()
	require.NoError(b, m.SetClient(b.Context(), session.Caller{Owner: owner}, id, client))
	return id
}

func randomText(length int) string {
	return strings.Repeat(rand.Text(), length/26+1)[:length]
}

// BenchmarkRedisBytesPerSession reports what a session takes in Redis, its
// owner's list included, one session per owner.
func BenchmarkRedisBytesPerSession(b *testing.B) {
	for name, length := range map[string]int{"tokens=opaque": 0, "tokens=1200B": 1200} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, wires[0].options)
			server := redistest.Run(b, redistest.Options{})
			m := replica(b, openRedis(b, server))
			const n = 2_000
			for range b.N {
				before := usedMemory(b, server)
				for i := range n {
					w.adoptAs(b, m, ownerName(i), length)
				}
				b.ReportMetric(float64(usedMemory(b, server)-before)/n, "redis-B/session")
				_, err := server.Do("FLUSHALL")
				require.NoError(b, err)
			}
		})
	}
}

func ownerName(i int) string { return "user-" + strconv.Itoa(i) + "@example.com" }

func usedMemory(b *testing.B, server *redistest.Server) int64 {
	b.Helper()
	n, err := server.UsedMemory()
	require.NoError(b, err)
	return n
}

// BenchmarkReplicaBytesPerRecord reports what a replica has in memory for a
// record of 1,024 bytes that it has made and read. The cache of the Redis client
// is in both figures; what hybridstore remembers beside it is the difference.
func BenchmarkReplicaBytesPerRecord(b *testing.B) {
	for range b.N {
		for _, s := range sharedStores[1:] {
			first, _ := s.open(b)
			const n = 20_000
			before := heap()
			filled := inParallel(n, func(i int) error {
				key := fmt.Sprintf("session:%024d", i)
				if err := first.Swap(context.Background(), key, nil, make([]byte, 1024), time.Now().Add(time.Hour)); err != nil {
					return err
				}
				_, _, err := first.Get(context.Background(), key)
				return err
			})
			require.NoError(b, filled.err)
			b.ReportMetric(float64(heap()-before)/n, strings.TrimPrefix(s.name, "store=")+"-B/record")
			runtime.KeepAlive(first)
		}
	}
}

// BenchmarkManySessions is what one Redis and one replica carry: 100,000
// sessions made on one replica, each called once on another, then a part of
// them again and again. It takes minutes, and so runs with MCPOAUTH_CHAOS=long
// only; MCPOAUTH_SESSIONS is another number of sessions.
func BenchmarkManySessions(b *testing.B) {
	if os.Getenv("MCPOAUTH_CHAOS") != "long" {
		b.Skip("runs with MCPOAUTH_CHAOS=long")
	}
	n := 100_000
	if s, err := strconv.Atoi(os.Getenv("MCPOAUTH_SESSIONS")); err == nil {
		n = s
	}
	for range b.N {
		manySessions(b, n)
	}
}

func manySessions(b *testing.B, n int) {
	w := newWorld(b, wires[0].options)
	server := redistest.Run(b, redistest.Options{})
	origin := replica(b, openRedis(b, server))
	ids, empty := make([]string, n), usedMemory(b, server)
	made := inParallel(n, func(i int) error { ids[i] = w.adoptAs(b, origin, ownerName(i), 0); return nil })
	require.NoError(b, made.err)
	b.ReportMetric(made.microseconds(), "make-µs/session")
	b.ReportMetric(float64(usedMemory(b, server)-empty)/float64(n), "redis-B/session")
	require.NoError(b, origin.Close())

	m := replica(b, openRedis(b, server))
	call := func(i int) error {
		_, err := m.CallTool(context.Background(), session.Caller{Owner: ownerName(i)}, ids[i], "echo", nil)
		return err
	}
	before := heap()
	cold := inParallel(n, call)
	require.NoError(b, cold.err)
	b.ReportMetric(cold.microseconds(), "cold-µs/call")
	b.ReportMetric(float64(heap()-before)/float64(n), "replica-B/session")

	// Those called first have been read the longest time ago. Their status was
	// written at that first call, so they are read once more, then no more.
	part := min(n, 10_000)
	require.NoError(b, inParallel(part, call).err)
	require.NoError(b, server.ResetStats())
	warm := inParallel(part, call)
	require.NoError(b, warm.err)
	b.ReportMetric(warm.microseconds(), "warm-µs/call")
	stats, err := server.CommandStats()
	require.NoError(b, err)
	b.ReportMetric(float64(stats.Total())/float64(part), "redis-commands/warm-call")
	runtime.KeepAlive(ids)
}

// parallel is the outcome of inParallel.
type parallel struct {
	n    int
	took time.Duration
	err  error
}

func (p parallel) microseconds() float64 {
	return math.Round(float64(p.took.Microseconds())/float64(p.n)*10) / 10
}

// inParallel does fn n times, a few at once, and returns the first error.
func inParallel(n int, fn func(i int) error) parallel {
	const workers = 8
	var wg sync.WaitGroup
	var once sync.Once
	p := parallel{n: n}
	start := time.Now()
	for k := range workers {
		wg.Go(func() {
			for i := k; i < n; i += workers {
				if err := fn(i); err != nil {
					once.Do(func() { p.err = fmt.Errorf("session %d: %w", i, err) })
					return
				}
			}
		})
	}
	wg.Wait()
	p.took = time.Since(start)
	return p
}
