package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// credentialStore implements [oauthclient.CredentialStore] with the record of
// one session.
type credentialStore struct {
	m         *Manager
	key       string
	serverURL string
	idle      bool // an Update is no use of the session
}

// Load asks the store every time, so that what another replica did counts at
// once; while the answer is the same bytes, nothing is decrypted.
func (c credentialStore) Load(ctx context.Context) (oauthclient.Credentials, error) {
	s, err := c.read(ctx)
	if err == nil {
		s, err = c.m.withinGrant(ctx, s)
	}
	if err != nil {
		return oauthclient.Credentials{}, err
	}
	return s.creds, nil
}

func (c credentialStore) read(ctx context.Context) (stored, error) {
	if c.m.isClosed() {
		return stored{}, ErrClosed
	}
	return c.readClosing(ctx)
}

// readClosing is read that also works while the Manager closes, for work that Close
// waits for.
func (c credentialStore) readClosing(ctx context.Context) (stored, error) {
	s, err := c.m.read(ctx, c.key)
	if err == nil && s.ServerURL != c.serverURL {
		return stored{}, ErrNotFound // another session under a used ID; its tokens are not for this server
	}
	return s, err
}

// Update runs one fn at a time among all replicas, by a lock in the store. The
// lock is a lease; should it run out, the swap still keeps a replica from
// overwriting what it has not seen.
func (c credentialStore) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	end, err := c.m.begin()
	if err != nil {
		return err
	}
	defer end()
	before, after, err := c.update(ctx, fn)
	if err == nil {
		c.m.callHooks(ctx, before, after) // without the lock: the host may remove the session
	}
	return err
}

// update takes the lock and does the work of Update. It returns the session before
// and after.
func (c credentialStore) update(ctx context.Context, fn func(*oauthclient.Credentials) error) (base, after stored, err error) {
	unlock, err := c.m.lock(ctx, sessionStoreKey(c.key))
	if err != nil {
		return base, after, err
	}
	defer unlock()
	if base, err = c.readClosing(ctx); err != nil {
		return base, after, err
	}
	next := copyCredentials(base.creds)
	if err := fn(&next); err != nil {
		return base, after, err
	}
	// fn may have used up a refresh token: the caller's context must not keep
	// its result from being saved.
	ctx, cancel := c.m.detach(ctx)
	defer cancel()
	err = c.m.retry(ctx, "saving credentials", func() error {
		now, err := c.readClosing(ctx)
		if err != nil {
			return err
		}
		if sameCredentials(now.creds, next) {
			after = now // an earlier try, whose answer was lost
			return nil
		}
		if !sameTokens(now.creds, base.creds) {
			return &StoreError{Op: "saving credentials", Err: errReplaced}
		}
		changed := *now.record
		changed.creds = next
		if next.Connection.Equal(base.creds.Connection) {
			changed.creds.Connection = now.creds.Connection
		}
		c.m.renewed(c.key, &changed, base.creds, c.idle)
		after, err = c.m.writeUntil(ctx, now, &changed, c.m.lifeAfter(now, &changed, !c.idle))
		return err
	})
	return base, after, err
}

// errReplaced is the failure to save credentials over those of another grant or
// refresh.
var errReplaced = errors.New("session: other credentials have been saved in the meantime")

// Replace saves the credentials of a new grant, and notes that the user has
// authorized.
func (c credentialStore) Replace(ctx context.Context, next func(old oauthclient.Credentials) oauthclient.Credentials) error {
	ctx, cancel := c.m.detach(ctx)
	defer cancel()
	name := rand.Text()
	var saved stored
	err := c.m.retry(ctx, "saving credentials", func() error {
		now, err := c.readClosing(ctx)
		if err != nil {
			return err
		}
		if saved = now; now.Grant == name {
			return nil // an earlier try, whose answer was lost; the tokens may have been refreshed since
		}
		changed := *now.record
		changed.creds = next(now.creds)
		changed.granted(name, c.m.cfg.Now().UTC().Round(0))
		saved, err = c.m.write(ctx, now, &changed)
		return err
	})
	if err == nil && c.m.keepable(saved) {
		c.m.list(ctx, saved)
	}
	return err
}

// SetConnection changes nothing but the connection data.
func (c credentialStore) SetConnection(ctx context.Context, old, updated oauthclient.Connection) (oauthclient.Connection, error) {
	for {
		now, err := c.read(ctx)
		if err != nil {
			return oauthclient.Connection{}, err
		}
		if !now.creds.Connection.Equal(old) {
			return now.creds.Connection, nil
		}
		changed := *now.record
		changed.Worked = changed.Worked || !updated.IsZero()
		changed.creds.Connection = updated
		switch _, err := c.m.write(ctx, now, &changed); {
		case err == nil:
			return updated, nil
		case !errors.Is(err, store.ErrConflict):
			return oauthclient.Connection{}, storeError(ctx, "saving the connection data", err)
		}
	}
}

// sameTokens reports whether two credentials hold the same tokens.
func sameTokens(a, b oauthclient.Credentials) bool {
	return a.AccessToken.Equal(b.AccessToken) && a.RefreshToken.Equal(b.RefreshToken) && a.Expiry.Equal(b.Expiry)
}

// sameCredentials reports whether two credentials are the same, but for the
// connection data.
func sameCredentials(a, b oauthclient.Credentials) bool {
	a.Connection, b.Connection = oauthclient.Connection{}, oauthclient.Connection{}
	x, errX := a.MarshalBinary()
	y, errY := b.MarshalBinary()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Saving credentials is tried again for Config.LockTTL, because no other replica
// may act on the old ones for about that long: a refresh token that was used up
// exists nowhere else.
const (
	savePause    = 50 * time.Millisecond // doubles
	maxSavePause = time.Second
)

// retry runs save until it succeeds, fails for good, or ctx ends.
func (m *Manager) retry(ctx context.Context, op string, save func() error) error {
	for wait := savePause; ; {
		err := save()
		switch {
		case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, errReplaced), isUnreadable(err):
			return err
		case errors.Is(err, store.ErrInvalid): // a record that is too large stays too large
			return storeError(ctx, op, err)
		case errors.Is(err, store.ErrConflict):
			continue
		}
		if !pause(ctx, wait) {
			return storeError(ctx, op, err)
		}
		wait = min(2*wait, maxSavePause)
	}
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// copyCredentials returns credentials that fn may change.
func copyCredentials(c oauthclient.Credentials) oauthclient.Credentials {
	c.Scopes, c.StepUp = append([]string(nil), c.Scopes...), append([]string(nil), c.StepUp...)
	return c
}

// lock takes the lease for a store key. Closing the Manager ends the waiting.
func (m *Manager) lock(ctx context.Context, storeKey string) (unlock func(), err error) {
	return m.lockFor(ctx, storeKey, m.cfg.LockTTL)
}

func (m *Manager) lockFor(ctx context.Context, storeKey string, lease time.Duration) (unlock func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()
	unlock, err = m.cfg.Store.Lock(ctx, storeKey, lease)
	if err != nil {
		if m.isClosed() {
			return nil, ErrClosed
		}
		return nil, storeError(ctx, "locking", err)
	}
	return unlock, nil
}

// tryLock is lock for work that needs no lock, but is better done alone. If the
// store cannot grant one now, it logs that and returns an unlock without effect.
func (m *Manager) tryLock(ctx context.Context, storeKey string) (unlock func(), err error) {
	unlock, err = m.lock(ctx, storeKey)
	if _, outage := errors.AsType[*StoreError](err); outage {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: going on without a lock", "error", err)
		return func() {}, nil
	}
	return unlock, err
}
