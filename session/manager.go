package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Manager joins the sessions in the store, which all replicas share, with the
// live MCP clients of this replica. Make one per process with [New].
//
// A Manager is safe for concurrent use.
type Manager struct {
	cfg    Config
	sealer sealer
	live   *liveTable

	life context.Context // ends with Close
	end  context.CancelFunc

	mu     sync.Mutex // orders work.Add before work.Wait
	closed bool
	work   sync.WaitGroup // what Close waits for
}

// New validates cfg and returns a Manager. It does no I/O. The error, if any,
// names every mistake in cfg. Close the Manager when done with it.
func New(cfg Config) (*Manager, error) {
	keys := cfg.SealKeys
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	sealer, err := newSealer(keys)
	if err != nil {
		return nil, fmt.Errorf("session: Config.SealKeys: %w", err)
	}
	m := &Manager{cfg: cfg, sealer: sealer, live: newLiveTable(cfg.MaxLiveClients, cfg.Now)}
	if merger, ok := cfg.Store.(store.Merger); ok {
		merger.SetMerge(m.merge)
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.work.Go(m.closeIdle)
	return m, nil
}

// Format implements [fmt.Formatter]: a Manager shows nothing of what it holds.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Manager")) }

// Format implements [fmt.Formatter], because of SealKeys.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Config")) }

// clientConfig is the configuration of one session's client.
func (m *Manager) clientConfig(serverURL, callbackURL string, l *liveSession) oauthclient.Config {
	return oauthclient.Config{
		ServerURL: serverURL, CallbackURL: callbackURL, Shared: m.cfg.Client,
		Credentials: l, Registrations: registrations{m}, Attempts: attempts{l}, Logger: m.cfg.Logger, Now: m.cfg.Now,
	}
}

// ClientMetadata returns the client_id and the registration metadata of the
// template, for the Client ID Metadata Document. The client_id is empty when
// the template has no ClientMetadataURL.
func (m *Manager) ClientMetadata() (clientID string, metadata oauthex.ClientRegistrationMetadata) {
	metadata = m.cfg.Client.ClientMetadata
	metadata.RedirectURIs, metadata.GrantTypes = slices.Clone(metadata.RedirectURIs), slices.Clone(metadata.GrantTypes)
	metadata.ResponseTypes, metadata.Contacts = slices.Clone(metadata.ResponseTypes), slices.Clone(metadata.Contacts)
	return m.cfg.Client.ClientMetadataURL, metadata
}

// Counter returns what counts for all replicas, for limits such as requests per
// minute; nil when the store does not count, and each replica is on its own.
func (m *Manager) Counter() store.Counter {
	counter, _ := m.cfg.Store.(store.Counter)
	return counter
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
	if !r.ownedBy(caller, secret) {
		return "", nil, ErrNotFound
	}
	return key, r, nil
}

// forget drops a live session whose record is gone. Calls that are still in
// progress end.
func (m *Manager) forget(key string) {
	if l := m.live.peek(key); l != nil && m.live.drop(l) {
		l.remove(nil)
		m.closeInBackground(l)
	}
}

// acquire returns the live session of a record, until release.
func (m *Manager) acquire(key string, r *record) (l *liveSession, release func(), err error) {
	l, _, err = m.live.acquire(key, r, nil)
	if err == nil && l == nil {
		// Made outside of the table's lock, because the host has a say in it
		// (Client.PolicyFor).
		made := &liveSession{m: m, key: key, serverURL: r.ServerURL, created: r.Created, grants: r.Grants}
		if made.client, err = oauthclient.New(m.clientConfig(r.ServerURL, r.CallbackURL, made)); err != nil {
			return nil, nil, fmt.Errorf("session: %w", err)
		}
		var dropped []*liveSession
		l, dropped, err = m.live.acquire(key, r, made)
		m.closeInBackground(dropped...)
	}
	if err != nil {
		return nil, nil, err
	}
	return l, func() { m.closeInBackground(m.live.release(l)...) }, nil
}

// touch notes the use of a session, at most every Config.TouchInterval. A
// failure is logged only: the use itself has nothing to do with it.
func (m *Manager) touch(ctx context.Context, key string, r *record) {
	now := m.cfg.Now()
	if now.Before(r.Used.Add(m.cfg.TouchInterval)) {
		return
	}
	written := false
	_, err := m.update(ctx, key, func(r *record) error {
		if written = !now.Before(r.Used.Add(m.cfg.TouchInterval)); !written {
			return errUnchanged // another call was faster
		}
		r.Used, r.Expires = now, now.Add(m.cfg.TTL)
		return nil
	})
	if err == nil && written {
		err = m.renewOwner(ctx, r.Owner, key)
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot extend a session", "session", key, "error", err)
	}
}

// deleteRecord removes a session's record and takes it off its owner's list.
// The list may keep it for a while, if the store fails; it is not looked at
// without the record.
func (m *Manager) deleteRecord(ctx context.Context, key, owner string) error {
	if err := m.cfg.Store.Delete(ctx, sessionStoreKey(key)); err != nil {
		return storeError(ctx, "deleting the session", err)
	}
	if err := m.removeFromOwner(ctx, owner, key); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot take a session off its owner's list", "session", key, "error", err)
	}
	return nil
}
