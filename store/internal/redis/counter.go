package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

// Add does what [store.Counter] says, with one command. It is not sent again after a
// lost connection, because it may have counted.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("redisstore: add: %w", err)
	}
	if err := store.CheckAdd(key, expiry); err != nil {
		return 0, err
	}
	// Redis takes no moment before its epoch; one that has passed it takes.
	until := strconv.FormatInt(max(expireAt(expiry), 1), 10)
	err = s.try(ctx, "add", func(ctx context.Context, unsure bool) error {
		if unsure {
			return errUnknownOutcome
		}
		total, err = s.run(ctx, s.prefix+countSpace+key, countScript, strconv.FormatInt(n, 10), until)
		return err
	})
	return total, err
}
