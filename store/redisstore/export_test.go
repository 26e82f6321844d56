package redisstore

// Waiting returns how many locks somebody waits for through this Store.
func (s *Store) Waiting() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return len(s.turns.turns)
}
