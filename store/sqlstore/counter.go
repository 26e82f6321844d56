package sqlstore

import (
	"context"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// Add implements [store.Counter] with one statement. It is not repeated after a
// lost answer, because it may have counted.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	if err := s.check(ctx, "add", key, store.CheckAdd(key, expiry)); err != nil {
		return 0, err
	}
	err = s.try(ctx, "add", func(ctx context.Context, unsure bool) error {
		if unsure {
			return errUnknownOutcome
		}
		return s.db.QueryRowContext(ctx, s.sql.add, []byte(key), n, milliseconds(expiry)).Scan(&total)
	})
	s.sweepSoon()
	if err != nil {
		return 0, err
	}
	return total, nil
}
