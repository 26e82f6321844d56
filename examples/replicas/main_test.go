package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/redistest"
)

// TestMain is also the main of the hosts, which the story starts from the
// binary that it is in.
func TestMain(m *testing.M) {
	if os.Getenv(envRedisURL) != "" && len(os.Args) == 2 && os.Args[1] == "-host" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	flag.Parse()
	os.Exit(m.Run())
}

// needRedis skips, or fails, a test that cannot do without.
func needRedis(t *testing.T) {
	t.Helper()
	redistest.Run(t, redistest.Options{}).Stop()
}

func TestStory(t *testing.T) {
	needRedis(t)
	w, err := newWorld(t.Context())
	require.NoError(t, err)
	defer w.close()
	var out bytes.Buffer
	s := &story{w: w, out: &out}
	require.NoError(t, s.tell(t.Context()))
	told := out.String()
	for _, part := range []string{
		"openssl rand -base64 32", "1. 12 users connect", "1 client registration for all", "Host b is killed", "Host b is back",
		"All access tokens end", "Redis is killed", "One user disconnects", "Nothing was lost: all 11 sessions",
	} {
		before, after, found := strings.Cut(told, part)
		require.True(t, found, "%s is missing or out of order in\n%s\n%s", part, before, out.String())
		told = after
	}
	require.NotContains(t, out.String(), w.sealKey)
	for _, u := range s.users {
		require.NotContains(t, out.String(), u.sessionID)
	}
}

// The story ends with an error if a session is lost.
func TestStoryOfALoss(t *testing.T) {
	needRedis(t)
	for name, tc := range map[string]struct {
		sabotage func(w *world) error
		want     string
	}{
		"consent is withdrawn":      {func(w *world) error { w.auth.RevokeAll(); return nil }, "HTTP status 401"},
		"the MCP server is stopped": {func(w *world) error { w.mcp.FailNext(1e6, http.StatusForbidden, 0); return nil }, "HTTP status 403"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := newWorld(t.Context())
			require.NoError(t, err)
			defer w.close()
			s := &story{w: w, out: io.Discard}
			require.NoError(t, s.connect(t.Context()))
			work := startWork(t.Context(), s.users)
			defer work.stop()
			_, err = work.during(t.Context(), 1e6, func() error { return tc.sabotage(w) })
			require.ErrorContains(t, err, tc.want)
			work.stop()
			require.ErrorContains(t, s.conclude(t.Context()), "lost: ")
		})
	}
}

func TestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		env    map[string]string
		code   int
		stderr string
	}{
		"help":                    {[]string{"-help"}, nil, 0, "-host"},
		"unknown flag":            {[]string{"-hots"}, nil, 2, "-hots"},
		"stray operand":           {[]string{"host"}, nil, 2, `unexpected argument "host"`},
		"no redis-server":         {nil, map[string]string{"PATH": ""}, 1, "no redis-server in PATH; install it with: apt-get install redis-server"},
		"host with another's URL": {[]string{"-host"}, map[string]string{envSealKey: newSealKey(), envRedisURL: "http://canary@127.0.0.1"}, 1, "REDIS_URL: "},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range tc.env {
				t.Setenv(key, value)
			}
			var stdout, stderr bytes.Buffer
			require.Equal(t, tc.code, run(t.Context(), tc.args, &stdout, &stderr), stderr.String())
			require.Contains(t, stderr.String(), tc.stderr)
			require.NotContains(t, stderr.String(), "canary")
			require.Empty(t, stdout.String())
		})
	}
}

// A host does not start without seal keys, and says how one is made.
func TestHostNeedsSealKey(t *testing.T) {
	for name, tc := range map[string]struct{ key, want string }{
		"none":       {"", "session: Config.SealKeys: are required with a store that outlives the process"},
		"not base64": {"canary!", "MCPOAUTH_SEAL_KEYS: session: seal key 1 is not base64"},
		"short":      {base64.StdEncoding.EncodeToString([]byte("canary: short")), "MCPOAUTH_SEAL_KEYS: session: seal key 1 is 13 bytes long, want 32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(envRedisURL, "redis://127.0.0.1:1")
			t.Setenv(envPublicURL, "http://127.0.0.1:3000")
			t.Setenv(envSealKey, tc.key)
			var stderr bytes.Buffer
			require.Equal(t, 1, run(t.Context(), []string{"-host"}, io.Discard, &stderr))
			require.Contains(t, stderr.String(), "replicas: "+tc.want)
			require.Contains(t, stderr.String(), "with: openssl rand -base64 32")
			require.NotContains(t, stderr.String(), "canary")
		})
	}
}

func TestInterrupted(t *testing.T) {
	needRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, 1, run(ctx, nil, io.Discard, io.Discard))
}

// The load balancer passes each request on to one host that accepts connections, and
// sends none twice.
func TestBalancer(t *testing.T) {
	t.Parallel()
	served := 0
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served++
		_, _ = io.Copy(w, r.Body)
	}))
	defer good.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer broken.Close()
	addr := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	send := func(hosts ...string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		(&balancer{hosts: hosts}).handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("body")))
		return rec
	}
	for _, hosts := range [][]string{{addr(good), "127.0.0.1:1"}, {"127.0.0.1:1", addr(good)}} {
		rec := send(hosts...)
		require.Equal(t, http.StatusOK, rec.Code)
		require.Equal(t, "body", rec.Body.String())
	}
	require.Equal(t, http.StatusBadGateway, send(addr(good), addr(broken)).Code)
	require.Equal(t, 2, served, "what one host may have begun is not sent to another")
	require.Equal(t, http.StatusBadGateway, send("127.0.0.1:1").Code)
}
