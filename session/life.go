package session

import "context"

// Close ends what is in progress on this replica. The sessions stay in the
// store, and go on elsewhere or after a restart. Every method called later
// returns [ErrClosed].
//
// Calls are cancelled. What has begun and cannot be repeated (a code or a
// refresh token that was sent to the authorization server, a removal) is brought
// to its end and saved first. That takes one request as a rule, 4 times
// Client.RequestTimeout at most if the authorization server does not answer, and
// Config.LockTTL more if the store is away. The store must be usable until Close
// returns. Close may be called more than once and always returns nil.
func (m *Manager) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		m.end()
		m.cache.close()
	}
	m.mu.Unlock()
	m.work.Wait()
	m.cfg.Client.CloseIdleConnections()
	return nil
}

// begin registers something that Close waits for, or returns [ErrClosed].
func (m *Manager) begin() (end func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	m.work.Add(1)
	return m.work.Done, nil
}

func (m *Manager) isClosed() bool { return m.life.Err() != nil }

// detach returns a context for recording what has happened, which must be done
// also when its caller is gone. It is bounded, because the store may hang.
func (m *Manager) detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), m.cfg.LockTTL)
}
