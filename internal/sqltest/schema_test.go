package sqltest_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// Replicas that start at once make one set of tables.
func TestReplicasStartAtOnce(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB) {
		prefix := newPrefix()
		errs := make([]error, 16)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = sqlstore.New(t.Context(), sqlstore.Config{DB: []*sql.DB{first, second}[i%2], Dialect: d, TablePrefix: prefix})
			})
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		var versions int
		require.NoError(t, first.QueryRow("SELECT count(*) FROM "+prefix+"schema").Scan(&versions))
		require.Equal(t, 1, versions)
	})
}

// Tables of a version that this release does not know are left alone.
func TestTablesOfAnotherVersionAreRefused(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB) {
		prefix := newPrefix()
		cfg := sqlstore.Config{DB: first, Dialect: d, TablePrefix: prefix, OpTimeout: time.Minute}
		open(t, cfg)
		_, err := first.Exec("UPDATE " + prefix + "schema SET version = 2")
		require.NoError(t, err)
		began := time.Now()
		_, err = sqlstore.New(t.Context(), cfg)
		require.EqualError(t, err, "sqlstore: preparing the tables: the tables have version 2, and this release of the library needs version 1")
		require.Less(t, time.Since(began), 30*time.Second, "it is not tried again")
	})
}

// A user who may not create tables needs only the documented privileges.
func TestRestrictedUser(t *testing.T) {
	t.Parallel()
	admin, prefix := openPostgres(t, sharedPostgres(t)), newPrefix()
	role := "role_" + strings.Trim(prefix, "_")
	_, err := admin.Exec("CREATE ROLE " + role + " LOGIN")
	require.NoError(t, err)
	cfg := sqlstore.Config{
		DB: openPostgres(t, strings.Replace(sharedPostgres(t), "postgres@", role+"@", 1)), Dialect: sqlstore.Postgres, TablePrefix: prefix,
	}
	_, err = sqlstore.New(t.Context(), cfg)
	require.ErrorContains(t, err, "SQLSTATE 42501 (the user lacks a privilege")

	open(t, sqlstore.Config{DB: admin, Dialect: sqlstore.Postgres, TablePrefix: prefix})
	for _, grant := range []string{
		"GRANT SELECT, INSERT, UPDATE, DELETE ON " + prefix + "records, " + prefix + "counts TO " + role,
		"GRANT SELECT ON " + prefix + "schema TO " + role,
	} {
		_, err = admin.Exec(grant)
		require.NoError(t, err)
	}
	s := open(t, cfg)
	for name, op := range operations(s, "k", []byte("v")) {
		if err := op(t.Context()); err != nil {
			require.True(t, name != "Lock" && name != "Add", "%s: %v", name, err)
			require.NotContains(t, err.Error(), "SQLSTATE", name)
		}
	}
}

func TestLargestValuesAndKeys(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, _ *sql.DB) {
		s, later := open(t, sqlstore.Config{DB: first, Dialect: d}), time.Now().Add(time.Hour)
		largest := make([]byte, 256<<10)
		require.NoError(t, s.Swap(t.Context(), "k", nil, largest, later))
		for _, old := range [][]byte{nil, largest} {
			err := s.Swap(t.Context(), "k", old, make([]byte, 256<<10+1), later)
			require.ErrorIs(t, err, store.ErrInvalid)
			require.EqualError(t, err, "store: value of 262145 bytes, MaxValueBytes allows 262144")
		}
		key := strings.Repeat("k", 1024)
		require.NoError(t, s.Swap(t.Context(), key, nil, []byte("v"), later))
		for name, op := range operations(s, key+"k", []byte("v")) {
			require.ErrorIs(t, op(t.Context()), store.ErrInvalid, name)
		}
		small := open(t, sqlstore.Config{DB: first, Dialect: d, MaxValueBytes: 8})
		require.NoError(t, small.Swap(t.Context(), "k", nil, []byte("12345678"), later))
		require.ErrorIs(t, small.Swap(t.Context(), "k", []byte("12345678"), []byte("123456789"), later), store.ErrInvalid)
	})
}

// Expiries and leases go by the database's clock: what a process thinks the time
// is does not matter. The database's clock is moved by moving the rows.
func TestDatabaseClockDecides(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB) {
		prefix := newPrefix()
		s := open(t, sqlstore.Config{DB: first, Dialect: d, TablePrefix: prefix})
		peer := open(t, sqlstore.Config{DB: second, Dialect: d, TablePrefix: prefix})
		_, err := s.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)
		var until int64
		require.NoError(t, first.QueryRow("SELECT expiry FROM "+prefix+"records").Scan(&until))
		require.InDelta(t, time.Now().Add(time.Hour).UnixMilli(), until, 60_000, "an hour by the database's clock")
		_, err = first.Exec("UPDATE " + prefix + "records SET expiry = expiry - 3600000")
		require.NoError(t, err)
		_, err = peer.Lock(t.Context(), "k", time.Hour)
		require.NoError(t, err)
	})
}

// A value outlives its process.
func TestSQLiteFileOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	source, later := sqliteFile(t), time.Now().Add(time.Hour).Truncate(time.Millisecond)
	db := openSQLite(t, source)
	s := open(t, sqlstore.Config{DB: db, Dialect: sqlstore.SQLite, TablePrefix: "x_"})
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), later))
	require.NoError(t, db.Close())
	again := open(t, sqlstore.Config{DB: openSQLite(t, source), Dialect: sqlstore.SQLite, TablePrefix: "x_"})
	value, expiry, err := again.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	require.True(t, expiry.Equal(later))
	_, ephemeral := any(again).(store.Ephemeral)
	require.False(t, ephemeral, "keys to seal with are demanded")
}
