package session

import (
	"context"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Load implements [oauthclient.CredentialStore] with the session's record. The
// store is asked every time, so that what another replica did counts at once;
// while its answer is the same bytes, nothing is decrypted.
func (l *liveSession) Load(ctx context.Context) (oauthclient.Credentials, error) {
	if l.isRemoved() {
		return oauthclient.Credentials{}, ErrNotFound
	}
	r, _, err := l.m.read(ctx, l.key)
	if err != nil {
		return oauthclient.Credentials{}, err
	}
	return r.creds, nil
}

// Update implements [oauthclient.CredentialStore]: one fn at a time among all
// replicas, by a lock in the store. The lock is a lease; should it run out,
// the swap still keeps a replica from overwriting what it has not seen.
func (l *liveSession) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	if creds, removed := l.lastCredentials(); removed {
		return fn(&creds) // the record is gone; this is for the revocation
	}
	unlock, err := l.m.lock(ctx, sessionStoreKey(l.key))
	if err != nil {
		return err
	}
	defer unlock()
	r, value, err := l.m.read(ctx, l.key)
	if err != nil {
		return err
	}
	base, next := *r, *r
	next.creds = copyCredentials(r.creds)
	if err := fn(&next.creds); err != nil {
		return err
	}
	// fn may have used up a refresh token: from here on the caller's context
	// must not keep its result from being saved.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.m.cfg.LockTTL)
	defer cancel()
	for {
		err := l.m.write(ctx, l.key, value, &next)
		if !errors.Is(err, store.ErrConflict) {
			if err != nil {
				return storeError("saving credentials", err)
			}
			return nil
		}
		// Somebody changed the record without the lock: fine for its other
		// fields, but credentials may only be replaced if they are those that
		// fn saw.
		current, currentValue, err := l.m.read(ctx, l.key)
		if err != nil {
			return err
		}
		if !sameCredentials(current, &base) {
			return storeError("saving credentials", store.ErrConflict)
		}
		merged := *current
		merged.creds = next.creds
		next, value = merged, currentValue
	}
}

// copyCredentials returns credentials that fn may change.
func copyCredentials(c oauthclient.Credentials) oauthclient.Credentials {
	c.Scopes, c.StepUp = append([]string(nil), c.Scopes...), append([]string(nil), c.StepUp...)
	return c
}

// lock takes the lease for a store key. The returned function gives it back,
// whatever has become of ctx by then.
func (m *Manager) lock(ctx context.Context, storeKey string) (unlock func(), err error) {
	unlock, err = m.cfg.Store.Lock(ctx, storeKey, m.cfg.LockTTL)
	if err != nil {
		return nil, storeError("locking", err)
	}
	return unlock, nil
}

// registrations implements [oauthclient.RegistrationStore] for all sessions of
// a Manager, and of every other Manager on the same store.
type registrations struct{ m *Manager }

// registrationTTL is how long an unused registration is kept.
const registrationTTL = 90 * 24 * time.Hour

func (s registrations) Load(ctx context.Context, key oauthclient.RegistrationKey) (oauthclient.Registration, error) {
	r, _, err := s.read(ctx, key)
	return r, err
}

func (s registrations) read(ctx context.Context, key oauthclient.RegistrationKey) (r oauthclient.Registration, value []byte, err error) {
	storeKey := registrationStoreKey(key)
	value, err = s.m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil, nil
	}
	if err != nil {
		return r, nil, storeError("reading a client registration", err)
	}
	plaintext, err := s.m.sealer.open(storeKey, value)
	if err == nil {
		err = r.UnmarshalBinary(plaintext)
	}
	if err != nil {
		s.m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable client registration", "error", err)
		return oauthclient.Registration{}, value, nil // register again
	}
	return r, value, nil
}

func (s registrations) Update(ctx context.Context, key oauthclient.RegistrationKey, fn func(*oauthclient.Registration) error) error {
	storeKey := registrationStoreKey(key)
	unlock, err := s.m.lock(ctx, storeKey)
	if err != nil {
		return err
	}
	defer unlock()
	r, old, err := s.read(ctx, key)
	if err != nil {
		return err
	}
	if err := fn(&r); err != nil {
		return err
	}
	var value []byte
	if r.ClientID != "" {
		plaintext, err := r.MarshalBinary()
		if err != nil {
			return err
		}
		value = s.m.sealer.seal(storeKey, plaintext)
	} else if old == nil {
		return nil
	}
	if err := s.m.cfg.Store.Swap(ctx, storeKey, old, value, s.m.cfg.Now().Add(registrationTTL)); err != nil {
		return storeError("saving a client registration", err)
	}
	return nil
}
