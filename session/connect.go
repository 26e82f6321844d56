package session

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Connect creates a session with an MCP server and connects it. With
// [*oauthclient.AuthorizationRequiredError] the session exists, the Info is
// valid, and the user must be sent to the error's AuthURL; every other error
// leaves no session behind.
//
// Other errors: [*InputError], [*LimitError], [*StoreError] and those of
// [oauthclient.MCPOAuthClient.Connect].
func (m *Manager) Connect(ctx context.Context, caller Caller, p ConnectParams) (Info, error) {
	if m.isClosed() {
		return Info{}, ErrClosed
	}
	r, err := m.newRecord(caller, p)
	if err != nil {
		return Info{}, err
	}
	id := GenerateSessionID()
	key, secret, _ := splitID(id)
	r.Secret = secret
	if err := m.create(ctx, key, r); err != nil {
		return Info{}, err
	}
	info, err := m.use(ctx, caller, key, r, func(ctx context.Context, client *oauthclient.MCPOAuthClient) error {
		if p.FreshRegistration {
			return client.Provider().Reauthorize(ctx, true)
		}
		return client.Connect(ctx)
	})
	if _, required := errors.AsType[*oauthclient.AuthorizationRequiredError](err); err == nil || required {
		return info, err
	}
	// The caller never learns this session's ID, and may be gone itself.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.LockTTL)
	defer cancel()
	if deleteErr := m.deleteRecord(ctx, key, r.Owner); deleteErr != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot delete a session that failed to connect", "session", key, "error", deleteErr)
	}
	m.forget(key)
	return Info{}, err
}

// newRecord validates the arguments of Connect.
func (m *Manager) newRecord(caller Caller, p ConnectParams) (*record, error) {
	if err := oauthclient.CheckServerURL(p.ServerURL); err != nil {
		return nil, &InputError{Field: "ServerURL", Reason: err.Error()}
	}
	if u, err := url.Parse(p.CallbackURL); err != nil || !u.IsAbs() {
		return nil, &InputError{Field: "CallbackURL", Reason: "must be an absolute URL"}
	}
	if len(p.ServerURL) > 2048 || len(p.CallbackURL) > 2048 || len(p.ServerName) > 200 {
		return nil, &InputError{Field: "ServerURL, CallbackURL or ServerName", Reason: "is too long"}
	}
	if p.ServerName == "" {
		u, _ := url.Parse(p.ServerURL)
		p.ServerName = u.Host
	}
	now := m.cfg.Now()
	return &record{
		Owner: caller.Owner, ServerURL: p.ServerURL, ServerName: p.ServerName, CallbackURL: p.CallbackURL,
		Created: now, Used: now, Expires: now.Add(m.cfg.TTL), Status: StatusAuthorizing,
	}, nil
}

// create lists and stores a new record.
func (m *Manager) create(ctx context.Context, key string, r *record) error {
	if err := m.addToOwner(ctx, r.Owner, key); err != nil {
		return err
	}
	if err := m.write(ctx, key, nil, r); err != nil {
		return storeError("creating the session", err)
	}
	return nil
}

// connectAfterAuthorization bounds how long a callback waits for the MCP
// server to confirm that the new tokens work.
const connectAfterAuthorization = 10 * time.Second

// FinishAuth completes the authorization that a response belongs to, whichever
// replica began it, and connects to the MCP server. sessionID, if not empty,
// must be the session's.
//
// It fails with [oauthclient.ErrInvalidCallback], changing nothing, unless
// caller is the owner who began the attempt or comes from the same browser;
// with [*oauthclient.AuthorizationError] when the user or the server refused;
// with [*oauthclient.TemporaryError] or [*StoreError]. That the MCP server
// does not answer is no error here: the authorization is complete, the Info's
// status tells.
func (m *Manager) FinishAuth(ctx context.Context, caller Caller, sessionID string, resp oauthclient.AuthorizationResponse) (Info, error) {
	if m.isClosed() {
		return Info{}, ErrClosed
	}
	key, r, err := m.sessionOfCallback(ctx, caller, sessionID, resp)
	if err != nil {
		return Info{}, err
	}
	l, release, err := m.acquire(key, r)
	if err != nil {
		return Info{}, err
	}
	defer release()
	ctx = withBinding(ctx, caller)
	err = l.client.FinishAuth(context.WithValue(ctx, finishingKey{}, true), resp)
	if errors.Is(err, oauthclient.ErrInvalidCallback) {
		return Info{}, unwrapStorage(err)
	}
	// The attempt is used up: what became of it must be recorded even if the
	// browser does not wait.
	ctx = context.WithoutCancel(ctx)
	m.recordOutcome(ctx, resp.AttemptID(), err)
	if err != nil {
		m.noteFailure(ctx, key, err)
		return Info{}, unwrapStorage(err)
	}
	info := m.confirm(ctx, l)
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: authorized", "session", key, "status", string(info.Status))
	if m.cfg.OnAuthorized != nil {
		m.cfg.OnAuthorized(ctx, info)
	}
	return info, nil
}

// sessionOfCallback finds the session of a callback and checks the caller's
// right to it.
func (m *Manager) sessionOfCallback(ctx context.Context, caller Caller, sessionID string, resp oauthclient.AuthorizationResponse) (string, *record, error) {
	a, _, err := m.readAttempt(ctx, resp.AttemptID())
	if errors.Is(err, oauthclient.ErrNoAttempt) {
		return "", nil, oauthclient.ErrInvalidCallback
	}
	if err != nil {
		return "", nil, err
	}
	if !a.mayFinish(caller) {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: callback from another browser or owner refused", "session", a.SessionKey, "attempt", resp.AttemptID())
		return "", nil, oauthclient.ErrInvalidCallback
	}
	r, _, err := m.read(ctx, a.SessionKey)
	if errors.Is(err, ErrNotFound) {
		return "", nil, oauthclient.ErrInvalidCallback
	}
	if err != nil {
		return "", nil, err
	}
	if sessionID != "" {
		if key, secret, ok := splitID(sessionID); !ok || key != a.SessionKey || !r.ownedBy(Caller{Owner: r.Owner}, secret) {
			return "", nil, oauthclient.ErrInvalidCallback
		}
	}
	return a.SessionKey, r, nil
}

// confirm makes the MCP server answer once with the new tokens, so that
// "connected" means what it says, and records the outcome.
func (m *Manager) confirm(ctx context.Context, l *liveSession) Info {
	ctx, cancel := context.WithTimeout(ctx, connectAfterAuthorization)
	defer cancel()
	err := l.client.Connect(ctx)
	ctx = context.WithoutCancel(ctx)
	info, settleErr := m.settle(ctx, l.key, err)
	if settleErr != nil && err != nil {
		if updated, err := m.setStatus(ctx, l.key, StatusFailed, "Authorized, but the MCP server did not answer. Try again."); err == nil {
			info = updated.info(l.key, m.cfg.Now())
		}
	}
	return info
}

// noteFailure records that an attempt failed. A session that works goes on
// working: refusing more scopes, say, takes nothing away.
func (m *Manager) noteFailure(ctx context.Context, key string, cause error) {
	_, err := m.update(ctx, key, func(r *record) error {
		if r.creds.Authorized() {
			return errUnchanged
		}
		r.Status, r.Reason = StatusFailed, failureReason(cause)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record a failed authorization", "session", key, "error", err)
	}
}

// failureReason is what people are told about a failed authorization.
func failureReason(err error) string {
	if refused, ok := errors.AsType[*oauthclient.AuthorizationError](err); ok {
		switch refused.Code {
		case "access_denied":
			return "Access was denied."
		case "invalid_client":
			return "The authorization server no longer knows this application. Connect again."
		}
		return "The authorization server refused (" + refused.Code + ")."
	}
	return "The authorization server could not be reached. Connect again."
}
