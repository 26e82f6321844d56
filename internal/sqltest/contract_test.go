package sqltest_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/sqlstore"
	"github.com/mcpoauth/mcpoauth/store/storetest"
)

// resolution is short, because the suite waits in multiples of it, and the
// store keeps milliseconds.
const resolution = 10 * time.Millisecond

func TestContract(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB) {
		storetest.Run(t, func(t testing.TB) storetest.Backend {
			prefix := newPrefix()
			return storetest.Backend{
				Store:      open(t, sqlstore.Config{DB: first, Dialect: d, TablePrefix: prefix}),
				Peer:       open(t, sqlstore.Config{DB: second, Dialect: d, TablePrefix: prefix}),
				Isolated:   open(t, sqlstore.Config{DB: first, Dialect: d}),
				Resolution: resolution,
			}
		})
	})
}

func TestCounter(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, d sqlstore.Dialect, first, second *sql.DB) {
		storetest.RunCounter(t, func(t testing.TB) (store.Counter, store.Counter) {
			prefix := newPrefix()
			return open(t, sqlstore.Config{DB: first, Dialect: d, TablePrefix: prefix}),
				open(t, sqlstore.Config{DB: second, Dialect: d, TablePrefix: prefix})
		})
	})
}
