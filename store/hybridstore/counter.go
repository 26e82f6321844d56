package hybridstore

import (
	"context"
	"time"

	"github.com/mcpoauth/mcpoauth/store"
)

var _ store.Counter = (*Store)(nil)

// Add implements [store.Counter]. While Redis is away this replica counts for
// itself, from zero, and Redis does not hear of it afterwards: counts are for
// limits, and short-lived.
func (s *Store) Add(ctx context.Context, key string, n int64, expiry time.Time) (total int64, err error) {
	if err := s.usable(ctx, "add"); err != nil {
		return 0, err
	}
	if err := store.CheckAdd(key, expiry); err != nil {
		return 0, err
	}
	if l := s.link.Load(); l != nil {
		total, err := l.redis.Add(ctx, key, n, expiry)
		if err == nil || !s.lost(ctx, l, err) {
			return total, err
		}
	}
	return s.local.Add(ctx, key, n, expiry)
}
