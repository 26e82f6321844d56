package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// ListTools returns all tools of the session's server; see
// [oauthclient.MCPOAuthClient.ListTools]. Errors beside those: [ErrNotFound],
// [*StoreError].
func (m *Manager) ListTools(ctx context.Context, caller Caller, sessionID string) (tools []*oauthclient.Tool, err error) {
	err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		tools, err = client.ListTools(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m.filter(ctx, caller, sessionID, tools)
}

// CallTool calls a tool of the session's server; see
// [oauthclient.MCPOAuthClient.CallTool]. Errors beside those: [ErrNotFound],
// [*RefusedError], [*StoreError].
func (m *Manager) CallTool(ctx context.Context, caller Caller, sessionID, name string, args any) (*oauthclient.CallToolResult, error) {
	return m.CallToolProgress(ctx, caller, sessionID, name, args, nil)
}

// CallToolProgress is CallTool with progress; see
// [oauthclient.MCPOAuthClient.CallToolProgress].
func (m *Manager) CallToolProgress(ctx context.Context, caller Caller, sessionID, name string, args any, onProgress func(mcp.ProgressNotificationParams)) (*oauthclient.CallToolResult, error) {
	return m.CallToolAsking(ctx, caller, sessionID, name, args, Ask{}, onProgress)
}

// Status describes a session without touching its server.
func (m *Manager) Status(ctx context.Context, caller Caller, sessionID string) (Info, error) {
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return Info{}, err
	}
	return m.info(s), nil
}

// GetClient returns the client of a session, for what the Manager has no method
// for. It works at once, on every replica and after a restart, and shares
// credentials and connection data with all replicas. Of the host's policy it is
// under AllowServer, as of now. To end a session use [Manager.RemoveClient], not
// the client's Disconnect.
func (m *Manager) GetClient(ctx context.Context, caller Caller, sessionID string) (*oauthclient.MCPOAuthClient, error) {
	s, err := m.usable(ctx, caller, sessionID)
	if err != nil {
		return nil, err
	}
	m.touch(ctx, s)
	return m.client(caller, s)
}

// SetClient hands a client that the host made itself over to the Manager: its
// server, credentials and connection data become a session under sessionID, a
// new ID of [GenerateSessionID]. The given client must not be used any more,
// because refreshing its tokens beside the session would invalidate either; use
// [Manager.GetClient].
func (m *Manager) SetClient(ctx context.Context, caller Caller, sessionID string, client *oauthclient.MCPOAuthClient) error {
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	key, secret, ok := splitID(sessionID)
	if !ok {
		return &InputError{Field: "sessionID", Reason: "is not an ID of GenerateSessionID"}
	}
	r, err := m.newRecord(caller, ConnectParams{ServerURL: client.ServerURL(), CallbackURL: client.CallbackURL()})
	if err != nil {
		return err
	}
	if r.creds, err = client.Credentials(ctx); err != nil {
		return err
	}
	r.Secret = secret
	if !r.creds.Connection.IsZero() {
		r.Status = StatusConnected
	}
	s, err := m.create(ctx, key, r)
	if err == nil && m.keepable(s) {
		m.list(ctx, s)
	}
	return err
}

// RemoveClient ends a session for good, on all replicas: it deletes the record,
// then ends the MCP session and revokes the tokens, in bounded time and
// whether or not the servers answer. [Manager.Close] waits for it. Errors:
// [ErrNotFound], [*StoreError].
func (m *Manager) RemoveClient(ctx context.Context, caller Caller, sessionID string) (err error) {
	ctx, observed := m.observe(ctx, "disconnect")
	defer func() { observed(Info{}, err) }()
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return err
	}
	return m.remove(ctx, caller, s)
}

// remove is RemoveClient for a session that was found.
func (m *Manager) remove(ctx context.Context, caller Caller, s stored) error {
	client, err := m.client(caller, s)
	if err != nil { // the host's configuration has changed
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: a session is removed without revoking its tokens", "session", s.key, "error", err)
	}
	if s, err = m.delete(ctx, s.key); err != nil {
		return err
	}
	m.cache.drop(s.key)
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: session removed", "session", s.key)
	m.auditInfo(ctx, AuditDisconnect, caller, m.info(s), nil)
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*m.cfg.requestTimeout())
	defer cancel()
	client.Revoke(ctx, s.creds)
	return nil
}

// delete deletes the record of a session whose tokens are then revoked. It returns the
// record that it deleted, because a callback may store other tokens until then. A
// caller who leaves does not end it.
func (m *Manager) delete(ctx context.Context, key string) (s stored, err error) {
	// The lock keeps out a refresh, and a grant in progress, whose new tokens would escape
	// revocation. If the store cannot grant the lock now, delete goes on without it.
	waiting, stop := m.detach(ctx)
	defer stop()
	unlock, err := m.tryLock(waiting, sessionStoreKey(key))
	if err != nil {
		return s, err
	}
	defer unlock()
	ctx, cancel := m.detach(ctx)
	defer cancel()
	for err = store.ErrConflict; errors.Is(err, store.ErrConflict); {
		if s, err = m.read(ctx, key); err != nil {
			return s, err
		}
		err = m.cfg.Store.Swap(ctx, sessionStoreKey(key), s.value, nil, time.Time{})
	}
	if err != nil {
		// The store is away, or has deleted the record and its answer was lost. A
		// record that is gone although the store reports a failure counts as deleted:
		// otherwise its tokens would stay unrevoked.
		if err = m.cfg.Store.Delete(ctx, sessionStoreKey(key)); err != nil {
			if _, readErr := m.read(ctx, key); !errors.Is(readErr, ErrNotFound) {
				return s, storeError(ctx, "deleting the session", err)
			}
		}
	}
	m.takeOff(ctx, key, s.Owner)
	m.unlist(ctx, s)
	return s, nil
}

// TokenSource returns a source of access tokens for a session, for a host that
// speaks MCP by other means. Each Token checks the session, refreshes when due
// (once among all replicas), and fails with
// [*oauthclient.AuthorizationRequiredError] when the user must authorize, and
// with [oauthclient.ErrTokenBound] where tokens are bound to a key. ctx bounds all
// its calls.
func (m *Manager) TokenSource(ctx context.Context, caller Caller, sessionID string) (oauth2.TokenSource, error) {
	if _, err := m.usable(ctx, caller, sessionID); err != nil {
		return nil, err
	}
	return tokenSource{m, ctx, caller, sessionID}, nil
}

type tokenSource struct {
	m         *Manager
	ctx       context.Context
	caller    Caller
	sessionID string
}

func (t tokenSource) Token() (token *oauth2.Token, err error) {
	s, err := t.m.usable(t.ctx, t.caller, t.sessionID)
	if err != nil {
		return nil, err
	}
	t.m.touch(t.ctx, s)
	// It calls run and not use, because a token does not show that the MCP server answers.
	err = t.m.run(t.ctx, t.caller, s, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		token, err = client.Provider().Token(ctx)
		return err
	})
	if err == nil && s.Status == StatusAuthorizationRequired && endsWithNewToken(s.AuthorizationReason) {
		ctx, cancel := t.m.detach(t.ctx)
		defer cancel()
		t.m.setStatus(ctx, s, statusDetail{status: StatusConnected}) // the authorization was renewed after all
	}
	return token, err
}

// endsWithNewToken reports whether a new token ends the need to authorize.
func endsWithNewToken(reason oauthclient.Reason) bool {
	return reason == oauthclient.ReasonExpired || reason == oauthclient.ReasonRevoked
}

// with runs fn on a caller's session.
func (m *Manager) with(ctx context.Context, caller Caller, sessionID string, fn func(context.Context, *oauthclient.MCPOAuthClient) error) error {
	s, err := m.usable(ctx, caller, sessionID)
	if err != nil {
		return err
	}
	m.touch(ctx, s)
	return m.use(ctx, caller, s, fn)
}

// use calls run, and records StatusConnected if fn succeeds: fn must return nil only
// after an answer of the MCP server.
func (m *Manager) use(ctx context.Context, caller Caller, s stored, fn func(context.Context, *oauthclient.MCPOAuthClient) error) error {
	err := m.run(ctx, caller, s, fn)
	if err != nil || s.Status == StatusConnected && m.cache.unsaved(s.key) == nil {
		return err
	}
	ctx, cancel := m.detach(ctx)
	defer cancel()
	m.setStatus(ctx, s, statusDetail{status: StatusConnected})
	return nil
}

// run runs fn with the client of a session, and records when the user must
// authorize. Closing the Manager cancels fn.
func (m *Manager) run(ctx context.Context, caller Caller, s stored, fn func(context.Context, *oauthclient.MCPOAuthClient) error) error {
	end, err := m.begin()
	if err != nil {
		return err
	}
	defer end()
	client, err := m.client(caller, s)
	if err != nil {
		return err
	}
	if s, err = m.withinGrant(ctx, s); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	if err = unwrapStorage(fn(ctx, client.Reading(&s.creds))); err == nil {
		return nil
	}
	required, isRequired := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	rejected, isRejected := errors.AsType[*oauthclient.CredentialsRejectedError](err)
	switch {
	case m.isClosed():
		return ErrClosed
	case errors.Is(err, ErrNotFound), errors.Is(err, oauthclient.ErrNotConnected):
		m.cache.drop(s.key) // removed, or disconnected by the host for good
	case isRejected:
		ctx, cancel := m.detach(ctx)
		defer cancel()
		m.setStatus(ctx, s, statusDetail{status: StatusFailed, reason: "The server does not accept the key of this connection. Connect again with another one."})
		return rejected
	case isRequired:
		ctx, cancel := m.detach(ctx)
		defer cancel()
		m.noteRequired(ctx, s, required)
		return required
	default:
		// The MCP session ends with the record, and with it calls in progress.
		if _, readErr := m.read(ctx, s.key); errors.Is(readErr, ErrNotFound) {
			return ErrNotFound
		}
	}
	return err
}

// noteRequired records that the user of a session must authorize. If the user
// has authorized again by now, there is nothing to record.
func (m *Manager) noteRequired(ctx context.Context, before stored, required *oauthclient.AuthorizationRequiredError) Info {
	now, err := m.update(ctx, before.key, func(r *record) error {
		if r.Grants > before.Grants && r.creds.Authorized() {
			return errUnchanged
		}
		if !r.require(required, m.cfg.Now()) {
			return errUnchanged
		}
		return nil
	})
	return m.infoAfter(ctx, before, now, err, statusDetail{status: before.requiredStatus(), authorization: required.Reason})
}

// infoAfter returns the Info after a change of status. What could not be written
// stays in memory until the next change: the attempt, or the connection, exists
// all the same.
func (m *Manager) infoAfter(ctx context.Context, before, now stored, err error, status statusDetail) Info {
	if err == nil {
		m.cache.setStatus(before.key, nil)
		return m.info(now)
	}
	m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the status of a session", "session", before.key, "error", err)
	if !errors.Is(err, ErrNotFound) {
		m.cache.setStatus(before.key, &status)
	}
	info := m.info(before)
	info.Status, info.Reason, info.AuthorizationReason = status.status, status.reason, status.authorization
	return info
}

// requiredStatus is the status of a session whose user must authorize.
func (r *record) requiredStatus() Status {
	if r.creds.Issuer == "" {
		return StatusAuthorizing
	}
	return StatusAuthorizationRequired
}

// require records that the user must authorize, and the attempt. It reports
// whether the record has changed.
func (r *record) require(required *oauthclient.AuthorizationRequiredError, now time.Time) (changed bool) {
	status := statusDetail{status: r.requiredStatus(), authorization: required.Reason}
	known := slices.ContainsFunc(r.Attempts, func(a attemptMark) bool { return a.ID == required.AttemptID })
	if r.statusDetail() == status && known {
		return false
	}
	r.setStatusDetail(status)
	if !known {
		r.Attempts = append(r.pendingAttempts(now), attemptMark{required.AttemptID, required.Expires})
	}
	return true
}

// setStatus records a status.
func (m *Manager) setStatus(ctx context.Context, before stored, status statusDetail) Info {
	now, err := m.update(ctx, before.key, func(r *record) error {
		if r.statusDetail() == status {
			return errUnchanged
		}
		r.setStatusDetail(status)
		return nil
	})
	return m.infoAfter(ctx, before, now, err, status)
}

// unwrapStorage returns this package's error for a failure of the stores that
// it gives to package oauthclient.
func unwrapStorage(err error) error {
	if storage, ok := errors.AsType[*oauthclient.StorageError](err); ok {
		return storage.Err
	}
	return err
}
