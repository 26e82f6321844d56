package sqltest_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/loadtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/pgtest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// startReplicas starts two replicas on one PostgreSQL, and many users of them. Tokens
// end after a second, so that refreshes are always going on.
func startReplicas(t *testing.T, url string, allowed ...string) *loadtest.Load {
	t.Helper()
	as := authtest.New(authtest.Options{AccessTokenTTL: time.Second, Leeway: 30 * time.Second, DiscardRequests: true})
	t.Cleanup(as.Close)
	mcp := mcptest.New(mcptest.Options{Auth: as, DiscardRequests: true, JSONResponse: true})
	t.Cleanup(mcp.Close)
	fleet := loadtest.NewFleet(newReplica(t, "a", url), newReplica(t, "b", url))
	l := loadtest.New(t, as, loadtest.NewUsers(24, mcp.URL(), rand.New(rand.NewPCG(1, 2))), fleet, allowed...)
	l.Busy = true
	l.Start()
	return l
}

func newReplica(t *testing.T, name, url string) *loadtest.Replica {
	t.Helper()
	cfg := session.Config{
		Store:    open(t, sqlstore.Config{DB: openPostgres(t, url), Dialect: sqlstore.Postgres, TablePrefix: "load_", OpTimeout: 3 * time.Second}),
		SealKeys: [][]byte{bytes.Repeat([]byte("k"), 32)},
		Logger:   slog.New(slog.DiscardHandler),
	}
	cfg.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	m, err := session.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return loadtest.NewReplica(t, name, m, cfg.Store)
}

// PostgreSQL is restarted and killed while users connect, authorize, call tools
// and leave. Users are told of an outage at worst; no session is lost, no code
// and no refresh token is used twice.
func TestReplicasWhilePostgresRestarts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stop func(*pgtest.Server)
		away []time.Duration
	}{
		"restarts":                      {(*pgtest.Server).Shutdown, []time.Duration{0, 0, 0}},
		"crashes":                       {(*pgtest.Server).Kill, []time.Duration{0, 300 * time.Millisecond, 0}},
		"is away longer than OpTimeout": {(*pgtest.Server).Kill, []time.Duration{4 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Run(t, pgtest.Options{})
			l := startReplicas(t, server.URL(), httpapi.CodeStoreUnavailable, httpapi.CodeInvalidCallback)
			for _, away := range tc.away {
				l.Progress(200)
				tc.stop(server)
				time.Sleep(away) // the outage itself
				require.NoError(t, server.Restart())
			}
			l.Progress(200)
			l.Stop()
		})
	}
}
