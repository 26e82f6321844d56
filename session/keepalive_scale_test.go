package session_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/internal/testclock"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// tokens is a token endpoint with rotating refresh tokens, which says nothing of
// their life, and counts how often each was sent.
type tokens struct {
	*httptest.Server
	clock *testclock.Clock

	mu      sync.Mutex
	present map[string]string // by session: its refresh token
	sent    map[string]int    // by refresh token
	minutes map[int64]int     // refreshes in each
}

func newTokens(t *testing.T, clock *testclock.Clock) *tokens {
	s := &tokens{clock: clock, present: make(map[string]string), sent: make(map[string]int), minutes: make(map[int64]int)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *tokens) serve(w http.ResponseWriter, r *http.Request) {
	token := r.PostFormValue("refresh_token")
	number, _, _ := strings.Cut(token, ".")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[token]++
	w.Header().Set("Content-Type", "application/json")
	if token == "" || s.present[number] != token {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
		return
	}
	s.minutes[s.clock.Now().Unix()/60]++
	s.present[number] = number + "." + rand.Text()
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "at" + rand.Text(), "token_type": "Bearer", "expires_in": 3600, "refresh_token": s.present[number],
	})
}

// connect makes a session that was authorized at s, the owner's i-th.
func (s *tokens) connect(ctx context.Context, m *session.Manager, i int) (id string, err error) {
	number := strconv.Itoa(i)
	s.mu.Lock()
	s.present[number] = number + ".first"
	creds := oauthclient.Credentials{
		AccessToken: oauthclient.NewSecret("at" + number), TokenType: "Bearer", RefreshToken: oauthclient.NewSecret(s.present[number]),
		Expiry: s.clock.Now().Add(time.Hour), RefreshAfter: s.clock.Now().Add(59 * time.Minute), Issuer: s.URL, TokenEndpoint: s.URL,
		Registration: oauthclient.Registration{Issuer: s.URL, ClientID: "client", TokenEndpointAuthMethod: "none", RedirectURI: callbackURL},
	}
	s.mu.Unlock()
	client, err := oauthclient.New(oauthclient.Config{ServerURL: s.URL + "/mcp", CallbackURL: callbackURL, Credentials: oauthclient.NewMemoryCredentialStore(creds)})
	if err != nil {
		return "", err
	}
	id = session.GenerateSessionID()
	return id, m.SetClient(ctx, session.Caller{Owner: fmt.Sprint("user-", i/10)}, id, client)
}

// fleet starts replicas, each with a store of its own on one Redis.
func fleet(t *testing.T, redis *redistest.Server, clock *testclock.Clock, n int, change ...func(*session.Config)) (replicas []*session.Manager) {
	t.Helper()
	for range n {
		s, err := redisstore.New(t.Context(), redisstore.Config{URL: redis.URL()})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		replicas = append(replicas, onStore(t, s, clock, change...))
	}
	return replicas
}

func onStore(t *testing.T, s store.SessionStore, clock *testclock.Clock, change ...func(*session.Config)) *session.Manager {
	t.Helper()
	cfg := session.Config{Store: s, SealKeys: [][]byte{sealKey}, Now: clock.Now, TTL: 3 * 24 * time.Hour}
	cfg.KeepAlive = session.KeepAlive{Enabled: true, RefreshTokenLife: 24 * time.Hour, RefreshesPerMinute: 6_000_000}
	cfg.MaxSessionsPerOwner = 1000
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	for _, fn := range change {
		fn(&cfg)
	}
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// Ten replicas that work at the same moment refresh each token once, and ask Redis
// for nothing that touches more than one key.
func TestKeepAliveOnceAmongTenReplicas(t *testing.T) {
	t.Parallel()
	const sessions, n = 60, 10
	clock := testclock.New(time.Now())
	as := newTokens(t, clock)
	redis := redistest.Run(t, redistest.Options{})
	replicas := fleet(t, redis, clock, n)
	for i := range sessions {
		_, err := as.connect(t.Context(), replicas[i%n], i)
		require.NoError(t, err)
	}
	for round := 1; round <= 2; round++ {
		clock.Advance(20 * time.Hour)
		require.NoError(t, redis.ResetStats())
		requireNoErrors(t, concurrently(n, func(i int) error {
			for more := true; more; {
				var err error
				if more, err = replicas[i].KeepAliveOnce(t.Context()); err != nil {
					return err
				}
			}
			return nil
		}))
		require.Eventually(t, func() bool { // each may have met another one at work
			_, _ = replicas[0].KeepAliveOnce(t.Context())
			as.mu.Lock()
			defer as.mu.Unlock()
			return len(as.sent) == round*sessions
		}, time.Minute, 10*time.Millisecond)
		for token, count := range as.sent {
			require.Equal(t, 1, count, token)
		}
		stats, err := redis.CommandStats()
		require.NoError(t, err)
		for name := range stats {
			require.NotContains(t, []string{"keys", "scan", "mget", "randomkey", "dbsize"}, name)
		}
	}
}

// A slot with more sessions than a bucket takes has several buckets, none of which
// is larger, and all of them are gone when its sessions are refreshed.
func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	const sessions, most = 450, 200
	clock := testclock.New(time.Now())
	as := newTokens(t, clock)
	mem := newSpy(memstore.New(memstore.Config{Now: clock.Now}))
	m := onStore(t, mem, clock, func(c *session.Config) { c.KeepAlive.RefreshTokenLife = 20 * time.Minute })
	w := &world{store: mem}
	var ids []string
	for i := range sessions { // all of them due in the same minute
		id, err := as.connect(t.Context(), m, i)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	total := 0
	for key, value := range mem.records() {
		if kindOf(key) != "alive" {
			continue
		}
		n, err := m.BucketSize(key, []byte(value))
		require.NoError(t, err)
		require.LessOrEqual(t, n, most)
		require.LessOrEqual(t, len(value), 8<<10)
		total += n
	}
	require.Equal(t, sessions, total)
	require.Greater(t, w.listed(), 3)

	for i, id := range ids[:50] { // from every bucket
		require.NoError(t, m.RemoveClient(t.Context(), session.Caller{Owner: fmt.Sprint("user-", i/10)}, id))
	}
	clock.Advance(16 * time.Minute)
	before := len(mem.live("alive"))
	require.Greater(t, before, 3)
	rounds(t, m)
	require.Len(t, as.sent, sessions-50)
	for token, count := range as.sent {
		require.Equal(t, 1, count, token)
	}
	clock.Advance(16 * time.Minute)
	rounds(t, m)
	require.Len(t, as.sent, 2*(sessions-50), "all were listed again")
}

// What it costs to keep many sessions alive for the life of a refresh token: refreshes per token,
// commands to Redis, and the spread in time. docs/sizing.md has the figures of the
// long form, `make keepalive`.
func TestCostOfKeepingAlive(t *testing.T) {
	t.Parallel()
	const replicasN = 10
	sessions, life, step := 300, 24*time.Hour, 20*time.Minute
	if s, err := strconv.Atoi(os.Getenv("MCPOAUTH_KEEPALIVE")); err == nil {
		sessions, life, step = s, 7*24*time.Hour, time.Minute
	}
	clock := testclock.New(time.Now())
	as := newTokens(t, clock)
	redis := redistest.Run(t, redistest.Options{})
	replicas := fleet(t, redis, clock, replicasN, func(c *session.Config) { c.TTL, c.KeepAlive.RefreshTokenLife = 3*life, life })

	// They are connected in eight hours of one day.
	const parallel = 20
	for i := 0; i < sessions; i += parallel {
		requireNoErrors(t, concurrently(parallel, func(j int) error {
			_, err := as.connect(t.Context(), replicas[j%replicasN], i+j)
			return err
		}))
		clock.Advance(8 * time.Hour * parallel / time.Duration(sessions))
	}
	connected := clock.Now()
	rounds(t, replicas[0]) // the first look at the index, back to Config.TTL
	require.NoError(t, redis.ResetStats())
	for clock.Now().Before(connected.Add(life)) {
		clock.Advance(step)
		for _, i := range mathrand.Perm(replicasN) {
			rounds(t, replicas[i])
		}
	}
	stats, err := redis.CommandStats()
	require.NoError(t, err)
	refreshes, peak := 0, 0
	for _, n := range as.minutes {
		refreshes += n
		peak = max(peak, n)
	}
	for token, count := range as.sent {
		require.Equal(t, 1, count, token)
	}
	require.Equal(t, refreshes, len(as.sent), "none was refused")
	require.GreaterOrEqual(t, refreshes, sessions)
	require.LessOrEqual(t, refreshes, 2*sessions)
	commands := stats.Total()
	t.Logf("%d sessions, %d replicas, %v: %d refreshes, each token once; in %d of %d minutes, %d at most in one; %d commands, %.1f per refresh, %.2f per second: %v",
		sessions, replicasN, life, refreshes, len(as.minutes), int(life.Minutes()), peak, commands, float64(commands)/float64(refreshes), float64(commands)/life.Seconds(), stats)
}
