package session

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Connect creates a session with an MCP server and connects it. With
// [*oauthclient.AuthorizationRequiredError] the session exists, the Info is
// valid, and the user must be sent to the error's AuthURL; every other error
// leaves no session behind. A session that its user never authorizes ends a
// minute after its last attempt.
//
// With p.SessionID, Connect connects that session again: it makes the server
// answer once more, and begins a new authorization if that needs one. Calls in
// progress go on. The session stays whatever the error is, and the Info is valid
// unless the error is [ErrNotFound], [*InputError], [*RefusedError] or
// [*StoreError].
//
// Other errors: [*InputError], [*RefusedError], [*LimitError], [*StoreError] and those of
// [oauthclient.MCPOAuthClient.Connect].
func (m *Manager) Connect(ctx context.Context, caller Caller, p ConnectParams) (info Info, err error) {
	ctx, observed := m.observe(ctx, "connect")
	defer func() { observed(info, err); m.auditConnect(ctx, caller, p, info, err) }()
	end, err := m.begin()
	if err != nil {
		return Info{}, err
	}
	defer end()
	if p.SessionID != "" {
		return m.connectAgain(ctx, caller, p)
	}
	r, err := m.newRecord(caller, p)
	if err != nil {
		return Info{}, err
	}
	if err := m.allow(ctx, caller, r.ServerURL); err != nil {
		return Info{}, err
	}
	key, secret, _ := splitID(GenerateSessionID())
	r.Secret = secret
	created, err := m.create(ctx, key, r)
	if err != nil {
		return Info{}, err
	}
	err = m.use(ctx, caller, created, func(ctx context.Context, client *oauthclient.MCPOAuthClient) error {
		if p.FreshRegistration && !m.keyed(created.record) {
			if err := client.Provider().Reauthorize(ctx, true); err != nil {
				return err
			}
		}
		return client.Connect(ctx)
	})
	if _, required := errors.AsType[*oauthclient.AuthorizationRequiredError](err); err == nil || required {
		if now, readErr := m.read(context.WithoutCancel(ctx), key); readErr == nil {
			created = now
		}
		return m.info(created), err
	}
	// The caller never learns this session's ID, and may be gone itself.
	m.abandon(ctx, created)
	return Info{}, err
}

// abandon deletes the record of a session whose ID was given to no caller. It ends
// the MCP session and revokes the tokens of a grant without a user, if there are any.
func (m *Manager) abandon(ctx context.Context, s stored) {
	deleted, err := m.delete(ctx, s.key)
	if err != nil {
		m.discard(ctx, s) // the Manager closes, or the store is away
		return
	}
	m.cache.drop(s.key)
	if !deleted.creds.Authorized() && deleted.creds.Connection.IsZero() {
		return
	}
	if client, err := m.client(Caller{}, deleted); err == nil {
		ctx, cancel := m.detach(ctx)
		defer cancel()
		client.Revoke(ctx, deleted.creds)
	}
}

// discard deletes the record of a session whose ID was given to no caller.
func (m *Manager) discard(ctx context.Context, s stored) {
	ctx, cancel := m.detach(ctx)
	defer cancel()
	if err := m.deleteRecord(ctx, s.key, s.Owner); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot delete a session that failed to connect", "session", s.key, "error", err)
	}
	m.cache.drop(s.key)
}

// The limits of what Connect stores.
const (
	maxURLBytes        = 2048
	maxServerNameBytes = 200
)

// newRecord validates the arguments of Connect.
func (m *Manager) newRecord(caller Caller, p ConnectParams) (*record, error) {
	serverURL, err := oauthclient.NormalizeServerURL(p.ServerURL)
	if err != nil {
		return nil, &InputError{Field: "ServerURL", Reason: err.Error()}
	}
	p.ServerURL = serverURL
	headers, err := m.checkHeaders(p.Headers)
	if err != nil {
		return nil, err
	}
	keyed := m.keyed(&record{Headers: headers})
	if err := oauthclient.CheckCallbackURL(p.CallbackURL); err != nil && (p.CallbackURL != "" || m.cfg.Client.NeedsUser(serverURL) && !keyed) {
		return nil, &InputError{Field: "CallbackURL", Reason: err.Error()}
	}
	if len(p.ServerURL) > maxURLBytes || len(p.CallbackURL) > maxURLBytes || len(p.ServerName) > maxServerNameBytes {
		return nil, &InputError{Field: "ServerURL, CallbackURL or ServerName", Reason: "is too long"}
	}
	if p.ServerName == "" {
		u, _ := url.Parse(p.ServerURL)
		p.ServerName = u.Host
	}
	return &record{
		Format: recordFormat, Owner: caller.Owner, ServerURL: p.ServerURL, ServerName: p.ServerName, CallbackURL: p.CallbackURL, Headers: headers,
		Created: m.cfg.Now().UTC().Round(0), Status: StatusAuthorizing,
	}, nil
}

// create stores and lists a new record: in this order, because a key without a
// record counts as one that has ended.
func (m *Manager) create(ctx context.Context, key string, r *record) (stored, error) {
	s, err := m.write(ctx, stored{key: key}, r)
	switch {
	case errors.Is(err, store.ErrConflict):
		return stored{}, &InputError{Field: "sessionID", Reason: "is in use"}
	case err != nil:
		return stored{}, storeError(ctx, "creating the session", err)
	}
	if err := m.addToOwner(ctx, r.Owner, key); err != nil {
		m.discard(ctx, s) // not abandon: the host may go on with the client of SetClient
		return stored{}, err
	}
	return s, nil
}

// connectAfterAuthorization bounds how long a callback waits for the MCP
// server to confirm that the new tokens work.
const connectAfterAuthorization = 10 * time.Second

// FinishAuth completes the authorization that a response belongs to, whichever
// replica began it, and connects to the MCP server. sessionID, if not empty,
// must be the session's.
//
// It fails with [oauthclient.ErrInvalidCallback], changing nothing, unless
// caller is the owner who began the attempt, in the same browser if it was begun
// with a binding; with [*oauthclient.AuthorizationError] when the user or the server refused;
// with [*oauthclient.TemporaryError], [*oauthclient.ServerError] or
// [*StoreError]. The Info is valid with every error that ends the attempt. That
// the MCP server does not answer is no error here: the authorization is
// complete, and the Info's status says so.
func (m *Manager) FinishAuth(ctx context.Context, caller Caller, sessionID string, resp oauthclient.AuthorizationResponse) (info Info, err error) {
	ctx, observed := m.observe(ctx, "finish_authorization")
	defer func() { observed(info, err); m.auditAuthorize(ctx, caller, info, err) }()
	end, err := m.begin()
	if err != nil {
		return Info{}, err
	}
	defer end()
	s, err := m.sessionOfCallback(ctx, caller, sessionID, resp)
	if err != nil {
		return Info{}, err
	}
	// A code is sent once. What becomes of it must be recorded even if the
	// browser does not wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*m.cfg.requestTimeout()+m.cfg.LockTTL)
	defer cancel()
	if ended, err := m.exchange(ctx, caller, s, resp); err != nil {
		if !ended {
			return Info{}, err
		}
		return m.failed(ctx, s, resp, err), err
	}
	info, err = m.confirm(ctx, caller, s)
	if errors.Is(err, ErrNotFound) {
		return Info{}, oauthclient.ErrInvalidCallback // removed in the meantime
	}
	info.AttemptID = resp.AttemptID()
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: authorized", "session", s.key, "status", string(info.Status))
	if m.cfg.OnAuthorized != nil {
		m.cfg.OnAuthorized(ctx, info)
	}
	return info, nil
}

// exchange gets and stores the tokens of a callback, or records why not. It
// reports whether an error ends the attempt.
func (m *Manager) exchange(ctx context.Context, caller Caller, s stored, resp oauthclient.AuthorizationResponse) (ended bool, err error) {
	client, err := m.client(caller, s)
	if err != nil {
		return false, err
	}
	err = unwrapStorage(client.FinishAuth(ctx, resp))
	if errors.Is(err, oauthclient.ErrInvalidCallback) {
		return false, err
	}
	ended = m.recordOutcome(ctx, resp.AttemptID(), err)
	if ended && err != nil {
		m.noteFailure(ctx, s.key, err)
	}
	if errors.Is(err, ErrNotFound) {
		return false, oauthclient.ErrInvalidCallback // removed in the meantime
	}
	return ended, err
}

// failed describes a session after an attempt that ended without success, and
// calls the host's hook.
func (m *Manager) failed(ctx context.Context, before stored, resp oauthclient.AuthorizationResponse, cause error) Info {
	s, err := m.read(ctx, before.key)
	if err != nil {
		s = before
	}
	info := m.info(s)
	info.AttemptID = resp.AttemptID()
	if m.cfg.OnAuthorizationFailed != nil {
		m.cfg.OnAuthorizationFailed(ctx, info, cause)
	}
	return info
}

// sessionOfCallback finds the session of a callback and checks the caller's
// right to it.
func (m *Manager) sessionOfCallback(ctx context.Context, caller Caller, sessionID string, resp oauthclient.AuthorizationResponse) (stored, error) {
	a, _, err := m.readAttempt(ctx, resp.AttemptID())
	if errors.Is(err, oauthclient.ErrNoAttempt) {
		return stored{}, oauthclient.ErrInvalidCallback
	}
	if err != nil {
		return stored{}, err
	}
	attempt, err := a.attempt()
	if err != nil {
		return stored{}, oauthclient.ErrInvalidCallback
	}
	if !mayFinish(caller, a.Owner, attempt.Binding) {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: callback from another browser or owner refused", "session", a.SessionKey, "attempt", resp.AttemptID())
		m.audit(ctx, AuditEvent{Action: AuditRefuse, Owner: caller.Owner, SessionOwner: a.Owner, SessionKey: a.SessionKey, ErrorType: "invalid_callback"})
		return stored{}, oauthclient.ErrInvalidCallback
	}
	s, err := m.read(ctx, a.SessionKey)
	if errors.Is(err, ErrNotFound) {
		return stored{}, oauthclient.ErrInvalidCallback
	}
	if err != nil {
		return stored{}, err
	}
	if sessionID != "" {
		if key, secret, ok := splitID(sessionID); !ok || key != a.SessionKey || !s.ownedBy(Caller{Owner: s.Owner}, secret) {
			return stored{}, oauthclient.ErrInvalidCallback
		}
	}
	return s, m.allow(ctx, caller, s.ServerURL)
}

// confirm makes the MCP server answer once with the new tokens, so that
// "connected" means what it says, and records the outcome. before is the
// session before the authorization. The only error is [ErrNotFound].
func (m *Manager) confirm(ctx context.Context, caller Caller, before stored) (Info, error) {
	status := statusDetail{status: StatusConnected}
	if err := m.answers(ctx, caller, before.key); err != nil {
		status = statusDetail{status: StatusFailed, reason: "Authorized, but the MCP server did not answer. Try again."}
		if reason := requiredAgain(err); reason != "" {
			status.reason, status.authorization = requiredAgainText(reason), reason
		}
	}
	if _, err := m.read(ctx, before.key); errors.Is(err, ErrNotFound) {
		return Info{}, err
	}
	return m.setStatus(ctx, before, status), nil
}

// requiredAgain returns what the MCP server finds wrong with an authorization that
// it was just given, and "" if its failure is another one.
func requiredAgain(err error) oauthclient.Reason {
	if required, ok := errors.AsType[*oauthclient.AuthorizationRequiredError](err); ok {
		return required.Reason
	}
	if _, rejected := errors.AsType[*oauthclient.TokenRejectedError](err); rejected {
		return oauthclient.ReasonTokenRejected
	}
	if _, insufficient := errors.AsType[*oauthclient.InsufficientScopeError](err); insufficient {
		return oauthclient.ReasonMoreScopes
	}
	return ""
}

// requiredAgainText returns a text for people about what requiredAgain returns.
func requiredAgainText(reason oauthclient.Reason) string {
	switch reason {
	case oauthclient.ReasonTokenRejected:
		return "Authorized, but the MCP server does not accept the authorization."
	case oauthclient.ReasonMoreScopes:
		return "Authorized, but the MCP server needs more access than was given."
	}
	return "Authorized, but the authorization has ended already. Connect again."
}

// answers reports whether the MCP server accepts the session's credentials.
func (m *Manager) answers(ctx context.Context, caller Caller, key string) error {
	s, err := m.read(ctx, key)
	if err != nil {
		return err
	}
	client, err := m.client(caller, s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, connectAfterAuthorization)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	return client.Connect(ctx)
}

// noteFailure records that an attempt failed. A session that works goes on
// working: refusing more scopes, say, takes nothing away.
func (m *Manager) noteFailure(ctx context.Context, key string, cause error) {
	_, err := m.update(ctx, key, func(r *record) error {
		if r.creds.Authorized() {
			return errUnchanged
		}
		r.setStatusDetail(statusDetail{status: StatusFailed, reason: failureReason(cause)})
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record a failed authorization", "session", key, "error", err)
	}
}

// failureReason returns a text for people about a failed authorization.
func failureReason(err error) string {
	if refused, ok := errors.AsType[*oauthclient.AuthorizationError](err); ok {
		switch refused.Code {
		case "access_denied":
			return "Access was denied."
		case "invalid_client":
			return "The authorization server does not accept this application. Connect again."
		}
		return "The authorization server refused (" + refused.Code + ")."
	}
	if _, ok := errors.AsType[*StoreError](err); ok {
		return "The authorization could not be saved. Connect again."
	}
	if _, ok := errors.AsType[*oauthclient.ServerError](err); ok {
		return "The authorization server's answer cannot be used. Connect again."
	}
	return "The authorization server could not be reached. Connect again."
}
