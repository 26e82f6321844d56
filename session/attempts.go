package session

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// attemptState is how far an attempt has come.
type attemptState string

const (
	attemptPending   attemptState = "pending"
	attemptTaken     attemptState = "taken"
	attemptSucceeded attemptState = "succeeded"
	attemptFailed    attemptState = "failed"
)

// AttemptStatus says how far an authorization attempt has come.
type AttemptStatus string

const (
	// AttemptPending means that the user has not come back yet.
	AttemptPending AttemptStatus = "pending"
	// AttemptSucceeded means that the user has authorized.
	AttemptSucceeded AttemptStatus = "succeeded"
	// AttemptFailed means that the user or the authorization server refused,
	// or that the tokens could not be had; AttemptInfo.Reason says which.
	AttemptFailed AttemptStatus = "failed"
	// AttemptExpired means that the attempt can no longer be finished, and how
	// it ended, if it did, is no longer known.
	AttemptExpired AttemptStatus = "expired"
)

// AttemptInfo describes an authorization attempt to the session's owner.
type AttemptInfo struct {
	Status AttemptStatus
	// Code is the OAuth error code of a refusal, such as "access_denied".
	Code string
	// Reason is a text for people without secrets, for AttemptFailed.
	Reason string
	// Refused reports that a callback of a pending attempt was refused. The right
	// browser and owner can still finish the attempt.
	Refused bool
}

// attemptIDLen is the length of the attempt IDs of package oauthclient.
const attemptIDLen = 32

// Attempt returns the state of one authorization attempt of a session, named by
// [oauthclient.AuthorizationRequiredError.AttemptID]. The session's own status
// cannot show it: it may be connected, and in use, while its user is away
// allowing more. Errors: [ErrNotFound] for the session, [*StoreError].
func (m *Manager) Attempt(ctx context.Context, caller Caller, sessionID, attemptID string) (AttemptInfo, error) {
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return AttemptInfo{}, err
	}
	return m.attemptInfo(ctx, s.key, attemptID)
}

// attemptInfo is Attempt without a look at the session.
func (m *Manager) attemptInfo(ctx context.Context, key, attemptID string) (AttemptInfo, error) {
	if len(attemptID) != attemptIDLen {
		return AttemptInfo{Status: AttemptExpired}, nil // no ID of an attempt: the store is not asked
	}
	a, _, err := m.readAttempt(ctx, attemptID)
	switch {
	case errors.Is(err, oauthclient.ErrNoAttempt), err == nil && a.SessionKey != key:
		return AttemptInfo{Status: AttemptExpired}, nil
	case err != nil:
		return AttemptInfo{}, err
	case a.State == attemptSucceeded:
		return AttemptInfo{Status: AttemptSucceeded}, nil
	case a.State == attemptFailed:
		return AttemptInfo{Status: AttemptFailed, Code: a.Code, Reason: a.Reason}, nil
	}
	return AttemptInfo{Status: AttemptPending, Refused: a.Refused}, nil
}

// CallbackRefused notes that a callback could not be accepted, so that the page
// which waits for the attempt need not wait until it expires. It changes nothing
// else, and without a pending attempt it does nothing.
func (m *Manager) CallbackRefused(ctx context.Context, resp oauthclient.AuthorizationResponse) {
	a, found, err := m.readAttempt(ctx, resp.AttemptID())
	if err != nil || a.State != attemptPending || a.Refused {
		return
	}
	a.Refused = true
	if err := m.swapAttempt(ctx, found, found.expiry, a); err != nil && !errors.Is(err, store.ErrConflict) {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot note that a callback was refused", "attempt", found.id, "error", err)
	}
}

// attemptRecord is an authorization attempt as it is stored, under the hash of
// its state, for as long as the attempt lives. Once taken it no longer holds the
// attempt's secrets.
type attemptRecord struct {
	Format     int             `json:"format"`
	SessionKey string          `json:"session"`
	Owner      string          `json:"owner,omitempty"`
	State      attemptState    `json:"state"`
	Code       string          `json:"code,omitempty"`    // of a failure that is a refusal
	Reason     string          `json:"reason,omitempty"`  // of a failure
	Refused    bool            `json:"refused,omitempty"` // a callback, while pending
	Attempt    json.RawMessage `json:"attempt,omitempty"` // oauthclient.Attempt.MarshalBinary
	kept
}

var attemptRecordMembers = members.Known[attemptRecord]()

func (*attemptRecord) members() map[string]bool { return attemptRecordMembers }

// attempt returns the attempt that a pending record holds.
func (a *attemptRecord) attempt() (oauthclient.Attempt, error) {
	var attempt oauthclient.Attempt
	if a.State != attemptPending || attempt.UnmarshalBinary(a.Attempt) != nil {
		return oauthclient.Attempt{}, oauthclient.ErrNoAttempt
	}
	return attempt, nil
}

// hashBinding returns what is stored of [Caller.Binding].
func hashBinding(binding string) string {
	if binding == "" {
		return ""
	}
	return hash("binding", binding)
}

// mayFinish reports whether caller may finish an attempt: the owner who began
// it, and in the same browser if it was begun with a binding. An attempt begun
// without either by the host's own code can be finished by every caller who
// knows the state.
func mayFinish(caller Caller, owner, binding string) bool {
	sameBrowser := binding == "" || sameBinding(binding, caller.Binding)
	for _, other := range caller.OtherBindings {
		sameBrowser = sameBinding(binding, other) || sameBrowser
	}
	return caller.Owner == owner && sameBrowser
}

// sameBinding reports whether a binding is the one whose hash is stored.
func sameBinding(stored, presented string) bool {
	return subtle.ConstantTimeCompare([]byte(stored), []byte(hashBinding(presented))) == 1
}

// attempts implements [oauthclient.AttemptStore] for one session.
type attempts struct {
	m   *Manager
	key string
}

// Create implements [oauthclient.AttemptStore].
func (s attempts) Create(ctx context.Context, a oauthclient.Attempt) error {
	r, err := s.m.read(ctx, s.key)
	if err != nil {
		return err
	}
	if most := s.m.cfg.MaxAttemptsPerSession; len(r.pendingAttempts(s.m.cfg.Now())) >= most {
		return &LimitError{Limit: "MaxAttemptsPerSession", Value: most}
	}
	encoded, err := a.MarshalBinary()
	if err != nil {
		return err
	}
	return s.m.swapAttempt(ctx, foundAttempt{id: a.ID}, a.Expires, &attemptRecord{
		Format: recordFormat, SessionKey: s.key, Owner: r.Owner, State: attemptPending, Attempt: encoded,
	})
}

// pendingAttempts returns the attempts that may still be finished, as a copy.
func (r *record) pendingAttempts(now time.Time) (pending []attemptMark) {
	for _, a := range r.Attempts {
		if now.Before(a.Expires) {
			pending = append(pending, a)
		}
	}
	return pending
}

// Load implements [oauthclient.AttemptStore].
func (s attempts) Load(ctx context.Context, id string) (oauthclient.Attempt, error) {
	r, _, err := s.m.readAttempt(ctx, id)
	if err != nil {
		return oauthclient.Attempt{}, &takeError{err, false}
	}
	if r.SessionKey != s.key {
		return oauthclient.Attempt{}, oauthclient.ErrNoAttempt
	}
	return r.attempt()
}

// Take ends a pending attempt; of several callers, the store's compare-and-swap
// gives it to one. A refused callback may be noted at the same moment, once.
func (s attempts) Take(ctx context.Context, id string) (oauthclient.Attempt, error) {
	a, err := s.take(ctx, id)
	if errors.Is(err, store.ErrConflict) {
		a, err = s.take(ctx, id)
	}
	if errors.Is(err, store.ErrConflict) {
		err = oauthclient.ErrNoAttempt
	}
	return a, err
}

func (s attempts) take(ctx context.Context, id string) (oauthclient.Attempt, error) {
	r, found, err := s.m.readAttempt(ctx, id)
	if err != nil {
		return oauthclient.Attempt{}, &takeError{err, false}
	}
	a, err := r.attempt()
	if err != nil || r.SessionKey != s.key {
		return oauthclient.Attempt{}, oauthclient.ErrNoAttempt
	}
	r.State, r.Attempt = attemptTaken, nil
	if err := s.m.swapAttempt(ctx, found, found.expiry, r); err != nil {
		return oauthclient.Attempt{}, &takeError{err, true}
	}
	return a, nil
}

// takeError is why an attempt could not be taken. Its user can still finish it,
// unless the store failed after it had taken it.
type takeError struct {
	error
	sent bool // the store may have taken the attempt
}

func (e *takeError) Unwrap() error { return e.error }

// foundAttempt is where and how an attempt was found in the store.
type foundAttempt struct {
	id     string
	value  []byte
	expiry time.Time
}

// readAttempt gets an attempt; [oauthclient.ErrNoAttempt] when there is none.
func (m *Manager) readAttempt(ctx context.Context, id string) (*attemptRecord, foundAttempt, error) {
	value, expiry, err := m.cfg.Store.Get(ctx, attemptStoreKey(id))
	if errors.Is(err, store.ErrNotFound) || err == nil && !m.cfg.Now().Before(expiry) {
		return nil, foundAttempt{}, oauthclient.ErrNoAttempt
	}
	r := new(attemptRecord)
	if err == nil {
		if err = m.sealer.decode(attemptStoreKey(id), value, r); errors.Is(err, errUnsealable) {
			return nil, foundAttempt{}, oauthclient.ErrNoAttempt
		}
	}
	if err != nil {
		return nil, foundAttempt{}, storeError(ctx, "reading an authorization attempt", err)
	}
	return r, foundAttempt{id, value, expiry}, nil
}

func (m *Manager) swapAttempt(ctx context.Context, old foundAttempt, expiry time.Time, r *attemptRecord) error {
	value, err := m.sealer.encode(attemptStoreKey(old.id), r)
	if err != nil {
		return err
	}
	err = m.cfg.Store.Swap(ctx, attemptStoreKey(old.id), old.value, value, expiry)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return storeError(ctx, "writing an authorization attempt", err)
	}
	return err
}

// recordOutcome stores how an attempt ended, for Manager.Attempt. It reports whether
// the attempt has ended; if not, its user can still finish it.
func (m *Manager) recordOutcome(ctx context.Context, id string, outcome error) (ended bool) {
	failed, untaken := errors.AsType[*takeError](outcome)
	if untaken && !failed.sent {
		return false
	}
	r, found, err := m.readAttempt(ctx, id)
	if err != nil {
		return !untaken
	}
	if r.State != attemptTaken {
		return r.State != attemptPending
	}
	r.State = attemptSucceeded
	if outcome != nil {
		r.State, r.Reason = attemptFailed, failureReason(outcome)
		if refused, ok := errors.AsType[*oauthclient.AuthorizationError](outcome); ok {
			r.Code = refused.Code
		}
	}
	if err := m.swapAttempt(ctx, found, found.expiry, r); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the outcome of an authorization", "attempt", id, "error", err)
	}
	return true
}
