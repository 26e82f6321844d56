package oauthclient

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Asking says that the caller of an operation can ask the user what the server
// wants to know: on revision 2026-07-28 by calling again with the answers
// (SEP-2322), where the capability is declared with this operation alone, and
// before it by Answer, where [Shared.AskUsers] declares the capability.
type Asking struct {
	// Form and URL are the modes of elicitation that the caller can show.
	Form, URL bool
	// Inputs are the answers to the questions of an [*InputRequiredError]: a JSON
	// object with an elicitation result by the name of each question. Nil for the
	// first call.
	Inputs json.RawMessage
	// State is that of the same error.
	State json.RawMessage
	// Answer asks the user what a server before revision 2026-07-28 wants to know
	// in the middle of a tool call. It gets the parameters of elicitation/create as
	// the server sent them and returns an elicitation result. Its context ends
	// with the call, and when the server withdraws the question. Calls that share an
	// MCP session may get each other's questions, because some servers do not say
	// which call a question belongs to. Without Answer, and for a mode that the
	// caller cannot show, the server gets the action "cancel".
	Answer func(ctx context.Context, params json.RawMessage) (json.RawMessage, error)
}

// ElicitationModes are the ways in which a front end can ask the user.
type ElicitationModes struct {
	// Form shows a form, and URL a link.
	Form, URL bool
}

// declared returns the members of the capability.
func (m ElicitationModes) declared() map[string]struct{} {
	modes := make(map[string]struct{})
	if m.Form {
		modes["form"] = struct{}{}
	}
	if m.URL {
		modes["url"] = struct{}{}
	}
	return modes
}

// declaredModes returns the modes that capabilities declare. Without any named
// mode it is the form, as before revision 2025-11-25.
func declaredModes(capabilities json.RawMessage) ElicitationModes {
	var declared struct {
		Elicitation map[string]json.RawMessage `json:"elicitation"`
	}
	if json.Unmarshal(capabilities, &declared) != nil || declared.Elicitation == nil {
		return ElicitationModes{}
	}
	_, form := declared.Elicitation["form"]
	_, url := declared.Elicitation["url"]
	return ElicitationModes{Form: form || !url, URL: url}
}

// The revisions in which servers began to ask.
const (
	formVersion = "2025-06-18"
	urlVersion  = "2025-11-25"
)

// lacksDeclaration reports whether a connection was made without a mode that
// asking needs and AskUsers allows.
func (c *MCPOAuthClient) lacksDeclaration(conn *wire.Conn, asking Asking) bool {
	if asking.Answer == nil || conn.Version >= modernVersion {
		return false
	}
	declared, may := declaredModes(conn.Declared), c.cfg.AskUsers
	return asking.Form && may.Form && !declared.Form && conn.Version >= formVersion ||
		asking.URL && may.URL && !declared.URL && conn.Version >= urlVersion
}

// answerFor returns what answers the requests of a server during an operation.
func (c *MCPOAuthClient) answerFor(asking Asking) func(context.Context, string, json.RawMessage) (any, error) {
	return func(ctx context.Context, method string, params json.RawMessage) (any, error) {
		if method == "elicitation/create" {
			switch {
			case asking.Answer != nil && asking.shows(params):
				return asking.Answer(ctx, params)
			case c.cfg.Elicit == nil:
				return map[string]string{"action": "cancel"}, nil
			}
		}
		return c.cfg.answer(ctx, method, params)
	}
}

// shows reports whether the caller can show a question: one in a mode that it
// named, and with an http or https URL if there is one to open.
func (a Asking) shows(params json.RawMessage) bool {
	mode, address := "form", ""
	isObject := wire.Members(params, func(name, value []byte) {
		switch string(name) {
		case "mode":
			mode = string(wire.Unquote(value))
		case "url":
			address = string(wire.Unquote(value))
		}
	})
	switch {
	case !isObject:
		return false
	case mode == "form":
		return a.Form
	case mode == "url":
		u, err := url.Parse(address)
		return a.URL && err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	}
	return false
}

// can reports whether the caller can ask anything.
func (a Asking) can() bool { return a.Form || a.URL }

// InputRequiredError is a server's questions to the user, in the middle of an
// operation of a caller that can ask.
type InputRequiredError struct {
	// Requests are the questions by name, as the server sent them: requests with
	// method elicitation/create.
	Requests json.RawMessage
	// State is the server's requestState, exactly; nil if there is none.
	State json.RawMessage
}

func (e *InputRequiredError) Error() string { return "oauthclient: the server asks the user for input" }

// declare returns the capabilities of one operation, with the modes of a.
func (a Asking) declare(base json.RawMessage) (json.RawMessage, error) {
	members := make(map[string]json.RawMessage)
	if len(base) > 0 {
		if err := json.Unmarshal(base, &members); err != nil {
			return nil, err
		}
	}
	encoded, err := json.Marshal(ElicitationModes{Form: a.Form, URL: a.URL}.declared())
	if err != nil {
		return nil, err
	}
	members["elicitation"] = encoded
	return json.Marshal(members)
}

// askCaller sends a request whose questions its caller answers, in another
// operation.
func (c *MCPOAuthClient) askCaller(ctx context.Context, op *operation, r wire.Request) (json.RawMessage, error) {
	a := op.asking
	var err error
	if op.wire.Capabilities, err = a.declare(c.cfg.capabilities); err != nil {
		return nil, err
	}
	if a.Inputs != nil {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(r.Params, &members); err != nil {
			return nil, err
		}
		members["inputResponses"] = a.Inputs
		if a.State != nil {
			members["requestState"] = a.State
		}
		if r.Params, err = json.Marshal(members); err != nil {
			return nil, err
		}
	}
	result, err := op.request(ctx, r)
	if err != nil || !needsInput(result) {
		return result, err
	}
	return nil, a.required(result)
}

// required returns the questions in a result, or what is wrong with them.
func (a Asking) required(result json.RawMessage) error {
	var asked struct {
		Requests json.RawMessage `json:"inputRequests"`
		State    json.RawMessage `json:"requestState"`
	}
	var questions map[string]json.RawMessage
	if json.Unmarshal(result, &asked) != nil || len(asked.Requests) > 0 && json.Unmarshal(asked.Requests, &questions) != nil {
		return &ServerError{Reason: "its questions are malformed"}
	}
	for _, q := range questions {
		var method, params []byte
		wire.Members(q, func(name, value []byte) {
			switch string(name) {
			case "method":
				method = wire.Unquote(value)
			case "params":
				params = value
			}
		})
		if string(method) != "elicitation/create" || !a.shows(params) {
			return &ServerError{Reason: "it asks what this caller cannot ask the user"}
		}
	}
	if len(asked.Requests) == 0 {
		asked.Requests = json.RawMessage("{}")
	}
	return &InputRequiredError{Requests: asked.Requests, State: asked.State}
}
