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
// For SQLite, write-ahead logging and one connection are the best:
//
//	db, err := sql.Open("sqlite", "file:sessions.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)")
//	db.SetMaxOpenConns(1)
//	s, err := sqlstore.New(ctx, sqlstore.Config{DB: db, Dialect: sqlstore.SQLite})
//
// [New] creates three tables. [Store] shows them, and says what each operation costs,
// and what happens in an outage. A complete host is in examples/server.
//
// # Concurrency
//
// A *Store is safe for concurrent use, and has nothing to close: the host closes
// its [sql.DB] after the last use.
//
// # Security
//
// Package session seals what it stores; see there. Keys and values are parameters
// of statements, and are in no error and no log record. Of a PostgreSQL's error only
// the code is kept, because its text may quote values.
package sqlstore
