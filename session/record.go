package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Store keys, one namespace per kind of record.
func sessionStoreKey(key string) string                           { return "session:" + key }
func attemptStoreKey(id string) string                            { return "attempt:" + id }
func registrationStoreKey(key oauthclient.RegistrationKey) string { return "client:" + string(key) }
func ownerStoreKey(owner string) string                           { return "owner:" + hash("owner", owner) }

// hash derives a name that gives nothing away from a value.
func hash(purpose, value string) string {
	sum := sha256.Sum256([]byte("mcpoauth " + purpose + " " + value))
	return hex.EncodeToString(sum[:])
}

// record is a session as it is stored. A record in memory is never changed;
// changes are made to a copy.
type record struct {
	Secret         string    `json:"secret"`
	Owner          string    `json:"owner,omitempty"`
	ServerURL      string    `json:"server_url"`
	ServerName     string    `json:"server_name"`
	CallbackURL    string    `json:"callback_url"`
	Created        time.Time `json:"created"`
	Used           time.Time `json:"used"`
	Expires        time.Time `json:"expires"`
	Status         Status    `json:"status"`
	Reason         string    `json:"reason,omitempty"`
	AttemptExpires time.Time `json:"attempt_expires"`  // of the attempt begun last
	Grants         int       `json:"grants,omitempty"` // how often the user has authorized
	Grant          string    `json:"grant,omitempty"`  // a random name of the last of these
	Saves          int       `json:"saves,omitempty"`  // how often credentials were saved

	Attempts []attemptMark `json:"attempts,omitempty"` // begun since the last grant

	creds oauthclient.Credentials
}

// recordWire is the stored form of a record.
type recordWire struct {
	record
	Credentials []byte `json:"credentials,omitempty"` // oauthclient.Credentials.MarshalBinary
}

// encode returns the stored form of r.
func (m *Manager) encode(key string, r *record) ([]byte, error) {
	credentials, err := r.creds.MarshalBinary()
	if err != nil {
		return nil, err
	}
	plaintext, err := json.Marshal(recordWire{*r, credentials})
	if err != nil {
		return nil, err
	}
	return m.sealer.seal(sessionStoreKey(key), plaintext), nil
}

func (m *Manager) decode(key string, value []byte) (*record, error) {
	plaintext, err := m.sealer.open(sessionStoreKey(key), value)
	if err != nil {
		return nil, err
	}
	var w recordWire
	if json.Unmarshal(plaintext, &w) != nil || w.creds.UnmarshalBinary(w.Credentials) != nil {
		return nil, errUnsealable
	}
	return &w.record, nil
}

// ownedBy tells whether a caller with this secret may use the session. All
// comparisons are made, in constant time each, whatever their outcome.
func (r *record) ownedBy(caller Caller, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(r.Secret), []byte(secret))&r.sameOwner(caller.Owner) == 1
}

func (r *record) sameOwner(owner string) int {
	return subtle.ConstantTimeCompare([]byte(hash("owner", r.Owner)), []byte(hash("owner", owner)))
}

// info describes the record as of now.
func (r *record) info(key string, now time.Time) Info {
	status := r.Status
	if status == StatusAuthorizing && !now.Before(r.AttemptExpires) {
		status = StatusExpired
	}
	return Info{
		ID: oauthclient.NewSecret(key + r.Secret), Key: key, ServerURL: r.ServerURL, ServerName: r.ServerName, CallbackURL: r.CallbackURL,
		Owner: r.Owner, Status: status, Reason: r.Reason, CreatedAt: r.Created, LastUsed: r.Used, ExpiresAt: r.Expires,
	}
}

// read gets a record and its stored bytes. A record that cannot be opened is
// as good as none, and so is one that has expired: the store's clock may be
// behind.
func (m *Manager) read(ctx context.Context, key string) (*record, []byte, error) {
	value, _, err := m.cfg.Store.Get(ctx, sessionStoreKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, storeError(ctx, "reading the session", err)
	}
	l := m.live.peek(key)
	var r *record
	if l != nil {
		r = l.seen(value)
	}
	if r == nil {
		if r, err = m.decode(key, value); err != nil {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable session record", "session", key, "error", err)
			return nil, nil, ErrNotFound
		}
		if l != nil {
			l.saw(value, r)
		}
	}
	if !m.cfg.Now().Before(r.Expires) {
		return nil, nil, ErrNotFound
	}
	return r, value, nil
}

// errUnchanged ends an update that has nothing to write.
var errUnchanged = errors.New("session: nothing to write")

// update changes a record by compare-and-swap. fn is called on a copy, again
// after each lost race, and must touch no credentials: those change under a
// lock, see credentialStore. It returns the record as it now stands.
func (m *Manager) update(ctx context.Context, key string, fn func(*record) error) (*record, error) {
	for {
		r, value, err := m.read(ctx, key)
		if err != nil {
			return nil, err
		}
		next := *r
		if err := fn(&next); errors.Is(err, errUnchanged) {
			return r, nil
		} else if err != nil {
			return nil, err
		}
		switch err := m.write(ctx, key, value, &next); {
		case err == nil:
			return &next, nil
		case !errors.Is(err, store.ErrConflict):
			return nil, storeError(ctx, "writing the session", err)
		}
	}
}

// write swaps a record in, and remembers it for the live session.
func (m *Manager) write(ctx context.Context, key string, old []byte, r *record) error {
	value, err := m.encode(key, r)
	if err != nil {
		return err
	}
	if err := m.cfg.Store.Swap(ctx, sessionStoreKey(key), old, value, r.Expires); err != nil {
		return err
	}
	if l := m.live.peek(key); l != nil {
		l.saw(value, r)
	}
	return nil
}

// storeError wraps an error of the store, but not that of a caller who has
// given up. A time limit of the store's own is a failure of the store.
func storeError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return &StoreError{Op: op, Err: err}
}

// sameCredentials tells whether two records hold the same credentials.
func sameCredentials(a, b *record) bool {
	x, errX := a.creds.MarshalBinary()
	y, errY := b.creds.MarshalBinary()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
