package redisstore

// Waiting returns how many locks have callers that wait for them through this
// Store.
func (s *Store) Waiting() int { return s.redis.Waiting() }

// Watched returns how many records are watched.
func (s *Store) Watched() int { return s.redis.Watched() }
