package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Response is an answer of the API as a Go client sees it: it is decoded
// first, with [encoding/json], and then asked what it is. At most one of the
// fields is set; none is for an answer that is none of these, such as those of
// auth/status and auth/sessions, which cannot be mistaken and have types of
// their own.
//
// The kinds cannot be confused either: a tool's result is recognized by its
// content, so whatever else an MCP server puts into it, it is never taken for
// a request to open an authorization URL.
//
// Errors are an [ErrorResponse] with a text for a person and a code for a program; 429
// and 503 come with Retry-After. A 5xx other than 500 is about a server further on, and
// 500 is a bug of ours. A tool that ran and failed is a 200 with isError. Tools and
// results pass through as the MCP server wrote them, further members and large numbers
// included, and so does toolArgs in the other direction.
//
// With Accept: text/event-stream, tool/call answers with events: progress
// while the tool runs, then result or error. EventSource cannot send a POST;
// read the stream with fetch. Stopping to read cancels the call.
type Response struct {
	ConnectSuccess   *ConnectSuccess
	AuthRequired     *AuthRequired
	ListToolsSuccess *ListToolsSuccess
	CallToolSuccess  *CallToolSuccess
	Done             *Done
	ErrorResponse    *ErrorResponse

	ListPromptsSuccess           *ListPromptsSuccess
	ListResourcesSuccess         *ListResourcesSuccess
	ListResourceTemplatesSuccess *ListResourceTemplatesSuccess
	GetPromptSuccess             *GetPromptSuccess
	ReadResourceSuccess          *ReadResourceSuccess
	CompleteSuccess              *CompleteSuccess
	InputRequired                *InputRequired
	InputAnswered                *InputAnswered
}

// IsConnectSuccess reports whether r is a [ConnectSuccess].
func IsConnectSuccess(r Response) bool { return r.ConnectSuccess != nil }

// IsConnectAuthRequired reports whether r is an [AuthRequired], of whichever
// call.
func IsConnectAuthRequired(r Response) bool { return r.AuthRequired != nil }

// IsConnectError reports whether r is an [ErrorResponse], of whichever call.
func IsConnectError(r Response) bool { return r.ErrorResponse != nil }

// IsListToolsSuccess reports whether r is a [ListToolsSuccess].
func IsListToolsSuccess(r Response) bool { return r.ListToolsSuccess != nil }

// IsCallToolSuccess reports whether r is a [CallToolSuccess], of a tool that
// may itself report an error.
func IsCallToolSuccess(r Response) bool { return r.CallToolSuccess != nil }

// UnmarshalJSON decodes an answer. It fails only for what is no JSON object,
// or looks like an answer of this API and is not.
func (r *Response) UnmarshalJSON(data []byte) error {
	*r = Response{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("httpapi: response: %w", err)
	}
	var into any
	switch kindOf(members) {
	case kindCallTool:
		r.CallToolSuccess = new(CallToolSuccess)
		into = r.CallToolSuccess
	case kindListTools:
		r.ListToolsSuccess = new(ListToolsSuccess)
		into = r.ListToolsSuccess
	case kindListPrompts:
		r.ListPromptsSuccess = new(ListPromptsSuccess)
		into = r.ListPromptsSuccess
	case kindListResources:
		r.ListResourcesSuccess = new(ListResourcesSuccess)
		into = r.ListResourcesSuccess
	case kindListResourceTemplates:
		r.ListResourceTemplatesSuccess = new(ListResourceTemplatesSuccess)
		into = r.ListResourceTemplatesSuccess
	case kindGetPrompt:
		r.GetPromptSuccess = new(GetPromptSuccess)
		into = r.GetPromptSuccess
	case kindReadResource:
		r.ReadResourceSuccess = new(ReadResourceSuccess)
		into = r.ReadResourceSuccess
	case kindComplete:
		r.CompleteSuccess = new(CompleteSuccess)
		into = r.CompleteSuccess
	case kindAuthRequired:
		r.AuthRequired = new(AuthRequired)
		into = r.AuthRequired
	case kindInput:
		r.InputRequired = new(InputRequired)
		into = r.InputRequired
	case kindAnswered:
		r.InputAnswered = new(InputAnswered)
		into = r.InputAnswered
	case kindConnect:
		r.ConnectSuccess = new(ConnectSuccess)
		into = r.ConnectSuccess
	case kindDone:
		r.Done = new(Done)
		into = r.Done
	case kindError:
		r.ErrorResponse = new(ErrorResponse)
		into = r.ErrorResponse
	default:
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		*r = Response{}
		return fmt.Errorf("httpapi: response: %w", err)
	}
	return nil
}

type kind int

const (
	kindOther kind = iota
	kindCallTool
	kindListTools
	kindListPrompts
	kindListResources
	kindListResourceTemplates
	kindGetPrompt
	kindReadResource
	kindComplete
	kindInput
	kindAnswered
	kindAuthRequired
	kindConnect
	kindDone
	kindError
)

// serverKinds are the answers that an MCP server can put members into, by the
// member that each must have, and how its JSON starts. The first member that is
// there decides.
var serverKinds = []struct {
	member string
	with   byte
	kind   kind
}{
	{"tools", '[', kindListTools},
	{"prompts", '[', kindListPrompts},
	{"resources", '[', kindListResources},
	{"resourceTemplates", '[', kindListResourceTemplates},
	{"messages", '[', kindGetPrompt},
	{"contents", '[', kindReadResource},
	{"completion", '{', kindComplete},
}

// kindOf tells answers apart by their members. What an MCP server can put
// members into is looked for first, so that none of them counts.
func kindOf(members map[string]json.RawMessage) kind {
	is := func(name, literal string) bool { return string(members[name]) == literal }
	has := func(name string) bool { _, ok := members[name]; return ok }
	starts := func(name string, with byte) bool { return bytes.HasPrefix(members[name], []byte{with}) }
	text := func(name string) bool { return starts(name, '"') && !is(name, `""`) }
	if has("content") || has("isError") {
		if starts("content", '[') && (is("isError", "true") || is("isError", "false")) {
			return kindCallTool
		}
		return kindOther
	}
	for _, of := range serverKinds {
		if has(of.member) {
			if starts(of.member, of.with) {
				return of.kind
			}
			return kindOther
		}
	}
	switch {
	case has("inputRequired"):
		if isInputRequired(members["inputRequired"]) {
			return kindInput
		}
	case has("requiresAuth"):
		if is("requiresAuth", "true") && text("authUrl") && !has("success") {
			return kindAuthRequired
		}
	case has("success"):
		switch {
		case !is("success", "true") || has("error"):
		case text("sessionId"):
			return kindConnect
		case text("message"):
			return kindDone
		case !has("sessionId") && !has("message"):
			return kindAnswered
		}
	case text("error") && text("code"):
		return kindError
	}
	return kindOther
}

func isInputRequired(raw json.RawMessage) bool {
	var asked struct {
		Requests map[string]json.RawMessage `json:"requests"`
		State    string                     `json:"state"`
	}
	return json.Unmarshal(raw, &asked) == nil && asked.Requests != nil && asked.State != ""
}
