package session

import (
	"context"
	"maps"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// connectAgain is Connect for a session that exists.
func (m *Manager) connectAgain(ctx context.Context, caller Caller, p ConnectParams) (Info, error) {
	s, err := m.usable(ctx, caller, p.SessionID)
	if err != nil {
		return Info{}, err
	}
	if p.ServerURL == "" {
		p.ServerURL = s.ServerURL
	}
	if p.ServerName == "" {
		p.ServerName = s.ServerName
	}
	if p.CallbackURL == "" {
		p.CallbackURL = s.CallbackURL
	}
	keep := p.Headers == nil
	if keep {
		p.Headers = m.allowed(s.record)
	}
	given, err := m.newRecord(caller, p) // validates
	if err != nil {
		return Info{}, err
	}
	if given.ServerURL != s.ServerURL {
		return Info{}, &InputError{Field: "ServerURL", Reason: "is not the one of this session"}
	}
	s, err = m.update(ctx, s.key, func(r *record) error {
		if keep {
			given.Headers = r.Headers
		}
		if r.ServerName == given.ServerName && r.CallbackURL == given.CallbackURL && maps.Equal(r.Headers, given.Headers) {
			return errUnchanged
		}
		r.ServerName, r.CallbackURL, r.Headers = given.ServerName, given.CallbackURL, given.Headers
		return nil
	})
	if err != nil {
		return Info{}, err
	}
	m.touch(ctx, s)
	err = m.use(ctx, caller, s, func(ctx context.Context, client *oauthclient.MCPOAuthClient) error {
		if p.FreshRegistration && !m.keyed(s.record) {
			if err := client.Provider().Reauthorize(ctx, true); err != nil {
				return err
			}
		}
		return client.Reconnect(ctx)
	})
	now, readErr := m.read(context.WithoutCancel(ctx), s.key)
	if readErr != nil {
		return Info{}, readErr
	}
	return m.info(now), err
}

// unfinishedGrace is how much longer than its last attempt a session lives that
// was never connected, for a page that polls to learn how the attempt ended.
const unfinishedGrace = time.Minute

// unfinished reports whether no user has authorized the session yet, nor its
// server answered.
func (r *record) unfinished() bool {
	return r.Status != StatusConnected && !r.Worked && r.Grants == 0 && r.creds.Issuer == "" && !r.creds.Authorized() && r.creds.Connection.IsZero()
}

// expiry is when a record that is written now ends. An unfinished session ends
// with its attempts.
func (m *Manager) expiry(r *record) time.Time {
	now := m.cfg.Now()
	if !r.unfinished() {
		return now.Add(m.cfg.TTL).UTC().Round(0)
	}
	last := later(now, r.Created.Add(m.cfg.Client.AttemptTTL))
	for _, attempt := range r.Attempts {
		last = later(last, attempt.Expires)
	}
	return last.Add(unfinishedGrace).UTC().Round(0)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// lastUsed is when a session was used last. Use does not move the end of an
// unfinished one.
func (m *Manager) lastUsed(s stored) time.Time {
	if s.unfinished() {
		return s.Created
	}
	return s.expiry.Add(-m.cfg.TTL).UTC()
}
