package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// schemaVersion is the version of the tables. A store refuses tables of
// another one.
const schemaVersion = 1

// schema creates the tables. It is in the package's documentation, too.
var schema = []string{
	`CREATE TABLE {records} (
    kind   SMALLINT NOT NULL, -- 0: a record, 1: a lease
    key    {bytes}    NOT NULL,
    value  {bytes}    NOT NULL, -- of a lease: empty
    stamp  {bytes}    NOT NULL, -- random: which write it was, or which lease
    expiry BIGINT   NOT NULL, -- milliseconds since 1970
    PRIMARY KEY (kind, key)
)`,
	`CREATE INDEX {records}_expiry ON {records} (expiry)`,
	`CREATE {unlogged}TABLE {counts} (
    key    {bytes}  NOT NULL PRIMARY KEY,
    n      BIGINT NOT NULL,
    expiry BIGINT NOT NULL    -- milliseconds since 1970
)`,
	`CREATE INDEX {counts}_expiry ON {counts} (expiry)`,
	`CREATE TABLE {schema} (
    version INTEGER NOT NULL
)`,
	`INSERT INTO {schema} (version) VALUES (1)`,
}

// prepare makes sure that the tables are there and of this version. A database
// user that may not create tables needs them to exist.
func (s *Store) prepare(ctx context.Context) error {
	return s.try(ctx, "preparing the tables", func(ctx context.Context, _ bool) error {
		version, err := s.version(ctx, s.db)
		if errors.Is(err, sql.ErrNoRows) {
			version, err = s.createTables(ctx)
		}
		if err == nil && version != schemaVersion {
			err = &versionError{version}
		}
		return err
	})
}

// versionError is about tables of another version.
type versionError struct{ found int64 }

func (e *versionError) Error() string {
	return fmt.Sprintf("the tables have version %d, and this release of the library needs version %d", e.found, schemaVersion)
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// version returns the version of the tables, or sql.ErrNoRows if there are none.
func (s *Store) version(ctx context.Context, q querier) (version int64, err error) {
	// Not to_regclass: in a transaction that waited for another one to create
	// the table, it still says that there is none.
	exists := "SELECT 1 FROM pg_catalog.pg_class WHERE relname = $1 AND pg_catalog.pg_table_is_visible(oid)"
	if s.dialect == SQLite {
		exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1"
	}
	var one int
	if err := q.QueryRowContext(ctx, exists, s.prefix+"schema").Scan(&one); err != nil {
		return 0, err
	}
	err = q.QueryRowContext(ctx, s.replace("SELECT max(version) FROM {schema}")).Scan(&version)
	return version, err
}

// createTables creates the tables in one transaction, unless another replica
// has done it meanwhile.
func (s *Store) createTables(ctx context.Context) (version int64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // of a transaction that was not committed
	// One replica at a time: CREATE TABLE IF NOT EXISTS fails in a race.
	if s.dialect == Postgres {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", s.prefix+"schema"); err != nil {
			return 0, err
		}
	}
	if version, err = s.version(ctx, tx); !errors.Is(err, sql.ErrNoRows) {
		return version, err
	}
	for _, statement := range schema {
		if _, err := tx.ExecContext(ctx, s.replace(statement)); err != nil {
			return 0, err
		}
	}
	return schemaVersion, tx.Commit()
}
