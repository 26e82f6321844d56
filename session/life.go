package session

import (
	"context"
	"time"
)

// Close ends all live clients and whatever is in progress on this replica. The
// sessions stay in the store, and go on elsewhere or after a restart. Every
// method called later returns [ErrClosed].
//
// Calls are cancelled. What has begun and cannot be repeated (a code or a
// refresh token that was sent to the authorization server) is brought to its
// end and saved first, which takes as long as Client.RequestTimeout allows, and
// Config.LockTTL if the store is away. The store must be usable until Close
// returns. Close may be called more than once and always returns nil.
func (m *Manager) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		m.end()
		for _, l := range m.live.close() {
			m.work.Go(func() { _ = l.client.Close() })
		}
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

// closeInBackground ends the MCP sessions of dropped live sessions, which may
// take a round trip that nobody needs to wait for.
func (m *Manager) closeInBackground(sessions ...*liveSession) {
	for _, l := range sessions {
		end, err := m.begin()
		if err != nil {
			_ = l.client.Close() // Close waits for whoever dropped it
			continue
		}
		go func() {
			defer end()
			_ = l.client.Close()
		}()
	}
}

// closeIdle closes live clients that nobody uses, until the Manager is closed.
func (m *Manager) closeIdle() {
	ticker := time.NewTicker(max(m.cfg.IdleTimeout/4, time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-m.life.Done():
			return
		case <-ticker.C:
			m.closeInBackground(m.live.idle(m.cfg.Now().Add(-m.cfg.IdleTimeout))...)
		}
	}
}

// outlive returns a context for recording what has happened, which must be
// done even if nobody waits for it any more. It is bounded, because the store
// may hang.
func (m *Manager) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), m.cfg.LockTTL)
}
