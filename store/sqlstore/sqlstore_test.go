package sqlstore_test

import (
	"database/sql"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// What needs a database is in internal/sqltest, a module with drivers.

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	good := sqlstore.Config{DB: new(sql.DB), Dialect: sqlstore.Postgres}
	for name, tt := range map[string]struct {
		change func(*sqlstore.Config)
		want   string
	}{
		"no database":             {func(c *sqlstore.Config) { c.DB = nil }, "sqlstore: Config.DB: is required"},
		"no dialect":              {func(c *sqlstore.Config) { c.Dialect = 0 }, "sqlstore: Config.Dialect: must be Postgres or SQLite"},
		"another dialect":         {func(c *sqlstore.Config) { c.Dialect = 3 }, "sqlstore: Config.Dialect: must be Postgres or SQLite"},
		"a prefix with SQL in it": {func(c *sqlstore.Config) { c.TablePrefix = "a; DROP TABLE x" }, "sqlstore: Config.TablePrefix: must be lower-case letters, digits and underscores, at most 32"},
		"a prefix that is long":   {func(c *sqlstore.Config) { c.TablePrefix = strings.Repeat("a", 33) }, "sqlstore: Config.TablePrefix: must be lower-case letters, digits and underscores, at most 32"},
		"several mistakes": {
			func(c *sqlstore.Config) { c.MaxValueBytes, c.OpTimeout, c.SweepInterval = -1, -time.Second, -1 },
			"sqlstore: Config.MaxValueBytes: is negative\nsqlstore: Config.OpTimeout: is negative\nsqlstore: Config.SweepInterval: is negative",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			cfg.Logger = slog.New(slog.DiscardHandler)
			tt.change(&cfg)
			s, err := sqlstore.New(t.Context(), cfg)
			require.Nil(t, s)
			require.EqualError(t, err, tt.want)
			require.ErrorIs(t, err, store.ErrInvalid)
		})
	}
}

func TestDialects(t *testing.T) {
	t.Parallel()
	require.Equal(t, "PostgreSQL SQLite unknown dialect", sqlstore.Postgres.String()+" "+sqlstore.SQLite.String()+" "+sqlstore.Dialect(0).String())
}

// The documentation has the tables as they are made.
func TestDocumentedTables(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("store.go")
	require.NoError(t, err)
	var quoted strings.Builder
	for line := range strings.Lines(sqlstore.Schema(sqlstore.Postgres, "mcpoauth_")) {
		quoted.WriteString("//\t" + line)
	}
	require.Contains(t, string(doc), quoted.String())
	require.Equal(t,
		strings.NewReplacer("BYTEA", "BLOB", "UNLOGGED ", "").Replace(sqlstore.Schema(sqlstore.Postgres, "mcpoauth_")),
		sqlstore.Schema(sqlstore.SQLite, "mcpoauth_"))
}
