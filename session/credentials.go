package session

import (
	"context"
	"crypto/rand"
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
	if l.m.isClosed() {
		return oauthclient.Credentials{}, ErrClosed
	}
	r, _, err := l.m.read(ctx, l.key)
	if err != nil {
		return oauthclient.Credentials{}, err
	}
	if r.ServerURL != l.serverURL {
		return oauthclient.Credentials{}, ErrNotFound // another session under a used ID; its tokens are not for this server
	}
	return r.creds, nil
}

// removingKey marks the context of the goodbye to the servers of a session
// whose record is deleted already.
type removingKey struct{}

// Update implements [oauthclient.CredentialStore]: one fn at a time among all
// replicas, by a lock in the store. The lock is a lease; should it run out,
// the swap still keeps a replica from overwriting what it has not seen.
//
// A callback can do without: it spends nothing that is stored, what it brings
// takes the place of whatever there is, and a store that cannot grant locks
// just now need not cost the user another authorization.
func (l *liveSession) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	if ctx.Value(removingKey{}) != nil {
		creds := copyCredentials(l.lastCredentials())
		return fn(&creds)
	}
	lock := l.m.lock
	if isFinishing(ctx) {
		lock = l.m.tryLock
	}
	unlock, err := l.m.lockForUpdate(ctx, sessionStoreKey(l.key), lock)
	if err != nil {
		return err
	}
	defer unlock()
	r, value, err := l.m.read(ctx, l.key)
	if err != nil {
		return err
	}
	next := *r
	next.creds = copyCredentials(r.creds)
	if err := fn(&next.creds); err != nil {
		return err
	}
	next.Saves++
	if isFinishing(ctx) && next.creds.Authorized() {
		next.granted(rand.Text())
	}
	// fn may have used up a refresh token: the caller's context must not keep
	// its result from being saved.
	ctx, cancel := l.m.outlive(ctx)
	defer cancel()
	return l.save(ctx, r, value, &next)
}

// Saving credentials is tried again for Config.LockTTL, as nobody else may act
// on the old ones for about that long: a refresh token that was used up exists
// nowhere else.
const (
	savePause    = 50 * time.Millisecond // doubles
	maxSavePause = time.Second
)

// save swaps in next, which was made from base, whose stored bytes are value.
func (l *liveSession) save(ctx context.Context, base *record, value []byte, next *record) error {
	granted := next.Grant != base.Grant
	for wait := savePause; ; wait = min(2*wait, maxSavePause) {
		err := l.m.write(ctx, l.key, value, next)
		for errors.Is(err, store.ErrConflict) {
			// Somebody changed the record without the lock: fine for its other
			// fields, but credentials may only be replaced if they are those
			// that next was made from, or by those of a new authorization.
			current, now, readErr := l.m.read(ctx, l.key)
			if readErr != nil {
				err = readErr
				break
			}
			if sameCredentials(current, next) || granted && current.Grant == next.Grant {
				return nil // an earlier try, whose answer was lost, and which may have been refreshed since
			}
			if !sameCredentials(current, base) && !granted {
				return &StoreError{Op: "saving credentials", Err: store.ErrConflict}
			}
			merged := *current
			merged.creds = next.creds
			merged.Saves++
			if granted {
				merged.granted(next.Grant)
			}
			base, value, next = current, now, &merged
			err = l.m.write(ctx, l.key, value, next)
		}
		if err == nil || errors.Is(err, ErrNotFound) {
			return err
		}
		if !pause(ctx, wait) {
			return storeError(ctx, "saving credentials", err)
		}
	}
}

// granted notes that the user has authorized.
func (r *record) granted(name string) {
	r.Grants++
	r.Grant, r.Attempts = name, nil
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !isFinishing(ctx) {
		defer context.AfterFunc(m.life, cancel)()
	}
	unlock, err = m.cfg.Store.Lock(ctx, storeKey, m.cfg.LockTTL)
	if err != nil {
		if m.isClosed() {
			return nil, ErrClosed
		}
		return nil, storeError(ctx, "locking", err)
	}
	return unlock, nil
}

// tryLock is lock for what is only better done alone: it goes on without when
// the store cannot grant locks just now.
func (m *Manager) tryLock(ctx context.Context, storeKey string) (unlock func(), err error) {
	unlock, err = m.lock(ctx, storeKey)
	if _, outage := errors.AsType[*StoreError](err); outage {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: going on without a lock", "error", err)
		return func() {}, nil
	}
	return unlock, err
}

// lockForUpdate is lock or tryLock for what may have an effect at a server
// before it is saved: Close waits for it. A callback that is being finished may
// go on while the Manager is closing.
func (m *Manager) lockForUpdate(
	ctx context.Context, storeKey string, lock func(context.Context, string) (func(), error),
) (unlock func(), err error) {
	end := func() {} // Close waits for the callback itself
	if !isFinishing(ctx) {
		if end, err = m.begin(); err != nil {
			return nil, err
		}
	}
	release, err := lock(ctx, storeKey)
	if err != nil {
		end()
		return nil, err
	}
	return func() { release(); end() }, nil
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
	value, _, err = s.m.cfg.Store.Get(ctx, storeKey)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnsure) {
		return r, nil, nil
	}
	if err != nil {
		return r, nil, storeError(ctx, "reading a client registration", err)
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

// Update implements [oauthclient.RegistrationStore]. The lock spares the server
// registrations; two of them do no harm, and whichever is stored first stays.
func (s registrations) Update(ctx context.Context, key oauthclient.RegistrationKey, fn func(*oauthclient.Registration) error) error {
	storeKey := registrationStoreKey(key)
	unlock, err := s.m.lockForUpdate(ctx, storeKey, s.m.tryLock)
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
	// fn may have registered: that is not done again because a caller left.
	ctx, cancel := s.m.outlive(ctx)
	defer cancel()
	err = s.m.cfg.Store.Swap(ctx, storeKey, old, value, s.m.cfg.Now().Add(registrationTTL))
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return storeError(ctx, "saving a client registration", err)
	}
	return nil
}
