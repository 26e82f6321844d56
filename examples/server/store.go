package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/hybridstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// openStore opens the store that the environment names. Its variable, for
// errors, is empty for memory.
func openStore(ctx context.Context, logger *slog.Logger) (sessions store.SessionStore, variable string, closeStore func(), err error) {
	database, redis := os.Getenv("DATABASE_URL"), os.Getenv("REDIS_URL")
	switch {
	case database != "" && redis != "":
		return nil, "", nil, errors.New("DATABASE_URL, REDIS_URL: only one of them can be the store")
	case database != "":
		sessions, closeStore, err = openDatabase(ctx, logger, database)
		variable = "DATABASE_URL"
	default:
		var hybrid *hybridstore.Store
		hybrid, err = hybridstore.New(ctx, hybridstore.Config{Redis: redisstore.Config{URL: redis}, Logger: logger})
		if err == nil {
			sessions, closeStore = hybrid, hybrid.Close
		}
		if redis != "" {
			variable = "REDIS_URL"
		}
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("%s: %w", variable, err)
	}
	return sessions, variable, closeStore, nil
}

// openDatabase opens a store in a database. Its errors have no password.
func openDatabase(ctx context.Context, logger *slog.Logger, address string) (sessions *sqlstore.Store, closeStore func(), err error) {
	cfg := sqlstore.Config{Logger: logger}
	scheme, path, _ := strings.Cut(address, ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		cfg.Dialect = sqlstore.Postgres
		option, err := pgx.ParseConfig(address)
		if err != nil {
			return nil, nil, errors.New("cannot be parsed; reserved characters in a password are to be percent-encoded")
		}
		cfg.DB = stdlib.OpenDB(*option)
		cfg.DB.SetMaxOpenConns(10) // of some 100 that a server has for all replicas
	case scheme == "sqlite" && path != "":
		cfg.Dialect = sqlstore.SQLite
		// Callers take turns on one connection, and wait for other processes.
		source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)"}
		if cfg.DB, err = sql.Open("sqlite", source.String()); err != nil {
			return nil, nil, err
		}
		cfg.DB.SetMaxOpenConns(1)
	default:
		return nil, nil, errors.New("must be postgres://user:password@host/database or sqlite:path")
	}
	if sessions, err = sqlstore.New(ctx, cfg); err != nil {
		_ = cfg.DB.Close()
		return nil, nil, err
	}
	return sessions, func() { _ = cfg.DB.Close() }, nil
}
