// Package sqlstore is a [store.SessionStore] on database/sql, for hosts that
// have a PostgreSQL and no Redis, and for one process that must survive its
// restart with a SQLite file.
//
// # Walk-through
//
// The host brings the driver; this package has none. It is tested with
// github.com/jackc/pgx/v5/stdlib and with modernc.org/sqlite:
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	db.SetMaxOpenConns(10) // of some 100 that a PostgreSQL has for all replicas
//
//	s, err := sqlstore.New(ctx, sqlstore.Config{DB: db, Dialect: sqlstore.Postgres})
//	if err != nil {
//		return err
//	}
//	manager, err := session.New(session.Config{Store: s, SealKeys: keys})
//
// For SQLite, write-ahead logging and one connection are the best: the callers of
// a process take turns, and only other processes are waited for.
//
//	db, err := sql.Open("sqlite", "file:sessions.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)")
//	db.SetMaxOpenConns(1)
//	s, err := sqlstore.New(ctx, sqlstore.Config{DB: db, Dialect: sqlstore.SQLite})
//
// A complete host is in examples/server.
//
// # Tables
//
// [New] creates these tables, and one index on the expiry of each of the first
// two, in the connection's current schema:
//
//	CREATE TABLE mcpoauth_records (
//	    kind   SMALLINT NOT NULL, -- 0: a record, 1: a lease
//	    key    BYTEA    NOT NULL,
//	    value  BYTEA    NOT NULL, -- of a lease: empty
//	    stamp  BYTEA    NOT NULL, -- random: which write it was, or which lease
//	    expiry BIGINT   NOT NULL, -- milliseconds since 1970
//	    PRIMARY KEY (kind, key)
//	);
//	CREATE INDEX mcpoauth_records_expiry ON mcpoauth_records (expiry);
//	CREATE UNLOGGED TABLE mcpoauth_counts (
//	    key    BYTEA  NOT NULL PRIMARY KEY,
//	    n      BIGINT NOT NULL,
//	    expiry BIGINT NOT NULL    -- milliseconds since 1970
//	);
//	CREATE INDEX mcpoauth_counts_expiry ON mcpoauth_counts (expiry);
//	CREATE TABLE mcpoauth_schema (
//	    version INTEGER NOT NULL
//	);
//	INSERT INTO mcpoauth_schema (version) VALUES (1);
//
// In SQLite, BLOB stands for BYTEA, and no table is UNLOGGED: in PostgreSQL, counts
// do not wait for the disk, and a crash ends them. A database user that may not create tables
// needs them to exist, SELECT, INSERT, UPDATE and DELETE on the first two, and
// SELECT on the third. New refuses tables of another version.
//
// # What an operation costs
//
// Each operation is one statement on one row, and each Get one query: there is no
// cache. A waiting Lock asks once every 10 to 200 ms. The store is no
// [store.Watcher]: a request that waits for a change, such as auth/status?wait=,
// costs one query a second. A write that comes a minute
// after the last sweep starts the next one in the background, which deletes
// 10,000 expired rows of each table at most, in portions of 1,000, without
// waiting for rows that others are writing.
//
// # When the database is away
//
// Operations are tried again until [Config].OpTimeout has passed, so a restart or
// failover of a second or two only makes them slow. A Swap that is sent again
// takes effect once: each carries a stamp by which it recognizes its own work.
// When that cannot be decided, because another writer has changed the record
// since, the error says so. An outage is an ordinary error, never one of package
// store's.
//
// # Clocks
//
// The database's clock decides what has expired, records and leases alike, so
// replicas need not agree on the time. For SQLite it is the machine's clock.
// Expiries are kept to the millisecond.
//
// # Concurrency
//
// A *Store is safe for concurrent use, and has nothing to close: the host closes
// its [sql.DB] after the last use. Replicas of a PostgreSQL behind a connection
// pooler that hands out connections per transaction work, if the driver is
// configured to use no prepared statements.
//
// # Security
//
// Package session seals what it stores; see there. Keys and values are parameters
// of statements, never a part of their text, and are in no error and no log
// record. Of a PostgreSQL's error only the code is kept, because its text may
// quote values.
package sqlstore
