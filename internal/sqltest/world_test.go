package sqltest_test

import (
	"crypto/rand"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/mcpoauth/mcpoauth/internal/pgtest"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// shared is the PostgreSQL server of all tests that neither stop it nor count
// what it does.
var shared struct {
	once   sync.Once
	server *pgtest.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Stop()
	}
	os.Exit(code)
}

// sharedPostgres returns the URL of the shared server.
func sharedPostgres(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		shared.server, shared.err = pgtest.Start(pgtest.Options{Config: []string{"max_connections = 300"}})
	})
	if shared.err != nil {
		pgtest.Run(t, pgtest.Options{}) // which skips, or fails
		t.Fatal(shared.err)
	}
	return shared.server.URL()
}

// openPostgres returns a pool of connections, as a replica has one.
func openPostgres(t testing.TB, url string) *sql.DB {
	t.Helper()
	return openDB(t, "pgx", url, 8)
}

// sqliteFile returns the data source of a new file, as examples/server has it.
func sqliteFile(t testing.TB) string {
	t.Helper()
	return "file:" + filepath.Join(t.TempDir(), "sessions.db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)"
}

func openSQLite(t testing.TB, source string) *sql.DB {
	t.Helper()
	return openDB(t, "sqlite", source, 1)
}

func openDB(t testing.TB, driver, source string, connections int) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// open returns a store whose tables no other test has, unless cfg names some.
func open(t testing.TB, cfg sqlstore.Config) *sqlstore.Store {
	t.Helper()
	if cfg.TablePrefix == "" {
		cfg.TablePrefix = newPrefix()
	}
	if cfg.OpTimeout == 0 {
		cfg.OpTimeout = opTimeout // machines that run tests are busy
	}
	s, err := sqlstore.New(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func newPrefix() string { return "t" + strings.ToLower(rand.Text()) + "_" }

// databases lists the databases: every test of the store runs on each. open returns
// the pools of two replicas. For SQLite both open one new file.
var databases = []struct {
	dialect sqlstore.Dialect
	open    func(t testing.TB) (first, second *sql.DB)
}{
	{sqlstore.Postgres, func(t testing.TB) (first, second *sql.DB) {
		url := sharedPostgres(t)
		return openPostgres(t, url), openPostgres(t, url)
	}},
	{sqlstore.SQLite, func(t testing.TB) (first, second *sql.DB) {
		source := sqliteFile(t)
		return openSQLite(t, source), openSQLite(t, source)
	}},
}

// onEachDatabase runs a test once per kind of database.
func onEachDatabase(t *testing.T, test func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB)) {
	t.Helper()
	t.Parallel()
	for _, db := range databases {
		t.Run(db.dialect.String(), func(t *testing.T) {
			t.Parallel()
			first, second := db.open(t)
			test(t, db.dialect, first, second)
		})
	}
}
