package sqlstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// Store is a [store.SessionStore] in a SQL database. Create one with [New]. It
// does not implement [store.Ephemeral]: values leave the process, and SQLite may
// write a database without a file to the disk.
//
// # What an operation costs
//
// Each operation is one statement on one row, and each Get one query: there is no
// cache. A waiting Lock asks once every 10 to 200 ms. The store is no
// [store.Watcher]: a request that waits for a change reads each record that it waits
// for once a second, which are two with auth/status?wait=&attemptId=. A write that
// comes a minute after the last sweep starts the next one in the background, which
// deletes 10,000 expired rows of each table at most, in portions of 1,000, without
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
// # Connections
//
// Replicas of a PostgreSQL behind a connection pooler that hands out connections per
// transaction work, if the driver is configured to use no prepared statements. With
// one connection to a SQLite file, the callers of a process take turns, and only
// other processes are waited for.
type Store struct {
	db            *sql.DB
	dialect       Dialect
	prefix        string
	sql           statements
	maxValueBytes int
	opTimeout     time.Duration
	log           *slog.Logger

	sweepInterval time.Duration
	nextSweep     atomic.Int64 // when a write may start a sweep, in nanoseconds since 1970
}

var (
	_ store.SessionStore = (*Store)(nil)
	_ store.Counter      = (*Store)(nil)
)

// New returns a store in cfg.DB. It creates the tables if there are none, and
// returns an error if the database does not answer within OpTimeout. The error
// about cfg names every mistake in it and matches [store.ErrInvalid].
//
// The tables, in the connection's current schema, are:
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
// do not wait for the disk, and a crash ends them. A database user that may not create
// tables needs them to exist, SELECT, INSERT, UPDATE and DELETE on the first two, and
// SELECT on the third. New refuses tables of another version.
func New(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: cfg.DB, dialect: cfg.Dialect, prefix: cfg.TablePrefix,
		sql:           newStatements(cfg.Dialect, cfg.TablePrefix),
		maxValueBytes: cfg.MaxValueBytes, opTimeout: cfg.OpTimeout, log: cfg.Logger, sweepInterval: cfg.SweepInterval,
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) replace(text string) string { return s.dialect.replacer(s.prefix).Replace(text) }

// Get implements [store.SessionStore] with one query. It never answers from a
// stale copy. The expiry is exact to the millisecond.
func (s *Store) Get(ctx context.Context, key string) (value []byte, expiry time.Time, err error) {
	if err := s.check(ctx, "get", key, store.CheckKey(key)); err != nil {
		return nil, time.Time{}, err
	}
	err = s.try(ctx, "get", func(ctx context.Context, _ bool) error {
		var until int64
		err := s.db.QueryRowContext(ctx, s.sql.get, []byte(key)).Scan(&value, &until)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNotFound
		}
		expiry = time.UnixMilli(until)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if value == nil {
		value = []byte{} // some drivers have no other word for a value of length zero
	}
	return value, expiry, nil
}

// Swap implements [store.SessionStore] with one statement. It returns an error
// that matches [store.ErrInvalid] when new is longer than MaxValueBytes.
//
// A Swap that is repeated after a lost answer takes effect once: each has a
// random stamp, and one that finds its own stamp has succeeded before. If
// another writer has changed the record since, the outcome is unknown, and the
// error says so.
func (s *Store) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	if err := s.check(ctx, "swap", key, store.CheckSwap(key, new, expiry)); err != nil {
		return err
	}
	if err := store.CheckValue(new, s.maxValueBytes); err != nil {
		return err
	}
	if old == nil && new == nil {
		return s.wantAbsent(ctx, key)
	}
	statement, args := s.sql.create, []any{[]byte(key), new, newStamp(), milliseconds(expiry)}
	if new == nil {
		// An expired row rather than none: a repeated Swap recognizes it.
		args[1], args[3] = []byte{}, int64(0)
	}
	if old != nil {
		statement, args = s.sql.replace, append(args, old)
	}
	err := s.try(ctx, "swap", func(ctx context.Context, unsure bool) error {
		changed, err := s.exec(ctx, statement, args...)
		switch {
		case err != nil || changed > 0:
			return err
		case unsure:
			return errUnknownOutcome
		}
		return store.ErrConflict
	})
	s.sweepSoon()
	return err
}

// wantAbsent is a Swap of nil for nil.
func (s *Store) wantAbsent(ctx context.Context, key string) error {
	return s.try(ctx, "swap", func(ctx context.Context, _ bool) error {
		var live int
		err := s.db.QueryRowContext(ctx, s.sql.absent, []byte(key)).Scan(&live)
		if err == nil && live > 0 {
			err = store.ErrConflict
		}
		return err
	})
}

// Extend implements [store.SessionStore] with one statement.
func (s *Store) Extend(ctx context.Context, key string, expiry time.Time) error {
	if err := s.check(ctx, "extend", key, store.CheckExtend(key, expiry)); err != nil {
		return err
	}
	return s.try(ctx, "extend", func(ctx context.Context, _ bool) error {
		found, err := s.exec(ctx, s.sql.extend, []byte(key), milliseconds(expiry))
		if err == nil && found == 0 {
			err = store.ErrNotFound
		}
		return err
	})
}

// Delete implements [store.SessionStore] with one statement.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, "delete", key, store.CheckKey(key)); err != nil {
		return err
	}
	return s.try(ctx, "delete", func(ctx context.Context, _ bool) error {
		_, err := s.exec(ctx, s.sql.remove, []byte(key))
		return err
	})
}

// exec returns how many rows a statement has changed.
func (s *Store) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := s.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// check refuses a call before it begins. invalid is package store's error about
// the arguments.
func (s *Store) check(ctx context.Context, op, key string, invalid error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("sqlstore: %s: %w", op, ctx.Err())
	case invalid != nil:
		return invalid
	case len(key) > maxKeyBytes:
		return fmt.Errorf("sqlstore: key of %d bytes, at most %d are allowed: %w", len(key), maxKeyBytes, store.ErrInvalid)
	}
	return nil
}

// newStamp returns a stamp that no other write has.
func newStamp() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rand.Uint64()), rand.Uint64())
}

// lastExpiry bounds expiries where milliseconds would overflow.
var lastExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// milliseconds rounds down.
func milliseconds(expiry time.Time) int64 {
	if expiry.After(lastExpiry) {
		expiry = lastExpiry
	}
	return expiry.UnixMilli()
}
