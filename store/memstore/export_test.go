package memstore

// HeldLocks returns how many names the lock table remembers.
func (s *Store) HeldLocks() int {
	s.locks.mu.Lock()
	defer s.locks.mu.Unlock()
	return len(s.locks.queues)
}
