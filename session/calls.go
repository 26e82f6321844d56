package session

import (
	"context"
	"errors"

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
// method for. It shares the session's credentials with all replicas. The
// Manager may close its MCP session when idle; the client then connects again.
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
	if m.isClosed() {
		return ErrClosed
	}
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
	unlock, err := m.lock(ctx, sessionStoreKey(key))
	if err != nil {
		return err
	}
	if r, _, err = m.read(ctx, key); err == nil {
		if err = m.deleteRecord(ctx, key, r.Owner); err == nil {
			l.remove(r)
		}
	}
	unlock()
	if err != nil {
		return err
	}
	m.live.drop(l)
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: session removed", "session", key)
	return l.client.Disconnect(ctx)
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
	err = s.m.with(s.ctx, s.caller, s.sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
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

// use runs fn with the live client of a session, and records what its outcome
// says about the session's status. Closing the Manager cancels fn.
func (m *Manager) use(ctx context.Context, caller Caller, key string, r *record, fn func(context.Context, *oauthclient.MCPOAuthClient) error) (Info, error) {
	l, release, err := m.acquire(key, r)
	if err != nil {
		return Info{}, err
	}
	defer release()
	ctx, cancel := context.WithCancel(withBinding(ctx, caller))
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	err = fn(ctx, l.client)
	if err == nil && r.Status == StatusConnected {
		return r.info(key, m.cfg.Now()), nil
	}
	if m.isClosed() {
		return Info{}, ErrClosed
	}
	return m.settle(context.WithoutCancel(ctx), key, err)
}

// settle records the status that the outcome of an operation implies, and
// returns the operation's error.
func (m *Manager) settle(ctx context.Context, key string, outcome error) (Info, error) {
	outcome = unwrapStorage(outcome)
	required, isRequired := errors.AsType[*oauthclient.AuthorizationRequiredError](outcome)
	if outcome != nil && !isRequired {
		return Info{}, outcome
	}
	var r *record
	var err error
	begun := false
	if isRequired {
		r, begun, err = m.setRequired(ctx, key, required)
	} else {
		r, err = m.setStatus(ctx, key, StatusConnected, "")
	}
	if err != nil {
		return Info{}, errors.Join(outcome, err)
	}
	info := r.info(key, m.cfg.Now())
	if begun && m.cfg.OnAuthorizationRequired != nil {
		m.cfg.OnAuthorizationRequired(ctx, info, required)
	}
	return info, outcome
}

// setRequired records that the user must authorize; begun tells whether this
// call was the first to note the attempt.
func (m *Manager) setRequired(ctx context.Context, key string, required *oauthclient.AuthorizationRequiredError) (r *record, begun bool, err error) {
	r, err = m.update(ctx, key, func(r *record) error {
		begun = r.AttemptID != required.AttemptID
		status := StatusAuthorizing
		if r.creds.Issuer != "" {
			status = StatusAuthorizationRequired
		}
		if !begun && r.Status == status {
			return errUnchanged
		}
		r.AttemptID, r.AttemptExpires = required.AttemptID, required.Expires
		r.Status, r.Reason = status, ""
		return nil
	})
	return r, begun, err
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
