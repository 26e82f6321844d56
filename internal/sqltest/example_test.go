package sqltest_test

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/store/sqlstore"
)

// The walk-through of package sqlstore.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection would have a memory of its own

	s, err := sqlstore.New(ctx, sqlstore.Config{DB: db, Dialect: sqlstore.SQLite})
	if err != nil {
		fmt.Println(err)
		return
	}
	expiry := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	fmt.Println("create:", s.Swap(ctx, "attempt:1", nil, []byte("pending"), expiry))
	value, until, err := s.Get(ctx, "attempt:1")
	fmt.Printf("read: %s until %d %v\n", value, until.UTC().Year(), err)
	fmt.Println("take:", s.Swap(ctx, "attempt:1", value, nil, time.Time{}))
	fmt.Println("take again:", s.Swap(ctx, "attempt:1", value, nil, time.Time{}))
	// Output:
	// create: <nil>
	// read: pending until 2100 <nil>
	// take: <nil>
	// take again: store: conflict
}
