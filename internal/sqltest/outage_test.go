package sqltest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/pgtest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// operations are all methods, on a record that exists.
func operations(s *sqlstore.Store, key string, value []byte) map[string]func(context.Context) error {
	later := time.Now().Add(time.Hour)
	return map[string]func(context.Context) error{
		"Get":     func(ctx context.Context) error { _, _, err := s.Get(ctx, key); return err },
		"create":  func(ctx context.Context) error { return s.Swap(ctx, key+"2", nil, value, later) },
		"replace": func(ctx context.Context) error { return s.Swap(ctx, key, value, value, later) },
		"take":    func(ctx context.Context) error { return s.Swap(ctx, key, value, nil, time.Time{}) },
		"ask":     func(ctx context.Context) error { return s.Swap(ctx, key+"2", nil, nil, time.Time{}) },
		"Extend":  func(ctx context.Context) error { return s.Extend(ctx, key, later) },
		"Delete":  func(ctx context.Context) error { return s.Delete(ctx, key) },
		"Lock": func(ctx context.Context) error {
			unlock, err := s.Lock(ctx, key, time.Minute)
			if err == nil {
				unlock()
			}
			return err
		},
		"Add": func(ctx context.Context) error { _, err := s.Add(ctx, key, 1, later); return err },
	}
}

// A database that is away is an outage, and nothing else.
func TestOutage(t *testing.T) {
	t.Parallel()
	const key, value = "canary-key", "canary-value"
	server := pgtest.Run(t, pgtest.Options{})
	cfg := sqlstore.Config{DB: openPostgres(t, server.URL()), Dialect: sqlstore.Postgres, OpTimeout: opTimeout, TablePrefix: newPrefix()}
	patient := open(t, cfg)
	require.NoError(t, patient.Swap(t.Context(), key, nil, []byte(value), time.Now().Add(time.Hour)))
	cfg.OpTimeout = 2 * time.Second
	s := open(t, cfg)
	server.Kill()
	for name, op := range operations(s, key, []byte(value)) {
		began := time.Now()
		err := op(t.Context())
		require.Error(t, err, name)
		require.Less(t, time.Since(began), opTimeout, name)
		for _, sentinel := range []error{
			store.ErrNotFound, store.ErrConflict, store.ErrFull, store.ErrInvalid, store.ErrUnsure, context.DeadlineExceeded, context.Canceled,
		} {
			require.NotErrorIs(t, err, sentinel, name)
		}
		require.True(t, strings.HasPrefix(err.Error(), "sqlstore: "), "%s: %v", name, err)
		require.NotContains(t, err.Error(), "canary", name)

		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		require.ErrorIs(t, op(ctx), context.DeadlineExceeded, name)
		cancel()
	}
	require.NoError(t, server.Restart())
	got, _, err := patient.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, value, string(got))
}

// A network that takes everything and answers nothing is an outage, too.
func TestSilentNetwork(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	db := openPostgres(t, "postgres://u:canary@"+l.Addr().String()+"/db?sslmode=disable")
	_, err = sqlstore.New(t.Context(), sqlstore.Config{DB: db, Dialect: sqlstore.Postgres, OpTimeout: 200 * time.Millisecond})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "no context of the caller has ended")
	require.NotContains(t, err.Error(), "canary")
}

// What a server refuses for good is not tried again.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"3D000 (there is no such database)": strings.Replace(sharedPostgres(t), "/postgres?", "/canary?", 1),
		"28000 (the user may not connect)":  strings.Replace(sharedPostgres(t), "postgres@", "canary@", 1),
	} {
		began := time.Now()
		_, err := sqlstore.New(t.Context(), sqlstore.Config{DB: openPostgres(t, url), Dialect: sqlstore.Postgres, OpTimeout: time.Minute})
		require.EqualError(t, err, "sqlstore: preparing the tables: the database refuses: SQLSTATE "+name)
		require.Less(t, time.Since(began), 30*time.Second)
	}
	db := openPostgres(t, sharedPostgres(t))
	s := open(t, sqlstore.Config{DB: db, Dialect: sqlstore.Postgres, OpTimeout: time.Minute})
	require.NoError(t, db.Close())
	_, _, err := s.Get(t.Context(), "k")
	require.EqualError(t, err, "sqlstore: get: sql: database is closed")
}

// Many count with Get and Swap while the server crashes again and again. Each
// Swap that succeeded is in the sum once, and each that failed at most once.
func TestSwapsTakeEffectOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Run(t, pgtest.Options{})
	var stores []*sqlstore.Store
	for range 2 {
		stores = append(stores, open(t, sqlstore.Config{
			DB: openPostgres(t, server.URL()), Dialect: sqlstore.Postgres, TablePrefix: "once_", OpTimeout: time.Minute,
		}))
	}
	const keys = "abcdefgh"
	later := time.Now().Add(time.Hour)
	for _, key := range keys {
		require.NoError(t, stores[0].Swap(t.Context(), string(key), nil, make([]byte, 8), later))
	}
	var succeeded, unknown, total atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 2 * len(keys) { // two writers of each record
		wg.Go(func() {
			s, key := stores[i/len(keys)], keys[i%len(keys):][:1]
			for ctx.Err() == nil {
				old, _, err := s.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				next := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(old)+1)
				switch err := s.Swap(t.Context(), key, old, next, later); {
				case err == nil:
					succeeded.Add(1)
				case !errors.Is(err, store.ErrConflict):
					unknown.Add(1)
				}
				total.Add(1)
			}
		})
	}
	for range 4 {
		goal := total.Load() + 300
		require.Eventually(t, func() bool { return total.Load() >= goal }, time.Minute, time.Millisecond)
		server.Kill()
		require.NoError(t, server.Restart())
	}
	cancel()
	wg.Wait()
	var sum int64
	for _, key := range keys {
		value, _, err := stores[0].Get(t.Context(), string(key))
		require.NoError(t, err)
		sum += int64(binary.BigEndian.Uint64(value))
	}
	t.Logf("%d swaps, %d succeeded, %d with an unknown outcome, sum %d", total.Load(), succeeded.Load(), unknown.Load(), sum)
	require.GreaterOrEqual(t, sum, succeeded.Load(), "a swap that succeeded was lost")
	require.LessOrEqual(t, sum, succeeded.Load()+unknown.Load(), "a swap took effect twice, or without saying so")
}

// Of many takers one gets the record, also while the server crashes.
func TestTakenOnceWhileTheServerCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.Run(t, pgtest.Options{})
	db := openPostgres(t, server.URL())
	s := open(t, sqlstore.Config{DB: db, Dialect: sqlstore.Postgres, OpTimeout: time.Minute})
	later := time.Now().Add(time.Hour)
	stop := make(chan struct{})
	crashed := make(chan error, 1)
	go func() {
		for range 3 {
			time.Sleep(200 * time.Millisecond)
			server.Kill()
			if err := server.Restart(); err != nil {
				crashed <- err
				return
			}
		}
		close(stop)
		crashed <- nil
	}()
	for round := 0; ; round++ {
		select {
		case <-stop:
			require.NoError(t, <-crashed)
			t.Logf("%d rounds", round)
			return
		default:
		}
		require.NoError(t, s.Swap(t.Context(), "attempt", nil, []byte("pending"), later))
		var winners, unknown atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				switch err := s.Swap(t.Context(), "attempt", []byte("pending"), nil, time.Time{}); {
				case err == nil:
					winners.Add(1)
				case !errors.Is(err, store.ErrConflict):
					unknown.Add(1)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, winners.Load(), int64(1))
		require.GreaterOrEqual(t, winners.Load()+unknown.Load(), int64(1))
		_, _, err := s.Get(t.Context(), "attempt")
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

// Another process that holds the database file's lock only delays a write.
func TestSQLiteFileIsLocked(t *testing.T) {
	t.Parallel()
	source := strings.Replace(sqliteFile(t), "busy_timeout(1000)", "busy_timeout(0)", 1)
	s := open(t, sqlstore.Config{DB: openSQLite(t, source), Dialect: sqlstore.SQLite})
	other, err := openSQLite(t, source).Conn(t.Context())
	require.NoError(t, err)
	defer other.Close()
	hold := func() {
		_, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		require.NoError(t, err)
	}
	release := func() { _, _ = other.ExecContext(context.Background(), "ROLLBACK") }

	hold()
	time.AfterFunc(300*time.Millisecond, release)
	require.NoError(t, s.Swap(t.Context(), "k", nil, []byte("v"), time.Now().Add(time.Hour)))

	hold()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = s.Delete(ctx, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	release()
	_, _, err = s.Get(t.Context(), "k")
	require.NoError(t, err)
}
