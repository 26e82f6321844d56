package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// ListTools returns all tools of the session's server; see
// [oauthclient.MCPOAuthClient.ListTools]. Errors beside those: [ErrNotFound],
// [*StoreError].
func (m *Manager) ListTools(ctx context.Context, caller Caller, sessionID string) (tools []*oauthclient.Tool, err error) {
	err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		tools, err = client.ListTools(ctx)
		return err
	})
	return tools, err
}

// CallTool calls a tool of the session's server; see
// [oauthclient.MCPOAuthClient.CallTool]. Errors beside those: [ErrNotFound],
// [*StoreError].
func (m *Manager) CallTool(ctx context.Context, caller Caller, sessionID, name string, args any) (*oauthclient.CallToolResult, error) {
	return m.CallToolProgress(ctx, caller, sessionID, name, args, nil)
}

// CallToolProgress is CallTool with progress; see
// [oauthclient.MCPOAuthClient.CallToolProgress].
func (m *Manager) CallToolProgress(ctx context.Context, caller Caller, sessionID, name string, args any, onProgress func(mcp.ProgressNotificationParams)) (result *oauthclient.CallToolResult, err error) {
	err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		result, err = client.CallToolProgress(ctx, name, args, onProgress)
		return err
	})
	return result, err
}

// Status describes a session without touching its server.
func (m *Manager) Status(ctx context.Context, caller Caller, sessionID string) (Info, error) {
	key, r, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return Info{}, err
	}
	return r.info(key, m.cfg.Now()), nil
}

// GetClient returns the live client of a session, for what the Manager has no
// method for. It shares the session's credentials with all replicas. Get it
// again for each use, rather than keep it: the Manager closes the MCP session
// of an idle client, and replaces the client when the user authorizes anew. A
// client that is used after that connects again, and nobody closes it. To end a
// session use [Manager.RemoveClient], not the client's Disconnect.
func (m *Manager) GetClient(ctx context.Context, caller Caller, sessionID string) (*oauthclient.MCPOAuthClient, error) {
	key, r, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return nil, err
	}
	m.touch(ctx, key, r)
	l, release, err := m.acquire(key, r)
	if err != nil {
		return nil, err
	}
	defer release()
	return l.client, nil
}

// SetClient hands a client that the host made itself over to the Manager: its
// server and credentials become a session under sessionID, a new ID of
// [GenerateSessionID]. The given client is closed and must not be used any
// more, because refreshing its tokens beside the session would invalidate
// either; use [Manager.GetClient].
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
	if client.Session() != nil {
		r.Status = StatusConnected
	}
	if err := m.create(ctx, key, r); err != nil {
		return err
	}
	return client.Close()
}

// RemoveClient ends a session for good, on all replicas: it deletes the record,
// then ends the MCP session and revokes the tokens, in bounded time and
// whether or not the servers answer. Errors: [ErrNotFound], [*StoreError].
func (m *Manager) RemoveClient(ctx context.Context, caller Caller, sessionID string) error {
	key, r, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return err
	}
	l, release, err := m.acquire(key, r)
	if err != nil {
		return err
	}
	defer release()
	// The lock keeps out a refresh, whose new tokens would escape revocation.
	// Nobody is kept from leaving by a store that cannot grant it just now.
	unlock, err := m.tryLock(ctx, sessionStoreKey(key))
	if err != nil {
		return err
	}
	if r, _, err = m.read(ctx, key); err == nil {
		if err = m.deleteRecord(ctx, key, r.Owner); err == nil {
			l.remove(r)
		}
	}
	unlock()
	if errors.Is(err, ErrNotFound) {
		m.forget(key) // another replica was faster
	}
	if err != nil {
		return err
	}
	m.live.drop(l)
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: session removed", "session", key)
	return l.client.Disconnect(context.WithValue(ctx, removingKey{}, true))
}

// TokenSource returns a source of access tokens for a session, for a host that
// speaks MCP by other means. Each Token checks the session, refreshes when due
// (once among all replicas), and fails with
// [*oauthclient.AuthorizationRequiredError] when the user must authorize. ctx
// bounds all its calls.
func (m *Manager) TokenSource(ctx context.Context, caller Caller, sessionID string) (oauth2.TokenSource, error) {
	if _, _, err := m.lookup(ctx, caller, sessionID); err != nil {
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

func (s tokenSource) Token() (token *oauth2.Token, err error) {
	key, r, err := s.m.lookup(s.ctx, s.caller, s.sessionID)
	if err != nil {
		return nil, err
	}
	s.m.touch(s.ctx, key, r)
	// That there is a token says nothing about the MCP server, hence not use.
	_, err = s.m.run(s.ctx, s.caller, key, r, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		token, err = client.Provider().Token(ctx)
		return err
	})
	return token, err
}

// with runs fn on a caller's session.
func (m *Manager) with(ctx context.Context, caller Caller, sessionID string, fn func(context.Context, *oauthclient.MCPOAuthClient) error) error {
	key, r, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return err
	}
	m.touch(ctx, key, r)
	_, err = m.use(ctx, caller, key, r, fn)
	return err
}

// use is run for an fn whose success is an answer of the MCP server.
func (m *Manager) use(ctx context.Context, caller Caller, key string, r *record, fn func(context.Context, *oauthclient.MCPOAuthClient) error) (Info, error) {
	info, err := m.run(ctx, caller, key, r, fn)
	if err != nil || r.Status == StatusConnected {
		return info, err
	}
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	connected, err := m.setStatus(ctx, key, StatusConnected, "")
	if err != nil {
		// The call has succeeded, and must not be made again for this.
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the status of a session", "session", key, "error", err)
		now := *r
		now.Status, now.Reason = StatusConnected, ""
		connected = &now
	}
	return connected.info(key, m.cfg.Now()), nil
}

// run runs fn with the live client of a session, and records when the user
// must authorize; the Info is valid then and without an error. Closing the
// Manager cancels fn.
func (m *Manager) run(ctx context.Context, caller Caller, key string, r *record, fn func(context.Context, *oauthclient.MCPOAuthClient) error) (Info, error) {
	end, err := m.begin()
	if err != nil {
		return Info{}, err
	}
	defer end()
	l, release, err := m.acquire(key, r)
	if err != nil {
		return Info{}, err
	}
	defer release()
	ctx, cancel := context.WithCancel(withBinding(ctx, caller))
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	err = unwrapStorage(fn(ctx, l.client))
	required, isRequired := errors.AsType[*oauthclient.AuthorizationRequiredError](err)
	switch {
	case err == nil:
		return r.info(key, m.cfg.Now()), nil
	case m.isClosed():
		return Info{}, ErrClosed
	case l.isRemoved(), errors.Is(err, ErrNotFound):
		m.forget(key)
		return Info{}, ErrNotFound
	case isRequired:
		return m.noteRequired(ctx, l, r, required)
	case errors.Is(err, oauthclient.ErrNotConnected):
		m.live.drop(l) // the host has disconnected it for good; the next call gets another
	}
	return Info{}, err
}

// noteRequired records that the user must authorize, tells the host once per
// attempt, and returns required, unless the session is gone.
func (m *Manager) noteRequired(ctx context.Context, l *liveSession, before *record, required *oauthclient.AuthorizationRequiredError) (Info, error) {
	ctx, cancel := m.outlive(ctx)
	defer cancel()
	r, err := m.setRequired(ctx, l.key, before, required)
	if errors.Is(err, ErrNotFound) {
		m.forget(l.key)
		return Info{}, ErrNotFound
	}
	if err != nil {
		// The attempt is stored; that its session says otherwise is no reason
		// to keep the user from it.
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the status of a session", "session", l.key, "error", err)
		now := *before
		now.require(required, m.cfg.Now())
		r = &now
	}
	info := r.info(l.key, m.cfg.Now())
	if l.takeBegun(required.AttemptID) && m.cfg.OnAuthorizationRequired != nil {
		m.cfg.OnAuthorizationRequired(ctx, info, required)
	}
	return info, required
}

// setRequired records that a user, who had authorized before.Grants times, must
// authorize. If that has happened by now, there is nothing to record.
func (m *Manager) setRequired(ctx context.Context, key string, before *record, required *oauthclient.AuthorizationRequiredError) (*record, error) {
	return m.update(ctx, key, func(r *record) error {
		if r.Grants > before.Grants && r.creds.Authorized() {
			return errUnchanged
		}
		if !r.require(required, m.cfg.Now()) {
			return errUnchanged
		}
		return nil
	})
}

// require sets what required implies; false if it was set already. Of several
// attempts, which two tabs or two replicas begin, the last to expire counts.
func (r *record) require(required *oauthclient.AuthorizationRequiredError, now time.Time) (changed bool) {
	status := StatusAuthorizing
	if r.creds.Issuer != "" {
		status = StatusAuthorizationRequired
	}
	known := slices.ContainsFunc(r.Attempts, func(a attemptMark) bool { return a.ID == required.AttemptID })
	if r.Status == status && known && !required.Expires.After(r.AttemptExpires) {
		return false
	}
	r.Status, r.Reason = status, ""
	if required.Expires.After(r.AttemptExpires) {
		r.AttemptExpires = required.Expires
	}
	if !known {
		r.Attempts = append(r.pendingAttempts(now), attemptMark{required.AttemptID, required.Expires})
	}
	return true
}

func (m *Manager) setStatus(ctx context.Context, key string, status Status, reason string) (*record, error) {
	return m.update(ctx, key, func(r *record) error {
		if r.Status == status && r.Reason == reason {
			return errUnchanged
		}
		r.Status, r.Reason = status, reason
		return nil
	})
}

// unwrapStorage returns this package's error for a failure of the stores that
// it gives to package oauthclient.
func unwrapStorage(err error) error {
	if storage, ok := errors.AsType[*oauthclient.StorageError](err); ok {
		return storage.Err
	}
	return err
}
