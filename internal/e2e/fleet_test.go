package e2e_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
)

// fleet serves the page of examples/web from two replicas, which share a store in
// Redis. Requests for the same route go to one and the other in turn.
type fleet struct {
	*world
	replicas []http.Handler

	mu     sync.Mutex // guards served
	served map[string][]int
}

// newFleet starts everything. Its MCP server is open.
func newFleet(t *testing.T, options mcptest.Options) *fleet {
	t.Helper()
	t.Parallel()
	f := &fleet{world: &world{t: t, auth: authtest.New(authtest.Options{}), mcp: mcptest.New(options)}, served: make(map[string][]int)}
	t.Cleanup(f.auth.Close)
	t.Cleanup(f.mcp.Close)
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	origin := "http://" + server.Listener.Addr().String()
	f.url = origin + "/"
	redis := redistest.Run(t, redistest.Options{})
	for range 2 {
		records, err := hybridstore.New(t.Context(), hybridstore.Config{Redis: redisstore.Config{URL: redis.URL(), OpTimeout: 3 * time.Second}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(records.Close)
		cfg := session.Config{Store: records, SealKeys: [][]byte{bytes.Repeat([]byte("k"), 32)}}
		cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
		cfg.Client.AskUsers = oauthclient.ElicitationModes{Form: true, URL: true}
		manager, err := session.New(cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, manager.Close()) })
		api, err := httpapi.New(manager, httpapi.Config{PublicURL: origin, Identify: func(*http.Request) (string, error) { return "alice", nil }})
		require.NoError(t, err)
		f.replicas = append(f.replicas, api)
	}
	mux.HandleFunc("/api/mcp/", f.inTurn)
	mux.HandleFunc("GET /presets.json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"name":"Asking","url":"` + f.mcp.URL() + `","hint":"Asks"}]`))
	})
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join("..", "..", "examples", "web", "page"))))
	server.Start()
	t.Cleanup(server.Close)
	return f
}

func (f *fleet) inTurn(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	route := r.URL.Path
	replica := len(f.served[route]) % len(f.replicas)
	if route == "/api/mcp/tool/input" {
		replica = 1 - replica // a call is on the first
	}
	f.served[route] = append(f.served[route], replica)
	f.mu.Unlock()
	f.replicas[replica].ServeHTTP(w, r)
}

// servedBy are the replicas that served a route, in order.
func (f *fleet) servedBy(route string) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.served["/api/mcp/"+route]...)
}
