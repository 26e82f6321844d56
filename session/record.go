package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
	"unique"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Store keys, one namespace per kind of record.
func sessionStoreKey(key string) string                           { return "session:" + key }
func attemptStoreKey(id string) string                            { return "attempt:" + id }
func inputStoreKey(id string) string                              { return "input:" + id }
func registrationStoreKey(key oauthclient.RegistrationKey) string { return "client:" + string(key) }
func ownerStoreKey(owner string) string                           { return "owner:" + hash("owner", owner) }

// hash derives a name that gives nothing away from a value.
func hash(purpose, value string) string {
	sum := sha256.Sum256([]byte("mcpoauth " + purpose + " " + value))
	return hex.EncodeToString(sum[:])
}

// record is a session as it is stored. A record in memory is never changed;
// changes are made to a copy. Its life is the store's: use extends it there, and
// does not change the record.
type record struct {
	Format      int    `json:"format"`
	Secret      string `json:"secret"`
	Owner       string `json:"owner,omitempty"`
	ServerURL   string `json:"server_url"`
	ServerName  string `json:"server_name"`
	CallbackURL string `json:"callback_url"`
	// Headers are those of the connection, by canonical name.
	Headers map[string]string `json:"headers,omitempty"`
	Created time.Time         `json:"created"`
	Status  Status            `json:"status"`
	Reason  string            `json:"reason,omitempty"`
	// AuthorizationReason is why the user must authorize, while the status says
	// so.
	AuthorizationReason oauthclient.Reason `json:"authorization_reason,omitempty"`
	Grants              int                `json:"grants,omitempty"` // how often the user has authorized
	Grant               string             `json:"grant,omitempty"`  // a random name of the last of these
	Granted             time.Time          `json:"granted,omitzero"` // when that was
	Slot                int64              `json:"slot,omitempty"`   // where it is listed to be kept alive
	Worked              bool               `json:"worked,omitempty"` // whether the server has ever answered

	Attempts []attemptMark `json:"attempts,omitempty"` // begun since the last grant

	creds oauthclient.Credentials
	kept
}

// attemptMark is an attempt in the record of its session.
type attemptMark struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

// credentialsMember holds [oauthclient.Credentials.MarshalBinary], which is JSON.
const credentialsMember = "credentials"

var recordMembers = members.Known[record](credentialsMember)

func (*record) members() map[string]bool { return recordMembers }

// MarshalJSON implements [json.Marshaler].
func (r *record) MarshalJSON() ([]byte, error) {
	type plain record
	own, err := json.Marshal((*plain)(r))
	if err != nil {
		return nil, err
	}
	credentials, err := r.creds.MarshalBinary()
	return members.Add(own, `,"`+credentialsMember+`":`+string(credentials)), err
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *record) UnmarshalJSON(data []byte) error {
	type plain record
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	var others struct {
		Credentials json.RawMessage `json:"credentials"`
	}
	if err := json.Unmarshal(data, &others); err != nil {
		return err
	}
	r.ServerURL, r.ServerName, r.CallbackURL = unique.Make(r.ServerURL).Value(), unique.Make(r.ServerName).Value(), unique.Make(r.CallbackURL).Value()
	return r.creds.UnmarshalBinary(others.Credentials)
}

// ownedBy reports whether a caller with this secret may use the session. All
// comparisons are made, in constant time each, whatever their outcome.
func (r *record) ownedBy(caller Caller, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(r.Secret), []byte(secret))&r.sameOwner(caller.Owner) == 1
}

func (r *record) sameOwner(owner string) int {
	return subtle.ConstantTimeCompare([]byte(r.Owner), []byte(owner))
}

// granted notes that the user has authorized.
func (r *record) granted(name string, now time.Time) {
	r.Grants++
	r.Grant, r.Granted, r.Attempts = name, now, nil
}

// statusDetail is the status of a session with its reasons.
type statusDetail struct {
	status        Status
	reason        string             // for StatusFailed
	authorization oauthclient.Reason // for a status that asks the user
}

func (r *record) statusDetail() statusDetail {
	return statusDetail{r.Status, r.Reason, r.AuthorizationReason}
}

func (r *record) setStatusDetail(s statusDetail) {
	r.Worked = r.Worked || r.Status == StatusConnected
	r.Status, r.Reason, r.AuthorizationReason = s.status, s.reason, s.authorization
}

// stored is a record as it was found in the store.
type stored struct {
	*record
	key    string
	value  []byte
	expiry time.Time
}

// info describes a session as of now.
func (m *Manager) info(s stored) Info {
	status, now := s.statusDetail(), m.cfg.Now()
	if unsaved := m.cache.unsaved(s.key); unsaved != nil {
		status = *unsaved
	}
	if status.status == StatusAuthorizing && len(s.pendingAttempts(now)) == 0 && !now.Before(s.Created.Add(m.cfg.Client.AttemptTTL)) {
		status.status = StatusExpired
	}
	return Info{
		ID: oauthclient.NewSecret(s.key + s.Secret), Key: s.key, ServerURL: s.ServerURL, ServerName: s.ServerName, CallbackURL: s.CallbackURL,
		Owner: s.Owner, Status: status.status, Reason: status.reason, AuthorizationReason: status.authorization,
		CreatedAt: s.Created, LastUsed: m.lastUsed(s), ExpiresAt: s.expiry.UTC(),
	}
}

// read gets a record. One that has expired counts as none: the store's clock may
// be behind.
func (m *Manager) read(ctx context.Context, key string) (stored, error) {
	value, expiry, err := m.cfg.Store.Get(ctx, sessionStoreKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, ErrNotFound
	}
	if err != nil {
		return stored{}, storeError(ctx, "reading the session", err)
	}
	r := m.cache.record(key, value)
	if r == nil {
		m.observeDecode(ctx)
		r = new(record)
		if err := m.sealer.decode(sessionStoreKey(key), value, r); isUnreadable(err) {
			return stored{}, storeError(ctx, "reading the session", err)
		} else if err != nil {
			m.cfg.Logger.WarnContext(ctx, "mcpoauth: unusable session record", "session", key, "error", err)
			return stored{}, ErrNotFound
		}
		m.cache.saw(key, value, r)
	}
	if !m.cfg.Now().Before(expiry) {
		return stored{}, ErrNotFound
	}
	return stored{r, key, value, expiry}, nil
}

// errUnchanged ends an update that has nothing to write.
var errUnchanged = errors.New("session: nothing to write")

// update changes a record by compare-and-swap. fn is called on a copy, again
// after each lost race, and must touch no credentials: those change under a
// lock, see credentialStore. It returns the record that is stored then.
func (m *Manager) update(ctx context.Context, key string, fn func(*record) error) (stored, error) {
	return m.change(ctx, key, true, fn)
}

// change is update; if used is false, the write does not count as use of the session.
func (m *Manager) change(ctx context.Context, key string, used bool, fn func(*record) error) (stored, error) {
	for {
		s, err := m.read(ctx, key)
		if err != nil {
			return stored{}, err
		}
		next := *s.record
		if err := fn(&next); errors.Is(err, errUnchanged) {
			return s, nil
		} else if err != nil {
			return stored{}, err
		}
		switch now, err := m.writeUntil(ctx, s, &next, m.lifeAfter(s, &next, used)); {
		case err == nil:
			return now, nil
		case !errors.Is(err, store.ErrConflict):
			return stored{}, storeError(ctx, "writing the session", err)
		}
	}
}

// write swaps a record in, and remembers it. A write counts as use.
func (m *Manager) write(ctx context.Context, old stored, r *record) (stored, error) {
	return m.writeUntil(ctx, old, r, m.lifeAfter(old, r, true))
}

// lifeAfter is the expiry of a session after a write. A write that does not count as
// use keeps the old expiry. An extension at the same moment may be lost; the next use
// extends the session again.
func (m *Manager) lifeAfter(old stored, r *record, used bool) time.Time {
	if !used {
		return old.expiry
	}
	return m.expiry(r)
}

// writeUntil is write with an expiry.
func (m *Manager) writeUntil(ctx context.Context, old stored, r *record, expiry time.Time) (stored, error) {
	value, err := m.sealer.encode(sessionStoreKey(old.key), r)
	if err != nil {
		return stored{}, err
	}
	if err := m.cfg.Store.Swap(ctx, sessionStoreKey(old.key), old.value, value, expiry); err != nil {
		return stored{}, err
	}
	m.cache.saw(old.key, value, r)
	return stored{r, old.key, value, expiry}, nil
}

// storeError wraps an error of the store, but not that of a caller who has
// given up. A time limit of the store's own is a failure of the store.
func storeError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return &StoreError{Op: op, Err: err}
}
