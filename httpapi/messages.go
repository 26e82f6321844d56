package httpapi

import (
	"encoding/json"
	"fmt"
	"time"
)

// ConnectRequest is the body of POST auth/connect.
type ConnectRequest struct {
	// SessionID is the session to connect again: members that are left out stay
	// as they are. Defaults to a new session.
	SessionID string `json:"sessionId,omitempty"`
	// ServerURL is the MCP endpoint to connect to. Required for a new session,
	// and unchangeable then.
	ServerURL string `json:"serverUrl,omitempty"`
	// CallbackURL is one of the URLs that Config allows. Defaults to
	// [Handler.CallbackURL].
	CallbackURL string `json:"callbackUrl,omitempty"`
	// ServerName is a name for people. Defaults to the host of ServerURL.
	ServerName string `json:"serverName,omitempty"`
	// Headers go to the MCP server with each request: API keys, the ID of a tenant.
	// The host allows their names in session.Config. They are stored sealed and
	// returned nowhere. Of a session that is connected again they replace all
	// headers, and {} removes them. Defaults to none.
	Headers map[string]string `json:"headers,omitzero"`
	// Fresh makes a new client registration, for a user who says that the
	// sign-in page shows an error: many authorization servers show a forgotten
	// client only there. A registration is replaced once in 10 minutes at most.
	Fresh bool `json:"fresh,omitempty"`
}

// Format implements [fmt.Formatter], because of Headers.
func (r ConnectRequest) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("httpapi.ConnectRequest"))
}

// ConnectSuccess says that the session is connected.
type ConnectSuccess struct {
	// Success is true.
	Success bool `json:"success"`
	// SessionID is the key to the session, for every further request.
	// It alone gives the session, unless the host has Identify.
	SessionID string `json:"sessionId"`
}

// AuthRequired says, with status 401, that the user must authorize: open
// AuthURL in a browser, wait for the callback page's message or poll
// auth/status, then go on with SessionID. Every call may be answered with it,
// also on a session that worked so far.
type AuthRequired struct {
	// RequiresAuth is true.
	RequiresAuth bool `json:"requiresAuth"`
	// AuthURL is good for one authorization, in the same browser. It is
	// confidential.
	AuthURL   string `json:"authUrl"`
	SessionID string `json:"sessionId,omitempty"`
	// AttemptID names this authorization, for auth/status; it gives nothing
	// away.
	AttemptID string `json:"attemptId,omitempty"`
	// Reason says why, as one of the values of [oauthclient.Reason].
	Reason string `json:"reason,omitempty"`
	// Error is a text for a person; absent where nothing went wrong.
	Error string `json:"error,omitempty"`
}

// CallbackRequest is the body of POST auth/callback as JSON. The names are those
// of the parameters in a query or a form (RFC 6749 section 4.1.2). An empty
// member is as if absent.
type CallbackRequest struct {
	Code             string `json:"code,omitempty"`
	State            string `json:"state,omitempty"`
	Iss              string `json:"iss,omitempty"`
	Error            string `json:"error,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`
	// SessionID, if given, must be the session that the state belongs to.
	SessionID string `json:"sessionId,omitempty"`
}

// DisconnectRequest is the body of POST auth/disconnect.
type DisconnectRequest struct {
	// SessionID is the session to end. Required.
	SessionID string `json:"sessionId"`
}

// Done answers a request that has no other result.
type Done struct {
	// Success is true.
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// CallToolRequest is the body of POST tool/call.
type CallToolRequest struct {
	// SessionID is the session to use. Required.
	SessionID string `json:"sessionId"`
	// ToolName is the tool. Required.
	ToolName string `json:"toolName"`
	// ToolArgs is a JSON object, passed on as it is. Defaults to {}.
	ToolArgs json.RawMessage `json:"toolArgs,omitempty"`
	Input
}

// ListToolsSuccess is the answer of GET tool/list.
type ListToolsSuccess struct {
	// Tools are the tools as the MCP server describes them.
	Tools []json.RawMessage `json:"tools"`
	// NextCursor asks for the next page, if the request asked for a page and it
	// is not the last; also in the lists below.
	NextCursor string `json:"nextCursor,omitempty"`
}

// ListPromptsSuccess is the answer of GET prompt/list.
type ListPromptsSuccess struct {
	Prompts    []json.RawMessage `json:"prompts"`
	NextCursor string            `json:"nextCursor,omitempty"`
}

// ListResourcesSuccess is the answer of GET resource/list.
type ListResourcesSuccess struct {
	Resources  []json.RawMessage `json:"resources"`
	NextCursor string            `json:"nextCursor,omitempty"`
}

// ListResourceTemplatesSuccess is the answer of GET resource/templates.
type ListResourceTemplatesSuccess struct {
	ResourceTemplates []json.RawMessage `json:"resourceTemplates"`
	NextCursor        string            `json:"nextCursor,omitempty"`
}

// GetPromptRequest is the body of POST prompt/get.
type GetPromptRequest struct {
	// SessionID is the session to use. Required.
	SessionID string `json:"sessionId"`
	// Name is the prompt. Required.
	Name      string            `json:"name"`
	Arguments map[string]string `json:"arguments,omitempty"`
	Input
}

// GetPromptSuccess is the answer of POST prompt/get: what the MCP server sent,
// further members included.
type GetPromptSuccess struct {
	Description string            `json:"description,omitempty"`
	Messages    []json.RawMessage `json:"messages"`
}

// ReadResourceRequest is the body of POST resource/read.
type ReadResourceRequest struct {
	// SessionID is the session to use. Required.
	SessionID string `json:"sessionId"`
	// URI is the resource. Required.
	URI string `json:"uri"`
	Input
}

// ReadResourceSuccess is the answer of POST resource/read: what the MCP server
// sent, further members included.
type ReadResourceSuccess struct {
	Contents []json.RawMessage `json:"contents"`
}

// CompleteRequest is the body of POST completion.
type CompleteRequest struct {
	// SessionID is the session to use. Required.
	SessionID string `json:"sessionId"`
	// Ref is the prompt ("ref/prompt" and Name) or the resource template
	// ("ref/resource" and URI) whose argument it is. Required.
	Ref struct {
		Type string `json:"type"`
		Name string `json:"name,omitempty"`
		URI  string `json:"uri,omitempty"`
	} `json:"ref"`
	// Argument is what the user has typed so far. Its name is required.
	Argument struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"argument"`
	// Context has the arguments that are known already.
	Context struct {
		Arguments map[string]string `json:"arguments,omitempty"`
	} `json:"context,omitzero"`
}

// CompleteSuccess is the answer of POST completion: what the MCP server sent,
// further members included.
type CompleteSuccess struct {
	Completion json.RawMessage `json:"completion"`
}

// ServerInfo is the answer of GET server: what the MCP server said of itself.
// Instructions are its text, for a model or a person, and not to be trusted.
type ServerInfo struct {
	ProtocolVersion string          `json:"protocolVersion"`
	Info            json.RawMessage `json:"serverInfo"`
	Capabilities    json.RawMessage `json:"capabilities"`
	Instructions    string          `json:"instructions,omitempty"`
}

// CallToolSuccess is the answer of POST tool/call: what the MCP server sent,
// further members included. The tool ran; IsError is its own verdict.
type CallToolSuccess struct {
	Content           []json.RawMessage `json:"content"`
	IsError           bool              `json:"isError"`
	StructuredContent json.RawMessage   `json:"structuredContent,omitempty"`
	Meta              json.RawMessage   `json:"_meta,omitempty"`
}

// ToolProgress is the data of a "progress" event.
type ToolProgress struct {
	ProgressToken any     `json:"progressToken,omitempty"`
	Progress      float64 `json:"progress"`
	// Total is absent when the server does not know it.
	Total   float64 `json:"total,omitempty"`
	Message string  `json:"message,omitempty"`
}

// SessionStatus is the answer of GET auth/status.
type SessionStatus struct {
	SessionID string `json:"sessionId"`
	// Status is one of the values of [session.Status].
	Status    string `json:"status"`
	ServerURL string `json:"serverUrl"`
	// Error says why the last authorization failed, for status "failed".
	Error string `json:"error,omitempty"`
	// Reason says why the user must authorize, as one of the values of
	// [oauthclient.Reason], for status "authorizing" and
	// "authorization_required", and for "failed" if the user has just authorized
	// and that does not suffice for the server.
	Reason string `json:"reason,omitempty"`
	// ExpiresAt is when the session ends unless it is used.
	ExpiresAt time.Time `json:"expiresAt"`
	// Attempt is the authorization that the request named, if it named one.
	Attempt *AttemptStatus `json:"attempt,omitempty"`
	// Version is another text when the rest of the answer is another one, but for
	// ExpiresAt: what since= takes. Only in the answer of auth/status.
	Version string `json:"version,omitempty"`
}

// AttemptStatus tells how one authorization stands. The session's status alone
// does not: a session may be connected while its user is away allowing more.
type AttemptStatus struct {
	// Status is one of the values of [session.AttemptStatus].
	Status string `json:"status"`
	// Code is [CodeAccessDenied] or [CodeAuthorizationFailed] for status "failed",
	// and [CodeInvalidCallback] for status "pending" when a callback was refused.
	// Error is a text for a person.
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

// SessionSummary is a session in a [SessionList].
type SessionSummary struct {
	SessionStatus
	ServerName string    `json:"serverName"`
	CreatedAt  time.Time `json:"createdAt"`
	LastUsedAt time.Time `json:"lastUsedAt"`
}

// SessionList is the answer of GET auth/sessions, oldest first.
type SessionList struct {
	Sessions []SessionSummary `json:"sessions"`
}

// ErrorResponse is the answer to a request that failed.
type ErrorResponse struct {
	// Error is a text for a person.
	Error string `json:"error"`
	// Code is one of the Code constants.
	Code string `json:"code"`
	// RPCCode is the MCP server's JSON-RPC error code, for [CodeMCPError] and
	// [CodeURLElicitation].
	RPCCode *int64 `json:"rpcCode,omitempty"`
	// RPCData is the data of the MCP server's JSON-RPC error as it sent them, for
	// the same codes; absent if there are none, or more than 16 KiB. For
	// [CodeURLElicitation] its member elicitations has the URLs that the user must
	// open: show all of each, ask before it is opened, and open it without an
	// opener.
	RPCData json.RawMessage `json:"rpcData,omitempty"`
}
