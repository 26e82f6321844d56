package sqltest_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/pgtest"
	"github.com/mcpoauth/mcpoauth/internal/redistest"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
	"github.com/mcpoauth/mcpoauth/store/redisstore"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// BenchmarkStores has the stores side by side, with records of 1 KB. PostgreSQL
// and SQLite wait for the disk with each write, Redis does not.
func BenchmarkStores(b *testing.B) {
	for _, s := range []struct {
		name string
		open func(b *testing.B) store.SessionStore
	}{
		{"memory", func(*testing.B) store.SessionStore { return memstore.New(memstore.Config{}) }},
		{"redis", func(b *testing.B) store.SessionStore {
			return openRedis(b, redisstore.Config{URL: redistest.Run(b, redistest.Options{}).URL()})
		}},
		{"redis, no cache", func(b *testing.B) store.SessionStore {
			return openRedis(b, redisstore.Config{URL: redistest.Run(b, redistest.Options{}).URL(), DisableCache: true})
		}},
		{"postgres", func(b *testing.B) store.SessionStore {
			db := openPostgres(b, pgtest.Run(b, pgtest.Options{Durable: true}).URL())
			return open(b, sqlstore.Config{DB: db, Dialect: sqlstore.Postgres})
		}},
		{"sqlite", func(b *testing.B) store.SessionStore {
			return open(b, sqlstore.Config{DB: openSQLite(b, sqliteFile(b)), Dialect: sqlstore.SQLite})
		}},
	} {
		b.Run(s.name, func(b *testing.B) { benchmarkStore(b, s.open(b)) })
	}
}

func openRedis(b *testing.B, cfg redisstore.Config) store.SessionStore {
	b.Helper()
	s, err := redisstore.New(b.Context(), cfg)
	require.NoError(b, err)
	b.Cleanup(s.Close)
	return s
}

// benchRecords is how many records the store has.
const benchRecords = 1000

func benchmarkStore(b *testing.B, s store.SessionStore) {
	ctx, value, expiry := context.Background(), make([]byte, 1024), time.Now().Add(time.Hour)
	key := func(i int) string { return "session:" + strconv.Itoa(i%benchRecords) }
	for i := range benchRecords {
		require.NoError(b, s.Swap(ctx, key(i), nil, value, expiry))
	}
	for _, op := range []struct {
		name string
		do   func(i int) error
	}{
		{"Get", func(i int) error { _, _, err := s.Get(ctx, key(i)); return err }},
		{"Swap", func(i int) error { return s.Swap(ctx, key(i), value, value, expiry) }},
		{"Extend", func(i int) error {
			expiry = expiry.Add(time.Millisecond)
			return s.Extend(ctx, key(i), expiry)
		}},
		{"Lock and unlock", func(i int) error {
			unlock, err := s.Lock(ctx, key(i), time.Minute)
			if err == nil {
				unlock()
			}
			return err
		}},
		{"Add", func(i int) error { _, err := s.(store.Counter).Add(ctx, key(i), 1, expiry); return err }},
	} {
		b.Run(op.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := op.do(i); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
