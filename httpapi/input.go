package httpapi

import (
	"encoding/json"

	"github.com/mcpoauth/mcpoauth/session"
)

// Input is what a request can say about questions to the user, which an MCP server
// of revision 2026-07-28 may have in the middle of it. Without Ask the server is
// told that the user cannot be asked.
type Input struct {
	// Ask are the ways in which the front end can ask: "form" and "url".
	Ask []string `json:"ask,omitempty"`
	// Inputs are the answers to an [InputRequired]: an object with an elicitation
	// result, {"action": "accept", "decline" or "cancel", "content"?}, by the name
	// of each question.
	Inputs json.RawMessage `json:"inputs,omitempty"`
	// State is that of the same InputRequired. The other members of the request
	// must be the same, too.
	State string `json:"state,omitempty"`
}

// InputRequired is the answer, with status 202, to a request that can ask. It is
// also the data of an "inputRequired" event, which ends a stream.
type InputRequired struct {
	InputRequired struct {
		// Requests are the questions by name, as the MCP server sent them: requests
		// with method elicitation/create. Of a URL show all, ask before it is
		// opened, and open it without an opener.
		Requests json.RawMessage `json:"requests"`
		// State is sealed, and good for session.Config.InputTTL.
		State string `json:"state"`
	} `json:"inputRequired"`
}

// ask checks what a request says about questions.
func (in Input) ask() (ask session.Ask, err error) {
	for _, mode := range in.Ask {
		switch mode {
		case "form":
			ask.Form = true
		case "url":
			ask.URL = true
		default:
			return ask, invalid(`ask must be a list of "form" and "url".`)
		}
	}
	if given := len(in.Inputs) > 0 && in.Inputs[0] == '{'; given != (in.State != "") || !given && len(in.Inputs) > 0 {
		return ask, invalid("inputs must be an object, and come with state.")
	}
	if in.State != "" {
		if len(in.Ask) == 0 {
			return ask, invalid("inputs need ask.")
		}
		ask.Inputs, ask.State = in.Inputs, in.State
	}
	return ask, nil
}
