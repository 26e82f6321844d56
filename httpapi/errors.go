package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// The values of [ErrorResponse.Code], with the statuses they come with.
const (
	CodeInvalidRequest       = "invalid_request"          // 400: the request is malformed or incomplete
	CodeInvalidInput         = "invalid_input"            // 400: the answers do not belong to an open question of this call
	CodeInvalidCallback      = "invalid_callback"         // 400: no pending authorization of this browser fits
	CodeAccessDenied         = "access_denied"            // 400: the user said no
	CodeAuthorizationFailed  = "authorization_failed"     // 400 on the callback, else 502: the authorization server refused
	CodeForbiddenServerURL   = "forbidden_server_url"     // 400: the network policy excludes the server
	CodeUnauthenticated      = "unauthenticated"          // 401: the user is not signed in to the host
	CodeCrossOrigin          = "cross_origin"             // 403: sent by another site's page
	CodeInsufficientScope    = "insufficient_scope"       // 403: the user's account lacks a permission
	CodeServerRefused        = "server_refused"           // 403: the MCP server does not allow it
	CodeRefusedByHost        = "refused_by_host"          // 403: this application does not allow the server or the call
	CodeCredentialsRejected  = "credentials_rejected"     // 403: the MCP server does not accept the key of the connection
	CodeNotFound             = "not_found"                // 404: no such route
	CodeSessionNotFound      = "session_not_found"        // 404: no such session, or another owner's
	CodeInputClosed          = "input_closed"             // 409: the question waits for no answer any more
	CodeMethodNotAllowed     = "method_not_allowed"       // 405
	CodeRequestTimeout       = "request_timeout"          // 408: the body took too long to arrive
	CodeBodyTooLarge         = "body_too_large"           // 413
	CodeUnsupportedMediaType = "unsupported_media_type"   // 415
	CodeLimitReached         = "limit_reached"            // 429: too many sessions, or attempts
	CodeRateLimited          = "rate_limited"             // 429: too many requests in a minute, or at the same time
	CodeURLElicitation       = "url_elicitation_required" // 400: the user must visit URLs first
	CodeMCPError             = "mcp_error"                // 400 or 502: the MCP server's own JSON-RPC error
	CodeDiscoveryFailed      = "discovery_failed"         // 502: the authorization metadata cannot be used
	CodeRegistrationRequired = "registration_required"    // 502: a client must be registered by hand
	CodeTokenRejected        = "token_rejected"           // 502: the MCP server rejects tokens that were just issued
	CodeUpstreamError        = "upstream_error"           // 502: an answer that cannot be used
	CodeUpstreamTooLarge     = "upstream_too_large"       // 502: an answer that exceeds a limit
	CodeUnsupportedTransport = "unsupported_transport"    // 502: the server speaks only the HTTP+SSE transport of 2024-11-05
	CodeUpstreamUnavailable  = "upstream_unavailable"     // 502 or 503: no answer, or "try later"
	CodeStoreUnavailable     = "store_unavailable"        // 503: the session store is away
	CodeShuttingDown         = "shutting_down"            // 503: this replica stops, or gave the session up
	CodeUpstreamTimeout      = "upstream_timeout"         // 504
	CodeInternal             = "internal"                 // 500: a bug; see the log
)

// statusClientGone is nginx's status for a client that did not wait. No client
// gets it; it is for the host's access log.
const statusClientGone = 499

// failure is an error with the answer for the client. Only the log shows the cause.
type failure struct {
	status     int
	code, text string
	retryAfter time.Duration
	rpcCode    *int64
	rpcData    json.RawMessage
	cause      error
}

// Error is for the log.
func (f *failure) Error() string {
	if f.cause != nil {
		return "httpapi: " + f.code + ": " + f.cause.Error()
	}
	return "httpapi: " + f.code + ": " + f.text
}

// Unwrap gives the cause, so that a failure can be found in a chain and looked
// into like any other error.
func (f *failure) Unwrap() error { return f.cause }

// because returns a copy with a cause.
func (f failure) because(cause error) *failure {
	f.cause = cause
	return &f
}

// response is all that a client sees.
func (f *failure) response() ErrorResponse {
	return ErrorResponse{Error: f.text, Code: f.code, RPCCode: f.rpcCode, RPCData: f.rpcData}
}

// The failures of a request itself, before anybody else is asked. They are
// never changed; because makes copies.
var (
	errNoRoute         = &failure{status: http.StatusNotFound, code: CodeNotFound, text: "There is nothing here."}
	errMethod          = &failure{status: http.StatusMethodNotAllowed, code: CodeMethodNotAllowed, text: "This method is not allowed here."}
	errCrossOrigin     = &failure{status: http.StatusForbidden, code: CodeCrossOrigin, text: "Requests from other sites are not allowed."}
	errUnauthenticated = &failure{status: http.StatusUnauthorized, code: CodeUnauthenticated, text: "Sign in first."}
	errQueryTooLong    = &failure{status: http.StatusBadRequest, code: CodeInvalidRequest, text: "The query is too long."}
	errBodyTooLarge    = &failure{status: http.StatusRequestEntityTooLarge, code: CodeBodyTooLarge, text: "The request body is too large."}
	errMediaType       = &failure{status: http.StatusUnsupportedMediaType, code: CodeUnsupportedMediaType, text: "The request body must be application/json."}
	errSlowBody        = &failure{status: http.StatusRequestTimeout, code: CodeRequestTimeout, text: "The request body took too long to arrive."}
	errHost            = &failure{status: http.StatusForbidden, code: CodeCrossOrigin, text: "This host name is not the one of this application."}
	errSessionNotFound = &failure{status: http.StatusNotFound, code: CodeSessionNotFound, text: "There is no such session. Connect again."}
)

// invalid is a mistake in the request; text says which.
func invalid(text string) *failure {
	return &failure{status: http.StatusBadRequest, code: CodeInvalidRequest, text: text}
}

// failureOf returns the failure for an error: this is the one table.
// An *AuthorizationRequiredError is not in it, because it is no failure. On a
// callback the authorization server's refusal is the user's, elsewhere it is
// the server's.
func failureOf(err error, onCallback bool) *failure {
	if own, ok := errors.AsType[*failure](err); ok {
		return own
	}
	for _, entry := range []func(error, bool) *failure{sessionFailure, authorizationFailure, upstreamFailure} {
		if f := entry(err, onCallback); f != nil {
			f.cause = err
			return f
		}
	}
	return &failure{status: http.StatusInternalServerError, code: CodeInternal, text: "Something went wrong here.", cause: err}
}

// retrySoon is the Retry-After for a failure that may soon be over.
const retrySoon = 5 * time.Second

// sessionFailure maps the errors of package session and of the request's own
// context.
func sessionFailure(err error, _ bool) *failure {
	if refused, ok := errors.AsType[*session.RefusedError](err); ok {
		f := &failure{status: http.StatusForbidden, code: CodeRefusedByHost, text: "This application does not allow this."}
		if refused.Text != "" {
			f.text = refused.Text
		}
		return f
	}
	if input, ok := errors.AsType[*session.InputError](err); ok {
		return invalid(jsonField(input.Field) + " " + input.Reason + ".")
	}
	if limit, ok := errors.AsType[*session.LimitError](err); ok {
		f := &failure{status: http.StatusTooManyRequests, code: CodeLimitReached, text: "There are too many sessions. Disconnect one, or try again later.", retryAfter: time.Minute}
		if limit.Limit == "MaxAttemptsPerSession" {
			f.text = "There are too many unfinished authorizations of this session. Finish one, or try again later."
		}
		return f
	}
	if input, ok := errors.AsType[*session.InvalidInputError](err); ok {
		return &failure{status: http.StatusBadRequest, code: CodeInvalidInput, text: "The answer does not fit the question" + fieldName(input.Field) + "."}
	}
	_, store := errors.AsType[*session.StoreError](err)
	_, storage := errors.AsType[*oauthclient.StorageError](err)
	switch {
	case errors.Is(err, session.ErrInputClosed):
		return &failure{status: http.StatusConflict, code: CodeInputClosed, text: "This question waits for no answer any more."}
	case errors.Is(err, session.ErrInvalidInput):
		return &failure{status: http.StatusBadRequest, code: CodeInvalidInput, text: "These answers do not belong to an open question of this call. Call again without them."}
	case errors.Is(err, session.ErrNotFound), errors.Is(err, oauthclient.ErrNotConnected):
		return errSessionNotFound.because(nil) // not connected: disconnected while the call was on its way
	case store || storage:
		return &failure{status: http.StatusServiceUnavailable, code: CodeStoreUnavailable, text: "Sessions cannot be reached right now. Try again soon.", retryAfter: retrySoon}
	case errors.Is(err, session.ErrClosed), errors.Is(err, context.Canceled):
		return &failure{status: http.StatusServiceUnavailable, code: CodeShuttingDown, text: "The request was interrupted. Try again.", retryAfter: time.Second}
	}
	return nil
}

// authorizationFailure maps the errors on the way to a token.
func authorizationFailure(err error, onCallback bool) *failure {
	if errors.Is(err, oauthclient.ErrInvalidCallback) {
		return &failure{status: http.StatusBadRequest, code: CodeInvalidCallback, text: "This authorization is unknown, has expired, was completed before, or was begun in another browser. Connect again."}
	}
	// One answer, so that a caller cannot find out which names exist inside.
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound || errors.Is(err, oauthclient.ErrForbiddenAddress) {
		return &failure{status: http.StatusBadRequest, code: CodeForbiddenServerURL, text: "This server cannot be used: its address, or one that it refers to, is not known or not allowed here."}
	}
	if refused, ok := errors.AsType[*oauthclient.AuthorizationError](err); ok {
		f := &failure{status: http.StatusBadGateway, code: CodeAuthorizationFailed, text: "The authorization server refused" + errorName(refused.Code) + "."}
		if onCallback {
			f.status = http.StatusBadRequest
			if refused.Code == "access_denied" {
				f.code, f.text = CodeAccessDenied, "Access was denied."
			}
		}
		return f
	}
	if _, ok := errors.AsType[*oauthclient.CredentialsRejectedError](err); ok {
		return &failure{status: http.StatusForbidden, code: CodeCredentialsRejected, text: "The server does not accept the key of this connection. Connect again with another one."}
	}
	_, assertion := errors.AsType[*oauthclient.AssertionError](err)
	_, headers := errors.AsType[*oauthclient.HeadersError](err)
	if assertion || headers {
		return &failure{status: http.StatusBadGateway, code: CodeAuthorizationFailed, text: "This application could not prove who you are. Sign in again."}
	}
	if _, ok := errors.AsType[*oauthclient.RegistrationRequiredError](err); ok {
		return &failure{status: http.StatusBadGateway, code: CodeRegistrationRequired, text: "This server needs a client that is registered by hand. Ask the administrator of this application."}
	}
	if _, ok := errors.AsType[*oauthclient.DiscoveryError](err); ok {
		return &failure{status: http.StatusBadGateway, code: CodeDiscoveryFailed, text: "The server's authorization settings cannot be used. Ask the administrator of this application."}
	}
	if _, ok := errors.AsType[*oauthclient.TokenRejectedError](err); ok {
		return &failure{status: http.StatusBadGateway, code: CodeTokenRejected, text: "The server rejects the authorization that it was just given. Its administrator can help."}
	}
	if _, ok := errors.AsType[*oauthclient.InsufficientScopeError](err); ok {
		return &failure{status: http.StatusForbidden, code: CodeInsufficientScope, text: "Your account at the server lacks a permission that this needs."}
	}
	return nil
}

// upstreamFailure maps what the MCP server, or the network, did.
func upstreamFailure(err error, _ bool) *failure {
	if rpc, ok := errors.AsType[*jsonrpc.Error](err); ok {
		f := &failure{status: http.StatusBadGateway, code: CodeMCPError, text: rpcText(rpc.Message), rpcCode: new(rpc.Code)}
		if len(rpc.Data) <= maxRPCData && json.Valid(rpc.Data) {
			f.rpcData = rpc.Data
		}
		switch rpc.Code {
		case codeURLElicitation:
			f.status = http.StatusBadRequest
		case jsonrpc.CodeInvalidRequest, jsonrpc.CodeMethodNotFound, jsonrpc.CodeInvalidParams:
			f.status = http.StatusBadRequest
		}
		return f
	}
	if temporary, ok := errors.AsType[*oauthclient.TemporaryError](err); ok {
		return temporaryFailure(temporary)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return temporaryFailure(&oauthclient.TemporaryError{Timeout: true})
	}
	if limit, ok := errors.AsType[*oauthclient.ResponseLimitError](err); ok {
		return &failure{status: http.StatusBadGateway, code: CodeUpstreamTooLarge, text: limitText(limit.Limit)}
	}
	if errors.Is(err, oauthclient.ErrOldTransport) {
		return &failure{status: http.StatusBadGateway, code: CodeUnsupportedTransport, text: "This server speaks only an old transport of MCP (HTTP+SSE, revision 2024-11-05), which is not supported. Ask its operator for the address of its Streamable HTTP endpoint."}
	}
	if server, ok := errors.AsType[*oauthclient.ServerError](err); ok {
		if server.Op != "" {
			return &failure{status: http.StatusBadGateway, code: CodeUpstreamError, text: "The authorization server's answer cannot be used."}
		}
		if server.StatusCode == http.StatusForbidden {
			return &failure{status: http.StatusForbidden, code: CodeServerRefused, text: "The server does not allow this."}
		}
		return &failure{status: http.StatusBadGateway, code: CodeUpstreamError, text: "The server's answer cannot be used."}
	}
	return nil
}

// codeURLElicitation is the JSON-RPC error of a server that needs the user to
// visit URLs before it does what it is asked for (revision 2025-11-25).
const codeURLElicitation = -32042

// visitable reports whether the data of such an error have URLs, all of which a
// person can open. Names count as they are spelled, as for the front end.
func visitable(data json.RawMessage) bool {
	var members map[string]json.RawMessage
	var elicitations []map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil || json.Unmarshal(members["elicitations"], &elicitations) != nil {
		return false
	}
	for _, e := range elicitations {
		var address string
		if json.Unmarshal(e["url"], &address) != nil {
			return false
		}
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return false
		}
	}
	return len(elicitations) > 0
}

// fieldName shows the name of a form's member, which is the MCP server's text.
func fieldName(name string) string {
	if name == "" || len(name) > maxRPCText {
		return ""
	}
	return ": " + rpcText(name)
}

// temporaryFailure maps what may be different next time. Only a server that
// says so itself is worth a Retry-After.
func temporaryFailure(err *oauthclient.TemporaryError) *failure {
	wait := err.RetryAfter
	if wait <= 0 {
		wait = retrySoon
	}
	switch {
	case err.Timeout:
		return &failure{status: http.StatusGatewayTimeout, code: CodeUpstreamTimeout, text: timeoutText(err)}
	case err.StatusCode == http.StatusTooManyRequests || err.StatusCode == http.StatusServiceUnavailable:
		return &failure{status: http.StatusServiceUnavailable, code: CodeUpstreamUnavailable, text: "The server is busy. Try again later.", retryAfter: wait}
	}
	return &failure{status: http.StatusBadGateway, code: CodeUpstreamUnavailable, text: "The server cannot be reached, or has a problem. Try again later."}
}

// timeoutText says who took too long, and what became of the call.
func timeoutText(err *oauthclient.TemporaryError) string {
	text := "The server took too long to answer."
	if err.Server != "" {
		text = "The authorization server took too long to answer."
	}
	if err.NotExecuted {
		return text + " No tool was called."
	}
	return text + " What it did is not known."
}

// errorName shows an OAuth error code if it looks like one; it is the
// authorization server's text.
func errorName(code string) string {
	if code == "" || len(code) > 40 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return " (" + code + ")"
}

// limitText says which limit an answer exceeds.
func limitText(limit string) string {
	switch limit {
	case "MaxTools":
		return "The server lists more than this application accepts."
	case "MaxResponseBytes":
		return "The server's answer is larger than this application accepts. Ask for less."
	}
	return "The server's answer is nested deeper than this application accepts."
}

// Bounds of what an answer repeats of the MCP server's JSON-RPC error.
const (
	maxRPCText = 500
	maxRPCData = 16 << 10
)

// rpcText makes a JSON-RPC error message fit for a person: it is all that says
// what is wrong with a call, and it is the MCP server's.
func rpcText(message string) string {
	if len(message) > maxRPCText {
		message = strings.ToValidUTF8(message[:maxRPCText], "") + "…"
	}
	message = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, message))
	if message == "" {
		return "The server answered with an error."
	}
	return message
}

// jsonField names fields of [session.ConnectParams] as requests do.
func jsonField(field string) string {
	return strings.NewReplacer("ServerURL", "serverUrl", "CallbackURL", "callbackUrl", "ServerName", "serverName", "args", "toolArgs", "Headers", "headers").Replace(field)
}
