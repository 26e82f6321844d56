package oauthclient

import (
	"context"
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Asking says that the caller of an operation can ask the user what the server
// wants to know, and call again with the answers (SEP-2322, revision 2026-07-28).
// The capability is declared to the server with this operation alone. Servers of
// older revisions do not see it.
type Asking struct {
	// Form and URL are the modes of elicitation that the caller can show.
	Form, URL bool
	// Inputs are the answers to the questions of an [*InputRequiredError]: a JSON
	// object with an elicitation result by the name of each question. Nil for the
	// first call.
	Inputs json.RawMessage
	// State is that of the same error.
	State json.RawMessage
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
	modes := make(map[string]struct{})
	if a.Form {
		modes["form"] = struct{}{}
	}
	if a.URL {
		modes["url"] = struct{}{}
	}
	encoded, err := json.Marshal(modes)
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
	var questions map[string]struct {
		Method string `json:"method"`
		Params struct {
			Mode string `json:"mode"`
		} `json:"params"`
	}
	if json.Unmarshal(result, &asked) != nil || len(asked.Requests) > 0 && json.Unmarshal(asked.Requests, &questions) != nil {
		return &ServerError{Reason: "its questions are malformed"}
	}
	for _, q := range questions {
		form, url := q.Params.Mode == "" || q.Params.Mode == "form", q.Params.Mode == "url"
		if q.Method != "elicitation/create" || !(form && a.Form || url && a.URL) {
			return &ServerError{Reason: "it asks what this caller cannot ask the user"}
		}
	}
	if len(asked.Requests) == 0 {
		asked.Requests = json.RawMessage("{}")
	}
	return &InputRequiredError{Requests: asked.Requests, State: asked.State}
}
