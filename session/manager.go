package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Manager joins the sessions in the store, which all replicas share, with the
// live MCP clients of this replica. Make one per process with [New].
//
// A Manager is safe for concurrent use.
type Manager struct {
	cfg      Config
	sealer   sealer
	live     *liveTable
	metadata oauthex.ClientRegistrationMetadata

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup // what goes on in the background
}

// New validates cfg and returns a Manager. It does no I/O. The error, if any,
// names every mistake in cfg. Close the Manager when done with it.
func New(cfg Config) (*Manager, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Client.HTTPClient == nil {
		cfg.Client.HTTPClient = oauthclient.NewHTTPClient(oauthclient.NetworkPolicy{})
	}
	if cfg.Client.MCPClient == nil {
		cfg.Client.MCPClient = mcp.NewClient(&mcp.Implementation{Name: "mcpoauth", Version: "1"}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
	}
	sealer, err := newSealer(cfg.SealKeys)
	if err != nil {
		return nil, fmt.Errorf("session: Config.SealKeys: %w", err)
	}
	m := &Manager{cfg: cfg, sealer: sealer, live: newLiveTable(cfg.MaxLiveClients, cfg.Now)}
	// A client made now shows mistakes in the template now, not at the first user.
	if _, err := oauthclient.New(m.clientConfig("https://mcp.invalid", "https://callback.invalid", &liveSession{m: m})); err != nil {
		return nil, fmt.Errorf("session: Config.Client: %w", err)
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.work.Go(m.closeIdle)
	return m, nil
}

// Format implements [fmt.Formatter]: a Manager shows nothing of what it holds.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Manager")) }

// Format implements [fmt.Formatter], because of SealKeys.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Config")) }

// clientConfig completes the template for one session.
func (m *Manager) clientConfig(serverURL, callbackURL string, l *liveSession) oauthclient.Config {
	cfg := m.cfg.Client
	cfg.ServerURL, cfg.CallbackURL = serverURL, callbackURL
	cfg.Credentials, cfg.Registrations, cfg.Attempts = l, registrations{m}, attempts{l}
	cfg.AttemptTTL = m.cfg.AttemptTTL
	cfg.Logger, cfg.Now = m.cfg.Logger, m.cfg.Now
	return cfg
}

// ClientMetadata returns the client_id and the registration metadata of the
// template, for the Client ID Metadata Document. The client_id is empty when
// the template has no ClientMetadataURL.
func (m *Manager) ClientMetadata() (clientID string, metadata oauthex.ClientRegistrationMetadata) {
	return m.cfg.Client.ClientMetadataURL, m.cfg.Client.ClientMetadata
}

// Close ends all live clients and whatever is in progress on this replica. The
// sessions stay in the store, and go on elsewhere or after a restart. Every
// method called later returns [ErrClosed]. Close returns when no goroutine of
// the Manager is left; it may be called more than once and always returns nil.
func (m *Manager) Close() error {
	m.end()
	for _, l := range m.live.close() {
		m.closeInBackground(l)
	}
	m.work.Wait()
	return nil
}

func (m *Manager) isClosed() bool { return m.life.Err() != nil }

// closeInBackground ends a dropped session's MCP session, which may take a
// round trip that nobody needs to wait for.
func (m *Manager) closeInBackground(sessions ...*liveSession) {
	for _, l := range sessions {
		m.work.Go(func() { _ = l.client.Close() })
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

// lookup finds a caller's session. Every reason why the caller may not have it
// gives the same error.
func (m *Manager) lookup(ctx context.Context, caller Caller, sessionID string) (key string, r *record, err error) {
	if m.isClosed() {
		return "", nil, ErrClosed
	}
	key, secret, ok := splitID(sessionID)
	if !ok {
		return "", nil, ErrNotFound
	}
	r, _, err = m.read(ctx, key)
	if errors.Is(err, ErrNotFound) {
		m.forget(key)
		return "", nil, ErrNotFound
	}
	if err != nil {
		return "", nil, err
	}
	if !r.ownedBy(caller, secret) || !m.cfg.Now().Before(r.Expires) {
		return "", nil, ErrNotFound
	}
	return key, r, nil
}

// forget drops a live session whose record is gone.
func (m *Manager) forget(key string) {
	if l := m.live.peek(key); l != nil && m.live.drop(l) {
		m.closeInBackground(l)
	}
}

// acquire returns the live session of a record, until release.
func (m *Manager) acquire(key string, r *record) (l *liveSession, release func(), err error) {
	l, evicted, err := m.live.acquire(key, func() (*liveSession, error) {
		l := &liveSession{m: m, key: key}
		client, err := oauthclient.New(m.clientConfig(r.ServerURL, r.CallbackURL, l))
		if err != nil {
			return nil, fmt.Errorf("session: %w", err)
		}
		l.client = client
		return l, nil
	})
	m.closeInBackground(evicted...)
	if err != nil {
		return nil, nil, err
	}
	return l, func() { m.live.release(l) }, nil
}

// touch notes the use of a session, at most every Config.TouchInterval. A
// failure is logged only: the use itself has nothing to do with it.
func (m *Manager) touch(ctx context.Context, key string, r *record) {
	now := m.cfg.Now()
	if now.Before(r.Used.Add(m.cfg.TouchInterval)) {
		return
	}
	_, err := m.update(ctx, key, func(r *record) error {
		if now.Before(r.Used.Add(m.cfg.TouchInterval)) {
			return errUnchanged // another replica was faster
		}
		r.Used, r.Expires = now, now.Add(m.cfg.TTL)
		return nil
	})
	if err == nil {
		err = m.updateOwner(ctx, r.Owner, func(*ownerRecord) error { return nil })
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot extend a session", "session", key, "error", err)
	}
}

// deleteRecord removes a session's record and takes it off its owner's list.
func (m *Manager) deleteRecord(ctx context.Context, key, owner string) error {
	if err := m.cfg.Store.Delete(ctx, sessionStoreKey(key)); err != nil && !errors.Is(err, store.ErrNotFound) {
		return storeError("deleting the session", err)
	}
	return m.removeFromOwner(ctx, owner, key)
}
