package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/members"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Ask says that a caller can ask its user what a server wants to know in the
// middle of a call. The zero Ask cannot.
type Ask struct {
	// Form and URL are the modes of elicitation that the caller can show.
	Form, URL bool
	// Inputs are the answers to an [*InputRequiredError], with its State: a JSON
	// object that has an elicitation result ("action", "content") by the name of
	// each question. Nil for the first call.
	Inputs json.RawMessage
	State  string
	// OnInput, if set, is called for each question that a server before revision
	// 2026-07-28 has during a tool call, which waits for [Manager.AnswerInput]. It
	// must return soon. Config.Client.AskUsers declares to servers that there may
	// be such callers; without OnInput they get the action "cancel".
	OnInput func(OpenInput)
}

func (a Ask) isZero() bool {
	return !a.Form && !a.URL && a.Inputs == nil && a.State == "" && a.OnInput == nil
}

// InputRequiredError is a server's questions to the user. The call goes on, on any
// replica and after a restart, when it is made again with the same arguments, the
// answers and State.
type InputRequiredError struct {
	// Requests are the questions by name, as the server sent them.
	Requests json.RawMessage
	// State is sealed. It belongs to the session, the owner, the operation and its
	// arguments, and is good for Config.InputTTL. Without Config.SealKeys it is
	// good on the replica that made it.
	State string
}

func (e *InputRequiredError) Error() string { return "session: the server asks the user for input" }

// ErrInvalidInput is returned for answers that do not belong to the questions of
// their State, and for a State that has expired, was changed, or is of another
// session, owner, operation or arguments. The server was not asked. It also
// matches [*InvalidInputError].
var ErrInvalidInput = errors.New("session: the answers do not belong to an open question of this call")

// inputState is what [InputRequiredError.State] seals. The session is its place.
type inputState struct {
	Format  int             `json:"format"`
	Owner   string          `json:"owner,omitempty"`
	Call    []byte          `json:"call"` // hash of the operation and its arguments
	Names   []string        `json:"names,omitempty"`
	State   json.RawMessage `json:"state,omitempty"` // of the server
	Expires time.Time       `json:"expires"`
	kept
}

var inputStateMembers = members.Known[inputState]()

func (*inputState) members() map[string]bool { return inputStateMembers }

// inputCall names an operation and its arguments.
func inputCall(method, name string, args any) ([]byte, error) {
	encoded, err := json.Marshal([]any{method, name, args})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(encoded)
	return sum[:], nil
}

// asking runs one operation with the answers of ask, and seals what the server
// wants to know.
func asking[T any](ctx context.Context, m *Manager, caller Caller, sessionID, method, name string, args any, ask Ask,
	run func(context.Context, *oauthclient.MCPOAuthClient, oauthclient.Asking) (T, error),
) (result T, err error) {
	if m.cfg.Audit != nil {
		defer func() { m.auditCall(ctx, caller, sessionID, method, name, result, err) }()
	}
	if ask.isZero() { // the hot path
		err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
			result, err = run(ctx, client, oauthclient.Asking{})
			return err
		})
		return result, err
	}
	call, err := inputCall(method, name, args)
	if err != nil {
		return result, err
	}
	a := oauthclient.Asking{Form: ask.Form, URL: ask.URL}
	if ask.Inputs != nil || ask.State != "" {
		if !ask.Form && !ask.URL {
			return result, ErrInvalidInput
		}
		if a.Inputs, a.State, err = m.openInput(ctx, caller, sessionID, call, ask); err != nil {
			return result, err
		}
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if ask.OnInput != nil {
		a.Answer = m.answerer(sessionID, ask.OnInput, end)
	}
	err = m.with(ctx, caller, sessionID, func(ctx context.Context, client *oauthclient.MCPOAuthClient) (err error) {
		result, err = run(ctx, client, a)
		return err
	})
	if errors.Is(context.Cause(ctx), errTooManyInputs) {
		return result, &oauthclient.ServerError{Reason: "it asks for input again and again"}
	}
	if required, ok := errors.AsType[*oauthclient.InputRequiredError](err); ok {
		err = m.sealInput(caller, sessionID, call, required)
	}
	return result, err
}

// sealInput returns the error that a caller gets for a server's questions.
func (m *Manager) sealInput(caller Caller, sessionID string, call []byte, required *oauthclient.InputRequiredError) error {
	var questions map[string]json.RawMessage
	if err := json.Unmarshal(required.Requests, &questions); err != nil {
		return err
	}
	key, _, _ := splitID(sessionID)
	sealed, err := m.inputs.encode(inputPlace(key), &inputState{
		Format: recordFormat, Owner: caller.Owner, Call: call, Names: slices.Sorted(maps.Keys(questions)), State: required.State,
		Expires: m.cfg.Now().Add(m.cfg.InputTTL),
	})
	if err != nil {
		return err
	}
	return &InputRequiredError{Requests: required.Requests, State: base64.RawURLEncoding.EncodeToString(sealed)}
}

// openInput checks answers, and returns them with the server's state.
func (m *Manager) openInput(ctx context.Context, caller Caller, sessionID string, call []byte, ask Ask) (inputs, state json.RawMessage, err error) {
	s, err := m.lookup(ctx, caller, sessionID)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(ask.State)
	if err != nil || base64.RawURLEncoding.EncodeToString(sealed) != ask.State { // a state has one spelling
		return nil, nil, ErrInvalidInput
	}
	var open inputState
	if m.inputs.decode(inputPlace(s.key), sealed, &open) != nil || open.Owner != caller.Owner || string(open.Call) != string(call) || !m.cfg.Now().Before(open.Expires) {
		return nil, nil, ErrInvalidInput
	}
	var answers map[string]struct {
		Action string `json:"action"`
	}
	if json.Unmarshal(ask.Inputs, &answers) != nil || !slices.Equal(slices.Sorted(maps.Keys(answers)), open.Names) {
		return nil, nil, ErrInvalidInput
	}
	for _, answer := range answers {
		if !slices.Contains([]string{"accept", "decline", "cancel"}, answer.Action) {
			return nil, nil, ErrInvalidInput
		}
	}
	return ask.Inputs, open.State, nil
}

// newInputSealer returns what seals the states of questions. Without keys it takes
// one of its own, because a state that a caller could change would be no state.
func newInputSealer(keys [][]byte) sealer {
	if len(keys) == 0 {
		key := make([]byte, sealKeyLen)
		_, _ = rand.Read(key) // never fails
		keys = [][]byte{key}
	}
	return newSealer(keys)
}

// inputPlace is the additional data of a sealed state.
func inputPlace(key string) string { return "input " + key }

// CallToolAsking is [Manager.CallToolProgress] for a caller that can ask its user.
// Further errors: [*InputRequiredError], [ErrInvalidInput]. A server before
// revision 2026-07-28 asks by way of [Ask.OnInput] instead; or its error is a
// *jsonrpc.Error with code -32042, whose data has the URLs that a user must visit
// before the call can succeed.
func (m *Manager) CallToolAsking(ctx context.Context, caller Caller, sessionID, name string, args any, ask Ask, onProgress func(mcp.ProgressNotificationParams)) (*oauthclient.CallToolResult, error) {
	return asking(ctx, m, caller, sessionID, "tools/call", name, args, ask, func(ctx context.Context, client *oauthclient.MCPOAuthClient, a oauthclient.Asking) (*oauthclient.CallToolResult, error) {
		args, err := m.mayCall(ctx, sessionID, client, name, args)
		if err != nil {
			return nil, err
		}
		return client.CallToolAsking(ctx, name, args, a, onProgress)
	})
}

// GetPromptAsking is [Manager.GetPrompt] for a caller that can ask its user.
func (m *Manager) GetPromptAsking(ctx context.Context, caller Caller, sessionID string, params *mcp.GetPromptParams, ask Ask) (*oauthclient.Result[mcp.GetPromptResult], error) {
	return asking(ctx, m, caller, sessionID, "prompts/get", params.Name, params.Arguments, ask, func(ctx context.Context, client *oauthclient.MCPOAuthClient, a oauthclient.Asking) (*oauthclient.Result[mcp.GetPromptResult], error) {
		return client.GetPromptAsking(ctx, params, a)
	})
}

// ReadResourceAsking is [Manager.ReadResource] for a caller that can ask its user.
func (m *Manager) ReadResourceAsking(ctx context.Context, caller Caller, sessionID string, params *mcp.ReadResourceParams, ask Ask) (*oauthclient.Result[mcp.ReadResourceResult], error) {
	return asking(ctx, m, caller, sessionID, "resources/read", params.URI, nil, ask, func(ctx context.Context, client *oauthclient.MCPOAuthClient, a oauthclient.Asking) (*oauthclient.Result[mcp.ReadResourceResult], error) {
		return client.ReadResourceAsking(ctx, params, a)
	})
}
