package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/mcpoauth/mcpoauth/session"
)

// Input is what a request can say about questions to the user, which an MCP server
// may have in the middle of it. Without Ask the server gets no answer of a user.
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

// InputAsked is the data of an "input" event: a question of an MCP server before
// revision 2026-07-28, whose call waits for an [InputAnswer].
type InputAsked struct {
	// InputID names the question.
	InputID string `json:"inputId"`
	// Requests are as in [InputRequired].
	Requests json.RawMessage `json:"requests"`
}

// InputAnswer is the body of POST tool/input.
type InputAnswer struct {
	// SessionID is the session of the call. Required.
	SessionID string `json:"sessionId"`
	// InputID is that of the [InputAsked]. Required.
	InputID string `json:"inputId"`
	// Inputs are as in [Input]. Required.
	Inputs json.RawMessage `json:"inputs"`
}

// InputAnswered is the answer of POST tool/input.
type InputAnswered struct {
	Success bool `json:"success"` // always true
}

// AnswerInput serves POST tool/input: it takes an [InputAnswer], for a call that
// waits on whichever replica, and answers [InputAnswered].
func (h *Handler) AnswerInput(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, endpoint{name: "answer_input", methods: post, run: (*call).answerInput, caller: required, budget: h.requests})
}

func (c *call) answerInput() error {
	var req InputAnswer
	caller, err := c.request(&req, &req.SessionID)
	if err != nil {
		return err
	}
	if err := require("inputId", req.InputID); err != nil {
		return err
	}
	if err := c.h.manager.AnswerInput(c.r.Context(), caller, c.sessionID, req.InputID, req.Inputs); err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, InputAnswered{Success: true})
}

// ask takes what a request says about questions.
func (c *call) ask(in Input) (session.Ask, error) {
	ask, err := in.ask()
	c.asksURL = ask.URL
	return ask, err
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
