package sqltest_test

import (
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

const (
	// resolution is far longer than the millisecond that the store keeps: the
	// lives of records are multiples of it, and SQLite is slow with the race
	// detector.
	resolution = 100 * time.Millisecond

	// opTimeout is long for the same reason.
	opTimeout = 20 * time.Second
)

func TestContract(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database.dialect.String(), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t testing.TB) storetest.Backend {
				first, second := database.open(t)
				cfg := sqlstore.Config{DB: first, Dialect: database.dialect, TablePrefix: newPrefix()}
				peer, isolated := cfg, cfg
				peer.DB, isolated.TablePrefix = second, newPrefix()
				return storetest.Backend{
					Store: open(t, cfg), Peer: open(t, peer), Isolated: open(t, isolated),
					Resolution: resolution, Timeout: opTimeout,
				}
			})
		})
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database.dialect.String(), func(t *testing.T) {
			t.Parallel()
			storetest.RunCounter(t, func(t testing.TB) (store.Counter, store.Counter) {
				first, second := database.open(t)
				cfg := sqlstore.Config{DB: first, Dialect: database.dialect, TablePrefix: newPrefix()}
				peer := cfg
				peer.DB = second
				return open(t, cfg), open(t, peer)
			})
		})
	}
}
