package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

// Observer sees the work of a host's connections, for metrics and traces. It sees
// no secret and no text of a server. Its methods are called in the goroutine that
// does the work, often at once by many, and must return soon.
//
// Package session/otelsession has one for OpenTelemetry.
type Observer interface {
	// Start is called when work begins. The work goes on with the returned
	// context. When it ends, the returned function is called once.
	Start(ctx context.Context, work Work) (context.Context, func(Outcome))
	// Inject calls set for each field that carries the trace context of ctx to
	// a server, such as traceparent. The fields go into the header of HTTP
	// requests and into the _meta member of MCP requests (SEP-414).
	Inject(ctx context.Context, set func(name, value string))
}

// WorkKind is a kind of [Work].
type WorkKind string

const (
	// WorkEndpoint is a request to an endpoint of package httpapi. Name is that
	// of the endpoint, such as "call_tool". The Outcome has the status, and the
	// code of the answer as ErrorType.
	WorkEndpoint WorkKind = "endpoint"
	// WorkSession is a method of [session.Manager]: "connect",
	// "finish_authorization" or "disconnect".
	//
	// [session.Manager]: https://pkg.go.dev/github.com/mcpoauth/mcpoauth/session#Manager
	WorkSession WorkKind = "session"
	// WorkAuthorization is an authorization attempt that begins, which takes no
	// time. The Outcome has the Reason.
	WorkAuthorization WorkKind = "authorization"
	// WorkMCP is one MCP request. Name is its method, Target the name of the
	// tool or prompt.
	WorkMCP WorkKind = "mcp"
	// WorkRefresh is a refresh of an access token, without the wait for another
	// replica that refreshes.
	WorkRefresh WorkKind = "refresh"
	// WorkHTTP is one HTTP request that leaves the process, up to the header of
	// the answer for MCP servers. Name is the HTTP method, Target says what it
	// is for, such as "exchanging the authorization code", and is empty for MCP.
	WorkHTTP WorkKind = "http"
	// WorkStore is one operation of the session store. Name is "get", "swap",
	// "extend", "delete" or "lock", Target the kind of record, such as "session".
	WorkStore WorkKind = "store"
	// WorkDecode is a session record that the replica did not have decoded in
	// memory, and takes no time here. A read of a session without it is a hit of
	// the cache.
	WorkDecode WorkKind = "decode"
)

// Work is what an [Observer] sees of work that begins.
type Work struct {
	Kind WorkKind
	// Name and Target say what is done; see [WorkKind]. A host's code and
	// constants of this module choose Name. Clients of the host may choose
	// Target, and the Server.
	Name, Target string
	// Server is the host of the server, with a port unless that is the default,
	// or empty.
	Server string
	// Version is the protocol revision of MCP, or empty.
	Version string
}

// Outcome is what an [Observer] sees of work that has ended.
type Outcome struct {
	// ErrorType is a short name of a failure, one of few; see [ErrorType]. Empty
	// for success.
	ErrorType string
	// Status is the HTTP status, or 0.
	Status int
	// Reason says why a user must authorize, or empty.
	Reason Reason
}

// observe begins work. observer may be nil.
func observe(ctx context.Context, observer Observer, work Work) (context.Context, func(Outcome)) {
	if observer == nil {
		return ctx, func(Outcome) {}
	}
	return observer.Start(ctx, work)
}

// observeHTTP begins the HTTP request req, and adds the trace context to its
// header. The returned function takes the answer.
func (c *config) observeHTTP(req *http.Request, op string) (*http.Request, func(*http.Response, error)) {
	log := func(*http.Response, error) {}
	if c.Logger.Enabled(req.Context(), slog.LevelDebug) {
		log = c.debugHTTP(req, op)
	}
	if c.Observer == nil {
		return req, log
	}
	ctx, end := c.Observer.Start(req.Context(), Work{Kind: WorkHTTP, Name: req.Method, Target: op, Server: req.URL.Host})
	req = req.WithContext(ctx)
	c.Observer.Inject(ctx, req.Header.Set)
	return req, func(resp *http.Response, err error) {
		log(resp, err)
		var out Outcome
		switch {
		case err != nil:
			out.ErrorType = ErrorType(networkError(op, err))
		case resp.StatusCode >= 400:
			out.ErrorType = statusType(resp.StatusCode)
		}
		if resp != nil {
			out.Status = resp.StatusCode
		}
		end(out)
	}
}

// observeMCP returns what observes the MCP requests of a [wire.Client], or nil.
func (c *config) observeMCP() wire.Observe {
	if c.Observer == nil {
		return nil
	}
	server := ServerHost(c.ServerURL)
	return func(ctx context.Context, r wire.Request, version string) (context.Context, map[string]string, func(json.RawMessage, error)) {
		ctx, end := c.Observer.Start(ctx, Work{Kind: WorkMCP, Name: r.Method, Target: r.Name, Server: server, Version: version})
		meta := make(map[string]string)
		c.Observer.Inject(ctx, func(name, value string) { meta[name] = value })
		return ctx, meta, func(result json.RawMessage, err error) {
			out := Outcome{ErrorType: ErrorType(err), Reason: reasonOf(err)}
			if err == nil && r.Method == "tools/call" && isToolError(result) {
				out.ErrorType = "tool_error"
			}
			end(out)
		}
	}
}

// isToolError reports whether the result of a tool says that the tool failed.
func isToolError(result json.RawMessage) bool {
	var r struct {
		IsError bool `json:"isError"`
	}
	return json.Unmarshal(result, &r) == nil && r.IsError
}

// ServerHost returns the host of a server's URL, with the port that the URL has,
// for logs, metrics and audits: the path and the query may hold a key.
func ServerHost(serverURL string) string {
	u, err := url.Parse(serverURL)
	if err != nil {
		return ""
	}
	return u.Host
}

// reasonOf returns why an error asks the user to authorize, or "".
func reasonOf(err error) Reason {
	if required, ok := errors.AsType[*AuthorizationRequiredError](err); ok {
		return required.Reason
	}
	return ""
}

// ErrorType returns a short name for an error of this package, one of few, for a
// metric or an audit: "" for nil, an HTTP status or JSON-RPC code such as "503" or
// "-32602", or a name such as "authorization_required". For an error that it does
// not know it returns "_OTHER".
func ErrorType(err error) string {
	if err == nil {
		return ""
	}
	if name := ownErrorType(err); name != "" {
		return name
	}
	switch {
	case errors.Is(err, ErrInvalidCallback):
		return "invalid_callback"
	case errors.Is(err, ErrForbiddenAddress):
		return "forbidden_address"
	case errors.Is(err, ErrNotConnected):
		return "not_connected"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errCallTimeout):
		return "timeout"
	case errors.Is(err, wire.ErrBroken):
		return "connection_broken"
	case errors.Is(err, wire.ErrTooLarge), errors.Is(err, wire.ErrTooDeep):
		return "response_limit"
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrRedirect), errors.Is(err, wire.ErrOldTransport), errors.Is(err, ErrOldTransport), errors.Is(err, wire.ErrNoVersion):
		return "invalid_answer"
	}
	return "_OTHER"
}

// ownErrorType is ErrorType for the errors that are structs.
func ownErrorType(err error) string {
	if status, ok := errors.AsType[*wire.StatusError](err); ok {
		return statusType(status.Status)
	}
	switch e := ownError(err).(type) {
	case *AuthorizationRequiredError:
		return "authorization_required"
	case *TemporaryError:
		switch {
		case e.StatusCode != 0:
			return statusType(e.StatusCode)
		case e.Timeout:
			return "timeout"
		}
		return "network"
	case *ServerError:
		if e.StatusCode != 0 {
			return statusType(e.StatusCode)
		}
		return "invalid_answer"
	case *AuthorizationError:
		return refusalType(e.Code)
	case *jsonrpc.Error:
		return rpcType(e.Code)
	case *HeadersError:
		return "invalid_headers"
	case *CredentialsRejectedError:
		return "credentials_rejected"
	case *InsufficientScopeError:
		return "insufficient_scope"
	case *TokenRejectedError:
		return "token_rejected"
	case *RegistrationRequiredError:
		return "registration_required"
	case *DiscoveryError:
		return "discovery_failed"
	case *StorageError:
		return "store"
	case *ResponseLimitError:
		return "response_limit"
	case *InputRequiredError:
		return "input_required"
	case *AssertionError:
		return "assertion_failed"
	}
	return ""
}

// statusType returns an HTTP status as text, if it is one.
func statusType(status int) string {
	if status < 100 || status > 599 {
		return "_OTHER"
	}
	return strconv.Itoa(status)
}

// refusalType returns an OAuth error code that is registered, or a name for all
// others, of which servers may invent any number.
func refusalType(code string) string {
	switch code {
	case "access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "invalid_target",
		"server_error", "temporarily_unavailable", "unauthorized_client", "unsupported_grant_type", "login_required", "consent_required", "interaction_required":
		return code
	}
	return "authorization_refused"
}

// rpcType returns a JSON-RPC error code of the reserved range as text, or a name
// for all others.
func rpcType(code int64) string {
	if code < -32768 || code > -32000 {
		return "rpc_error"
	}
	return strconv.FormatInt(code, 10)
}
