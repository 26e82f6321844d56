package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// maxRounds bounds how often a server may ask for input during one operation.
const maxRounds = 10

// errMethodNotFound is the answer to what no function is configured for.
var errMethodNotFound = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "Method not found"}

// answer answers a request of the server with the function of [Shared] that is
// for it.
func (s *shared) answer(ctx context.Context, method string, params json.RawMessage) (any, error) {
	switch method {
	case "elicitation/create":
		result, err := answerWith(ctx, s.Elicit, params)
		if answer, ok := result.(*mcp.ElicitResult); ok && err == nil {
			return withDefaults(answer, params), nil
		}
		return result, err
	case "sampling/createMessage":
		return answerWith(ctx, s.CreateMessage, params)
	case "roots/list":
		return answerWith(ctx, s.ListRoots, params)
	}
	return nil, errMethodNotFound
}

// withDefaults fills in the defaults of the form that a user has left out
// (SEP-1034).
func withDefaults(answer *mcp.ElicitResult, params json.RawMessage) *mcp.ElicitResult {
	var form struct {
		Schema struct {
			Properties map[string]struct {
				Default json.RawMessage `json:"default"`
			} `json:"properties"`
		} `json:"requestedSchema"`
	}
	if answer.Action != "accept" || json.Unmarshal(params, &form) != nil {
		return answer
	}
	filled := *answer
	filled.Content = maps.Clone(answer.Content)
	for name, property := range form.Schema.Properties {
		if _, given := filled.Content[name]; !given && len(property.Default) > 0 {
			if filled.Content == nil {
				filled.Content = make(map[string]any)
			}
			filled.Content[name] = property.Default
		}
	}
	return &filled
}

func answerWith[P, R any](ctx context.Context, fn func(context.Context, *P) (*R, error), params json.RawMessage) (any, error) {
	if fn == nil {
		return nil, errMethodNotFound
	}
	p := new(P)
	if len(params) > 0 && json.Unmarshal(params, p) != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "Invalid params"}
	}
	result, err := fn(ctx, p)
	if err != nil {
		if rpc, ok := errors.AsType[*jsonrpc.Error](err); ok {
			return nil, rpc
		}
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "The client cannot answer"}
	}
	return result, nil
}

// ask sends a request that a server may answer with questions (SEP-2322): it
// answers them and sends the request again with the answers, until there is a
// result.
func (c *MCPOAuthClient) ask(ctx context.Context, op *operation, r wire.Request) (json.RawMessage, error) {
	if op.asking.can() && op.connection.conn().Version >= modernVersion {
		return c.askCaller(ctx, op, r)
	}
	original := r.Params
	for range maxRounds {
		result, err := op.request(ctx, r)
		if err != nil || op.connection.conn().Version < modernVersion || !needsInput(result) {
			return result, err
		}
		if r.Params, err = c.withAnswers(ctx, original, result); err != nil {
			return nil, err
		}
	}
	return nil, &ServerError{Reason: "it asks for input again and again"}
}

// needsInput reports whether a result is a list of questions.
func needsInput(result json.RawMessage) bool {
	return stringMember(result, "resultType") == "input_required"
}

// withAnswers adds the answers to the questions in a result to the parameters of
// the request.
func (c *MCPOAuthClient) withAnswers(ctx context.Context, params, result json.RawMessage) (json.RawMessage, error) {
	var asked struct {
		Requests map[string]struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		} `json:"inputRequests"`
		State json.RawMessage `json:"requestState"`
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(result, &asked) != nil || json.Unmarshal(params, &members) != nil {
		return nil, &ServerError{Reason: "its questions are malformed"}
	}
	answers := make(map[string]any, len(asked.Requests))
	for name, question := range asked.Requests {
		answer, err := c.cfg.answer(ctx, question.Method, question.Params)
		if err != nil {
			return nil, &ServerError{Reason: "it asks the user, and this client cannot"}
		}
		answers[name] = answer
	}
	encoded, err := json.Marshal(answers)
	if err != nil {
		return nil, err
	}
	members["inputResponses"] = encoded
	if len(asked.State) > 0 {
		members["requestState"] = asked.State
	}
	return json.Marshal(members)
}
