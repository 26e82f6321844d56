package redisstore

// Waiting returns how many locks have callers that wait for them through this
// Store.
func (s *Store) Waiting() int { return s.redis.Waiting() }
