package session

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

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
}

// attemptIDLen is the length of the attempt IDs of package oauthclient.
const attemptIDLen = 32

// Attempt tells how one authorization attempt of a session stands, named by
// [oauthclient.AuthorizationRequiredError.AttemptID]. The session's own status
// cannot tell: it may be connected, and in use, while its user is away
// allowing more. Errors: [ErrNotFound] for the session, [*StoreError].
func (m *Manager) Attempt(ctx context.Context, caller Caller, sessionID, attemptID string) (AttemptInfo, error) {
	key, _, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return AttemptInfo{}, err
	}
	if len(attemptID) != attemptIDLen {
		return AttemptInfo{Status: AttemptExpired}, nil // a stranger's text is no key to look for
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
	return AttemptInfo{Status: AttemptPending}, nil
}

// attemptRecord is an authorization attempt as it is stored, under the hash of
// its state. Once taken it no longer holds the attempt's secrets.
type attemptRecord struct {
	SessionKey string       `json:"session"`
	Owner      string       `json:"owner,omitempty"`
	Binding    string       `json:"binding,omitempty"` // a hash of Caller.Binding
	State      attemptState `json:"state"`
	Code       string       `json:"code,omitempty"`   // of a failure that is a refusal
	Reason     string       `json:"reason,omitempty"` // of a failure
	Expires    time.Time    `json:"expires"`
	Attempt    []byte       `json:"attempt,omitempty"` // oauthclient.Attempt.MarshalBinary
}

// bindingKey is the context key of [Caller.Binding]: the one value that must
// get from a Manager's method through the OAuth client to the attempt that it
// may begin.
type bindingKey struct{}

func withBinding(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, bindingKey{}, hashBinding(caller.Binding))
}

func hashBinding(binding string) string {
	if binding == "" {
		return ""
	}
	return hash("binding", binding)
}

func bindingFrom(ctx context.Context) string {
	binding, _ := ctx.Value(bindingKey{}).(string)
	return binding
}

// mayFinish tells whether caller is who began the attempt: the same browser,
// or the same logged-in owner. A browser in which another owner is logged in
// is refused. An attempt begun without either by the host's own code can be
// finished by whoever knows the state.
func (a *attemptRecord) mayFinish(caller Caller) bool {
	sameBrowser := a.Binding != "" && subtle.ConstantTimeCompare([]byte(a.Binding), []byte(hashBinding(caller.Binding))) == 1
	if caller.Owner != "" {
		return caller.Owner == a.Owner
	}
	return sameBrowser || a.Binding == "" && a.Owner == ""
}

// attempts implements [oauthclient.AttemptStore] for one session.
type attempts struct{ l *liveSession }

func (s attempts) Create(ctx context.Context, a oauthclient.Attempt) error {
	r, _, err := s.l.m.read(ctx, s.l.key)
	if err != nil {
		return err
	}
	if most := s.l.m.cfg.MaxAttemptsPerSession; len(r.pendingAttempts(s.l.m.cfg.Now())) >= most {
		return &LimitError{Limit: "MaxAttemptsPerSession", Value: most}
	}
	encoded, err := a.MarshalBinary()
	if err != nil {
		return err
	}
	err = s.l.m.swapAttempt(ctx, a.ID, nil, &attemptRecord{
		SessionKey: s.l.key, Owner: r.Owner, Binding: bindingFrom(ctx), State: attemptPending, Expires: a.Expires, Attempt: encoded,
	})
	if err == nil {
		s.l.noteBegun(a.ID)
	}
	return err
}

// attemptMark is an attempt in the record of its session.
type attemptMark struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
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

// Load returns a pending attempt. To a caller from another browser an attempt
// is of no use, so it does not exist for it.
func (s attempts) Load(ctx context.Context, id string) (oauthclient.Attempt, error) {
	_, _, a, err := s.load(ctx, id)
	return a, err
}

func (s attempts) load(ctx context.Context, id string) (r *attemptRecord, value []byte, a oauthclient.Attempt, err error) {
	if r, value, err = s.l.m.readAttempt(ctx, id); err != nil {
		return nil, nil, a, err
	}
	if r.State != attemptPending || r.SessionKey != s.l.key || !isFinishing(ctx) && r.Binding != bindingFrom(ctx) {
		return nil, nil, a, oauthclient.ErrNoAttempt
	}
	if err := a.UnmarshalBinary(r.Attempt); err != nil {
		return nil, nil, a, oauthclient.ErrNoAttempt
	}
	return r, value, a, nil
}

// Take ends a pending attempt; the store's compare-and-swap decides who gets it.
func (s attempts) Take(ctx context.Context, id string) (oauthclient.Attempt, error) {
	r, value, a, err := s.load(ctx, id)
	if err != nil {
		return a, err
	}
	r.State, r.Attempt = attemptTaken, nil
	if err := s.l.m.swapAttempt(ctx, id, value, r); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = oauthclient.ErrNoAttempt
		}
		return oauthclient.Attempt{}, err
	}
	return a, nil
}

// finishingKey marks the context of a callback, whose right to the attempt has
// been checked by mayFinish.
type finishingKey struct{}

func isFinishing(ctx context.Context) bool { return ctx.Value(finishingKey{}) != nil }

// readAttempt gets an attempt; [oauthclient.ErrNoAttempt] when there is none.
func (m *Manager) readAttempt(ctx context.Context, id string) (*attemptRecord, []byte, error) {
	value, _, err := m.cfg.Store.Get(ctx, attemptStoreKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, oauthclient.ErrNoAttempt
	}
	if err != nil {
		return nil, nil, storeError(ctx, "reading an authorization attempt", err)
	}
	plaintext, err := m.sealer.open(attemptStoreKey(id), value)
	if err != nil {
		return nil, nil, oauthclient.ErrNoAttempt
	}
	r := new(attemptRecord)
	if json.Unmarshal(plaintext, r) != nil || !m.cfg.Now().Before(r.Expires) {
		return nil, nil, oauthclient.ErrNoAttempt
	}
	return r, value, nil
}

func (m *Manager) swapAttempt(ctx context.Context, id string, old []byte, r *attemptRecord) error {
	plaintext, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = m.cfg.Store.Swap(ctx, attemptStoreKey(id), old, m.sealer.seal(attemptStoreKey(id), plaintext), r.Expires)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return storeError(ctx, "writing an authorization attempt", err)
	}
	return err
}

// recordOutcome notes how an attempt ended, for people who look. It reports
// false when the attempt has not ended: it can still be finished.
func (m *Manager) recordOutcome(ctx context.Context, id string, outcome error) (ended bool) {
	r, value, err := m.readAttempt(ctx, id)
	if err != nil || r.State != attemptTaken {
		return err != nil || r.State != attemptPending
	}
	r.State = attemptSucceeded
	if outcome != nil {
		r.State, r.Reason = attemptFailed, failureReason(outcome)
		if refused, ok := errors.AsType[*oauthclient.AuthorizationError](outcome); ok {
			r.Code = refused.Code
		}
	}
	if err := m.swapAttempt(ctx, id, value, r); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot record the outcome of an authorization", "attempt", id, "error", err)
	}
	return true
}
