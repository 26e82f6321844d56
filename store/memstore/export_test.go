package memstore

// HeldLocks returns how many names the lock table remembers.
func (s *Store) HeldLocks() int {
	s.locks.mu.Lock()
	defer s.locks.mu.Unlock()
	return len(s.locks.queues)
}

// Watched returns how many records are watched.
func (s *Store) Watched() int { return s.watches.Len() }
