package sqltest_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/pgtest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// world is two replicas on one PostgreSQL, and the servers of others. Tokens end
// after a second, so that refreshes are always going on.
type world struct {
	as       *authtest.Server
	mcp      *mcptest.Server
	replicas []http.Handler
}

func newWorld(t *testing.T, url string) *world {
	t.Helper()
	w := &world{as: authtest.New(authtest.Options{AccessTokenTTL: time.Second, Leeway: 30 * time.Second, DiscardRequests: true})}
	t.Cleanup(w.as.Close)
	w.mcp = mcptest.New(mcptest.Options{Auth: w.as, DiscardRequests: true, JSONResponse: true})
	t.Cleanup(w.mcp.Close)
	for range 2 {
		w.replicas = append(w.replicas, w.replica(t, url))
	}
	return w
}

func (w *world) replica(t *testing.T, url string) http.Handler {
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
	api, err := httpapi.New(m, httpapi.Config{
		PublicURL: publicURL, ConnectsPerMinute: -1, CallbacksPerMinute: -1, RequestsPerMinute: -1,
		Identify: func(r *http.Request) (string, error) { return r.Header.Get(userHeader), nil },
	})
	require.NoError(t, err)
	return api
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
			w := newWorld(t, server.URL())
			l := startLoad(t, w, 24, httpapi.CodeStoreUnavailable, httpapi.CodeInvalidCallback)
			for _, away := range tc.away {
				l.progress(200)
				tc.stop(server)
				time.Sleep(away)
				require.NoError(t, server.Restart())
			}
			l.progress(200)
			l.stop()

			before := w.as.Counts().Authorizations
			for _, u := range l.users {
				for _, r := range w.replicas {
					if u.id != "" {
						a := u.call(r)
						require.Equal(t, http.StatusOK, a.status, "%s: %s", u.name, a.body)
					}
					for _, id := range u.removed {
						require.Equal(t, http.StatusNotFound, u.status(r, id).status, "a removed session stays removed")
					}
				}
			}
			counts := w.as.Counts()
			t.Logf("%v; %+v", l.summary(), counts)
			require.Equal(t, before, counts.Authorizations)
			require.GreaterOrEqual(t, counts.Refreshes, leastRefreshes*(len(tc.away)+1))
			require.Zero(t, counts.ReuseDetected, "a refresh token was used twice")
			require.Zero(t, counts.CodesReused, "a code was used twice")
			require.Empty(t, l.bad, "answers that no user should get")
		})
	}
}
