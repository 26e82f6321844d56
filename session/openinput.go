package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/store"
)

// OpenInput is a question of a server before revision 2026-07-28, whose call waits
// for the answer on the replica where it runs.
type OpenInput struct {
	// ID names the question to [Manager.AnswerInput].
	ID string
	// Requests are the questions by name, one, as in [InputRequiredError].
	Requests json.RawMessage
}

// ErrInputClosed is returned for an answer to a question that waits for none: it
// was answered before, the server has withdrawn it, its time is over, or the call
// has ended.
var ErrInputClosed = errors.New("session: this question waits for no answer any more")

// errTooManyInputs ends a call.
var errTooManyInputs = errors.New("session: the server asks too much")

// inputCancelled is the answer of a user who was not asked, or does not answer.
var inputCancelled = json.RawMessage(`{"action":"cancel"}`)

// inputName is the name of the only question of an [OpenInput].
const inputName = "question"

// inputRecord is an open question as it is stored, for as long as the call waits.
// It has what an answer is checked with, and then the answer.
type inputRecord struct {
	Format     int             `json:"format"`
	SessionKey string          `json:"session"`
	Form       bool            `json:"form,omitempty"`
	Schema     json.RawMessage `json:"schema,omitempty"`
	Answer     json.RawMessage `json:"answer,omitempty"`
	kept
}

var inputRecordMembers = members.Known[inputRecord]()

func (*inputRecord) members() map[string]bool { return inputRecordMembers }

// answerer returns what answers the questions of one call, see
// [oauthclient.Asking.Answer]. end ends the call.
func (m *Manager) answerer(sessionID string, onInput func(OpenInput), end context.CancelCauseFunc) func(context.Context, json.RawMessage) (json.RawMessage, error) {
	key, _, _ := splitID(sessionID)
	var asked atomic.Int64
	return func(ctx context.Context, params json.RawMessage) (json.RawMessage, error) {
		var question map[string]json.RawMessage // names as they are spelled, as for the front end
		var mode string
		switch {
		case len(params) > m.cfg.MaxInputBytes || json.Unmarshal(params, &question) != nil:
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "The question is too large or malformed"}
		case asked.Add(1) > int64(m.cfg.MaxInputsPerCall):
			end(errTooManyInputs)
			return inputCancelled, nil
		}
		_ = json.Unmarshal(question["mode"], &mode) // it has none then, and is a form
		requests := slices.Concat([]byte(`{"`+inputName+`":{"method":"elicitation/create","params":`), params, []byte(`}}`))
		r := &inputRecord{Format: recordFormat, SessionKey: key, Form: mode != "url", Schema: question["requestedSchema"]}
		return m.askUser(ctx, r, func(id string) { onInput(OpenInput{ID: id, Requests: requests}) }), nil
	}
}

// askUser stores a question, shows it, and waits for the answer in the store.
func (m *Manager) askUser(ctx context.Context, r *inputRecord, show func(id string)) json.RawMessage {
	id := rand.Text()
	key := inputStoreKey(id)
	open, err := m.sealer.encode(key, r)
	if err == nil {
		err = m.cfg.Store.Swap(ctx, key, nil, open, m.cfg.Now().Add(m.cfg.InputWait+time.Minute))
	}
	if err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: a server's question cannot be stored, and is not asked", "session", r.SessionKey, "error", err)
		return inputCancelled
	}
	show(id)
	waiting, stop := context.WithTimeout(ctx, m.cfg.InputWait)
	defer stop()
	var answer json.RawMessage
	_ = m.await(waiting, []string{key}, func(ctx context.Context) (bool, error) {
		// A store that is away may be back in time.
		if now, _, err := m.readInput(ctx, id); err == nil {
			answer = now.Answer
		}
		return answer != nil, nil
	})
	// The call may have ended, but what it has stored should go.
	ctx, cancel := m.detach(ctx)
	defer cancel()
	if answer == nil {
		err := m.cfg.Store.Swap(ctx, key, open, nil, time.Time{})
		if err == nil {
			return inputCancelled
		}
		if now, _, err := m.readInput(ctx, id); err == nil {
			answer = now.Answer // it came in the same moment
		}
	}
	if err := m.cfg.Store.Delete(ctx, key); err != nil {
		m.cfg.Logger.WarnContext(ctx, "mcpoauth: cannot delete a question that is over", "session", r.SessionKey, "error", err)
	}
	if answer == nil {
		return inputCancelled
	}
	return answer
}

// AnswerInput answers an [OpenInput], on any replica, exactly once. inputs is as
// Ask.Inputs. Errors: [ErrNotFound] for the session, and for a question of another
// session; [*InvalidInputError], after which the question stays open;
// [ErrInputClosed]; [*StoreError].
func (m *Manager) AnswerInput(ctx context.Context, caller Caller, sessionID, inputID string, inputs json.RawMessage) error {
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return err
	}
	if len(inputID) != keyLen {
		return ErrInputClosed // no ID of a question: the store is not asked
	}
	r, found, err := m.readInput(ctx, inputID)
	switch {
	case err != nil:
		return err
	case r.SessionKey != s.key:
		return ErrNotFound
	case r.Answer != nil:
		return ErrInputClosed
	}
	if len(inputs) > m.cfg.MaxInputBytes {
		return &InvalidInputError{Reason: "the answer is too large"}
	}
	if r.Answer, err = r.check(inputs); err != nil {
		return err
	}
	key := inputStoreKey(inputID)
	value, err := m.sealer.encode(key, r)
	if err != nil {
		return err
	}
	err = m.cfg.Store.Swap(ctx, key, found.value, value, found.expiry)
	if errors.Is(err, store.ErrConflict) {
		return ErrInputClosed
	}
	if err != nil {
		return storeError(ctx, "answering a question", err)
	}
	return nil
}

// foundInput is how a question was found in the store.
type foundInput struct {
	value  []byte
	expiry time.Time
}

// readInput gets a question; [ErrInputClosed] when there is none.
func (m *Manager) readInput(ctx context.Context, id string) (*inputRecord, foundInput, error) {
	key := inputStoreKey(id)
	value, expiry, err := m.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && !m.cfg.Now().Before(expiry) {
		return nil, foundInput{}, ErrInputClosed
	}
	r := new(inputRecord)
	if err == nil {
		if err = m.sealer.decode(key, value, r); errors.Is(err, errUnsealable) {
			return nil, foundInput{}, ErrInputClosed
		}
	}
	if err != nil {
		return nil, foundInput{}, storeError(ctx, "reading a question", err)
	}
	return r, foundInput{value, expiry}, nil
}
