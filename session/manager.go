package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Manager works on the sessions in the store, which all replicas share. It holds
// no connection of its own. Make one per process with [New].
//
// A session lives for [Config].TTL after its last use. In the meantime it is in
// one of the states of [Status], none of which it can be stuck in: using it, or
// connecting again, always starts over.
//
// All that a call needs is in the session's record: credentials, and what was
// agreed on with the MCP server. In memory a replica has a bounded cache of
// decoded records. A replica that has never seen a session, or has forgotten it,
// calls with one Get and one request.
//
// An access token is refreshed ahead of its end, once for all calls of all
// replicas. The new tokens are stored before they are used. An outage of the
// authorization server, the MCP server or the store costs no credentials. For sessions
// that are not used for longer than 24 hours see [Manager.KeepAlive].
//
// Methods may return [*oauthclient.AuthorizationRequiredError]. Call again when
// [Config].OnAuthorized says that the user is back; [Config].OnAuthorizationFailed says
// that the user, or a server, said no. Other errors to tell apart: [ErrNotFound] (no
// such session, for this caller), [*StoreError] (try again), [*LimitError],
// [*InputError], [ErrClosed], and those of package oauthclient.
//
// Records change by compare-and-swap only. Refreshes, registrations and removals also
// take a lease in the store; one that runs out early costs work, never a lost update.
//
// A Manager is safe for concurrent use. It calls hooks in the goroutine of the call that
// they are about. Config.OnAuthorizationRequired, OnRefreshed and OnConnectionLost are
// called within work that all calls of a session wait for. So they must not use that
// session: they would wait for themselves until a time-out. A host that has more to do
// there begins a goroutine.
type Manager struct {
	cfg    Config
	sealer sealer
	inputs sealer // of what servers ask in the middle of a call
	cache  *cache
	health healthMemory

	life context.Context // ends with Close
	end  context.CancelFunc

	mu    sync.Mutex // orders work.Add before work.Wait
	turns turns      // to change an owner's list, or a bucket of the index

	waiting waiting // what KeepAlive remembers from one turn to the next

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
	m := &Manager{cfg: cfg, sealer: newSealer(keys), inputs: newInputSealer(keys), cache: newCache(cfg.CacheSize), turns: turns{held: make(map[string]chan struct{})}}
	m.waiting.issuers = make(map[string]time.Time)
	m.life, m.end = context.WithCancel(context.Background())
	return m, nil
}

// Format implements [fmt.Formatter]: a Manager shows nothing of what it holds.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Manager")) }

// Format implements [fmt.Formatter], because of SealKeys.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("session.Config")) }

// ClientMetadata returns the client_id and the registration metadata of the
// template, completed for callbackURLs, for the Client ID Metadata Document. The
// client_id is empty when the template has no ClientMetadataURL.
func (m *Manager) ClientMetadata(callbackURLs ...string) (clientID string, metadata oauthex.ClientRegistrationMetadata) {
	return m.cfg.Client.ClientMetadataURL, m.cfg.Client.RegistrationMetadata(callbackURLs...)
}

// ClientKeySet returns the public halves of the template's ClientKeys as a JSON
// Web Key Set, or nil if there are none.
func (m *Manager) ClientKeySet() ([]byte, error) {
	if len(m.cfg.Client.ClientKeys) == 0 {
		return nil, nil
	}
	return m.cfg.Client.ClientKeySet()
}

// Counter returns what counts for all replicas, for limits such as requests per
// minute; nil when the store does not count, and each replica is on its own.
func (m *Manager) Counter() store.Counter {
	counter, _ := store.Find[store.Counter](m.cfg.Store)
	return counter
}

// lookup finds a caller's session. Every reason why the caller may not have it
// gives the same error.
func (m *Manager) lookup(ctx context.Context, caller Caller, sessionID string) (stored, error) {
	if m.isClosed() {
		return stored{}, ErrClosed
	}
	key, secret, ok := splitID(sessionID)
	if !ok {
		return stored{}, ErrNotFound
	}
	s, err := m.read(ctx, key)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			m.cache.drop(key)
		}
		return stored{}, err
	}
	if !s.ownedBy(caller, secret) {
		m.auditForeign(ctx, caller, s)
		return stored{}, ErrNotFound
	}
	return s, nil
}

// client returns the client of a session, whose authorizations are begun for the
// caller's browser.
func (m *Manager) client(caller Caller, s stored) (*oauthclient.MCPOAuthClient, error) {
	client := m.cache.client(s.key, s.record)
	if client == nil {
		made, err := m.newClient(s, false)
		if err != nil {
			return nil, err
		}
		client = m.cache.setClient(s.key, s.record, made)
	}
	return client.Bound(hashBinding(caller.Binding)), nil
}

// newClient makes a client of a session. If it is idle, what changes the
// credentials is no use of the session.
func (m *Manager) newClient(s stored, idle bool) (*oauthclient.MCPOAuthClient, error) {
	key := s.key // all that the client keeps of s
	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: s.ServerURL, CallbackURL: s.CallbackURL, Owner: s.Owner, Shared: m.cfg.Client, Logger: m.logger(key, s.ServerURL), Now: m.cfg.Now, Observer: m.cfg.Observer,
		Headers: m.headers(s), HeadersAuthenticate: m.keyed(s.record),
		Credentials: credentialStore{m, key, s.ServerURL, idle}, Registrations: registrations{m}, Attempts: attempts{m, key},
		OnAuthorizationRequired: func(ctx context.Context, required *oauthclient.AuthorizationRequiredError) {
			m.begun(ctx, key, required)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return client, nil
}

// begun records a new authorization attempt, and calls the host's hook.
func (m *Manager) begun(ctx context.Context, key string, required *oauthclient.AuthorizationRequiredError) {
	s, err := m.read(ctx, key)
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the status of a session", "session", key, "error", err)
		return
	}
	info := m.noteRequired(ctx, s, required)
	info.AttemptID = required.AttemptID
	m.observeBegun(ctx, required)
	if m.cfg.OnAuthorizationRequired != nil {
		m.cfg.OnAuthorizationRequired(ctx, info, required)
	}
}

// touch extends the life of a session that is used, at most every
// Config.TouchInterval. A failure is logged only: the use itself has nothing to
// do with it.
func (m *Manager) touch(ctx context.Context, s stored) {
	now := m.cfg.Now()
	if s.expiry.Sub(now) > m.cfg.TTL-m.cfg.TouchInterval || s.unfinished() {
		return
	}
	if !m.cache.beginExtending(s.key, now) {
		return // another call has begun
	}
	var err error
	if m.sealer.isOld(s.value) {
		_, err = m.update(ctx, s.key, func(*record) error { return nil }) // seals it with the new key
	} else {
		err = m.cfg.Store.Extend(ctx, sessionStoreKey(s.key), m.extension(m.cfg.TTL))
	}
	if err == nil {
		err = m.extendOwner(ctx, s.Owner, s.key)
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot extend a session", "session", s.key, "error", err)
	}
	if m.needsListing(s) {
		m.list(ctx, s)
	}
}

// extension is the expiry of what is extended by life now. Replicas that extend
// a record in the same second ask for the same expiry, so the store writes one.
func (m *Manager) extension(life time.Duration) time.Time {
	return m.cfg.Now().Add(life).Truncate(min(time.Second, m.cfg.TouchInterval/10))
}

// deleteRecord removes a session's record and takes it off its owner's list.
func (m *Manager) deleteRecord(ctx context.Context, key, owner string) error {
	if err := m.cfg.Store.Delete(ctx, sessionStoreKey(key)); err != nil {
		return storeError(ctx, "deleting the session", err)
	}
	m.takeOff(ctx, key, owner)
	return nil
}

// takeOff takes a session off its owner's list. The list may keep it for a while, if
// the store fails; it is not looked at without the record.
func (m *Manager) takeOff(ctx context.Context, key, owner string) {
	if err := m.removeFromOwner(ctx, owner, key); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot take a session off its owner's list", "session", key, "error", err)
	}
}
