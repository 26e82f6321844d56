package session

import (
	"context"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// LostReason says why a connection cannot go on without its user.
type LostReason string

const (
	// LostRefused means that the authorization server does not renew the
	// authorization. The session may work until its access token ends.
	LostRefused LostReason = "refused"
	// LostGrantEnded means that Config.GrantTTL is over.
	LostGrantEnded LostReason = "grant_ended"
)

// renewed changes the rest of a record whose credentials have changed from before:
// the slot in which it is listed and, if the session is idle, the status.
func (m *Manager) renewed(key string, r *record, before oauthclient.Credentials, idle bool) {
	lost := m.lost(before, r)
	if !replaced(before, r.creds) && !lost {
		return
	}
	switch at := m.dueAt(key, r); {
	case !m.cfg.KeepAlive.Enabled, at.IsZero():
		r.Slot = 0
	case idle && replaced(before, r.creds): // the keeper lists it there next
		r.Slot = int64(m.nextSlot(key, r))
	case slot(r.Slot) > slotAt(at):
		r.Slot = 0 // the session is due before that slot; the next use lists it again
	}
	switch {
	case !idle:
	case lost:
		r.setStatusDetail(statusDetail{status: StatusAuthorizationRequired, authorization: oauthclient.ReasonRevoked})
	case r.Status == StatusAuthorizationRequired && endsWithNewToken(r.AuthorizationReason):
		r.setStatusDetail(statusDetail{status: StatusConnected})
	}
}

// replaced reports whether a change of credentials renewed the tokens of a
// connection that was authorized before.
func replaced(before, after oauthclient.Credentials) bool {
	return before.Issuer != "" && !after.AccessToken.IsZero() && !after.AccessToken.Equal(before.AccessToken)
}

// lost reports whether the change of a record's credentials from before lost the
// connection. A grant without a user cannot be lost.
func (m *Manager) lost(before oauthclient.Credentials, r *record) bool {
	return before.Issuer != "" && r.creds.Lost() && !before.Lost() && m.cfg.Client.NeedsUser(r.ServerURL)
}

// callHooks calls the host's hooks about a change of credentials.
func (m *Manager) callHooks(ctx context.Context, before, after stored) {
	ctx, cancel := m.detach(ctx)
	defer cancel()
	switch {
	case m.lost(before.creds, after.record):
		m.connectionLost(ctx, after, LostRefused)
	case replaced(before.creds, after.creds) && m.cfg.OnRefreshed != nil:
		m.cfg.OnRefreshed(ctx, m.info(after))
	}
}

func (m *Manager) connectionLost(ctx context.Context, s stored, reason LostReason) {
	m.cfg.Logger.InfoContext(ctx, "mcpoauth: connection lost", "session", s.key, "reason", string(reason))
	if m.cfg.OnConnectionLost != nil {
		m.cfg.OnConnectionLost(ctx, m.info(s), reason)
	}
}

// grantEnd is when a user's grant ends by Config.GrantTTL; zero for never.
func (m *Manager) grantEnd(r *record) time.Time {
	if m.cfg.GrantTTL == 0 || !m.cfg.Client.NeedsUser(r.ServerURL) {
		return time.Time{}
	}
	from := r.Granted
	if from.IsZero() {
		from = r.Created
	}
	return from.Add(m.cfg.GrantTTL)
}

func (m *Manager) grantOver(r *record) bool {
	end := m.grantEnd(r)
	return !end.IsZero() && r.creds.Authorized() && !m.cfg.Now().Before(end)
}

// withinGrant returns a session whose grant, if it has one, is not over.
func (m *Manager) withinGrant(ctx context.Context, s stored) (stored, error) {
	if !m.grantOver(s.record) {
		return s, nil
	}
	return m.endGrant(ctx, s)
}

// endGrant drops the tokens of a session whose grant is over, and revokes them.
// Of several callers one does that, to the end.
func (m *Manager) endGrant(ctx context.Context, s stored) (stored, error) {
	end, err := m.begin()
	if err != nil {
		return stored{}, err
	}
	defer end()
	unlock, err := m.lock(ctx, sessionStoreKey(s.key))
	if err != nil {
		return stored{}, err
	}
	ctx, cancel := m.detach(ctx)
	defer cancel()
	var ended oauthclient.Credentials
	now, err := m.change(ctx, s.key, false, func(r *record) error {
		ended = oauthclient.Credentials{}
		if !m.grantOver(r) {
			return errUnchanged
		}
		ended = r.creds
		r.creds.AccessToken, r.creds.RefreshToken, r.creds.Replaced = oauthclient.Secret{}, oauthclient.Secret{}, nil
		r.creds.Expiry, r.creds.RefreshAfter, r.creds.RefreshExpiry = time.Time{}, time.Time{}, time.Time{}
		r.Slot = 0
		r.setStatusDetail(statusDetail{status: StatusAuthorizationRequired, authorization: oauthclient.ReasonExpired})
		return nil
	})
	if err != nil {
		if current, readErr := m.read(ctx, s.key); readErr == nil && !current.creds.Authorized() {
			now, err = current, nil // it was written, and the answer was lost
		}
	}
	unlock()
	if err != nil || !ended.Authorized() {
		return now, err
	}
	if client, err := m.newClient(now, true); err == nil {
		client.Revoke(ctx, ended)
	}
	m.connectionLost(ctx, now, LostGrantEnded)
	return now, nil
}
