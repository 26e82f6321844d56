package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrNotConnected is returned by the methods of [MCPOAuthClient] after
	// Disconnect.
	ErrNotConnected = errors.New("oauthclient: not connected")

	// ErrInvalidCallback is returned by FinishAuth for a response that
	// belongs to no pending attempt, or must not be acted on: an unknown,
	// expired or already used state, or an iss that fails RFC 9207. The error
	// does not say which, so that an attacker learns nothing.
	ErrInvalidCallback = errors.New("oauthclient: invalid authorization callback")

	// ErrNoAttempt is returned by an [AttemptStore] for an attempt that does
	// not exist, has expired or was taken.
	ErrNoAttempt = errors.New("oauthclient: no such authorization attempt")

	// ErrOldTransport is returned for a server that speaks only the HTTP+SSE
	// transport of revision 2024-11-05, which this package does not.
	ErrOldTransport = errors.New("oauthclient: the MCP server speaks only the HTTP+SSE transport of MCP revision 2024-11-05")
)

// AuthorizationRequiredError says that a user must authorize in a browser
// before the call can succeed. Nothing else is wrong: send the user to
// AuthURL, pass what comes back to FinishAuth, and call again.
//
// AuthURL carries the state, so neither Error nor any fmt verb shows it.
type AuthorizationRequiredError struct {
	// AuthURL is the authorization endpoint with all parameters.
	AuthURL string
	// Scopes are the scopes the URL asks for; may be empty.
	Scopes []string
	// AttemptID names the attempt without giving it away: a hash of the
	// state. Safe to log.
	AttemptID string
	// Expires is when the attempt can no longer be finished.
	Expires time.Time
	// Reason says why the user must authorize.
	Reason Reason
}

// Reason says why a user must authorize.
type Reason string

const (
	// ReasonFirstTime means that the connection was never authorized.
	ReasonFirstTime Reason = "first_time"
	// ReasonExpired means that the authorization has ended by time.
	ReasonExpired Reason = "expired"
	// ReasonRevoked means that the authorization server does not renew the
	// authorization, or that the MCP server rejects a token before its end.
	ReasonRevoked Reason = "revoked"
	// ReasonMoreScopes means that what was asked for needs more scopes.
	ReasonMoreScopes Reason = "more_scopes"
	// ReasonTokenRejected means that the MCP server rejects a token that was
	// just issued. If it does so again after the user has authorized, the
	// answer is [*TokenRejectedError].
	ReasonTokenRejected Reason = "token_rejected"
	// ReasonRequested means that [OAuthProvider.Reauthorize] was called.
	ReasonRequested Reason = "requested"
)

func (e *AuthorizationRequiredError) Error() string {
	if len(e.Scopes) == 0 {
		return "oauthclient: authorization required"
	}
	return fmt.Sprintf("oauthclient: authorization required for scopes %q", strings.Join(e.Scopes, " "))
}

// MarshalJSON leaves AuthURL out, so that it cannot get into a log by way of a
// struct that holds the error. Send the field itself to the browser.
func (e AuthorizationRequiredError) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"error": e.Error(), "scopes": e.Scopes, "attemptId": e.AttemptID, "expires": e.Expires, "reason": e.Reason})
}

// Format implements [fmt.Formatter]; it never shows AuthURL.
func (e AuthorizationRequiredError) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.Error())) }

// TemporaryError says that a server could not be reached, or has a problem that
// may pass: a time-out, a broken connection, a 5xx, 408 or 429. Credentials are
// kept; the same call may succeed later.
type TemporaryError struct {
	// Op says what was attempted, such as "refreshing the access token".
	Op string
	// Server is the host of the authorization server, or of the metadata document,
	// that was asked. It is empty when no such request failed.
	Server string
	// StatusCode is the HTTP status, or 0 when there was no answer.
	StatusCode int
	// RetryAfter is what the server asked for, or 0.
	RetryAfter time.Duration
	// Timeout means that the time for the operation ran out.
	Timeout bool
	// NotExecuted means that the MCP server certainly executed nothing of a call of
	// [MCPOAuthClient], such as CallTool: the call was not sent, or was refused.
	// Without it, the server may have executed the call.
	NotExecuted bool
	// Err is the cause, such as the server's own error text; may be nil.
	Err error
}

func (e *TemporaryError) Error() string {
	msg := "oauthclient: " + opAt(e.Op, e.Server) + ": "
	switch {
	case e.StatusCode != 0:
		msg += fmt.Sprintf("HTTP status %d", e.StatusCode)
	case e.Timeout:
		msg += "timed out"
	default:
		msg += "temporary failure"
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *TemporaryError) Unwrap() error { return e.Err }

// opAt says what was attempted, and where.
func opAt(op, server string) string {
	if strings.Contains(op, server) { // such as "fetching" and a URL
		return op
	}
	return op + " at " + server
}

// AuthorizationError is a refusal by the authorization server, in an
// authorization response (RFC 6749 section 4.1.2.1), a token response (section
// 5.2) or a registration response (RFC 7591 section 3.2.2).
type AuthorizationError struct {
	// Code is the error code, such as "access_denied" or "invalid_grant".
	Code string
	// Description is the server's own text: untrusted, cut to 200 bytes of
	// printable text, with anything secret that we sent taken out.
	Description string
	// Server is the host that answered a request. It is empty for an authorization
	// response, which the browser brings.
	Server string
}

func (e *AuthorizationError) Error() string {
	msg := "oauthclient: the authorization server"
	if e.Server != "" {
		msg += " " + e.Server
	}
	msg += " answered " + e.Code
	if e.Description != "" {
		msg += ": " + e.Description
	}
	return msg
}

// InsufficientScopeError says that the MCP server asked again for scopes for
// which the user has just authorized: asking once more would loop. The account
// lacks a permission.
type InsufficientScopeError struct {
	// Scopes are the scopes of the repeated challenge; may be empty.
	Scopes []string
}

func (e *InsufficientScopeError) Error() string {
	return fmt.Sprintf("oauthclient: the MCP server still asks for scopes %q after they were authorized", strings.Join(e.Scopes, " "))
}

// TokenRejectedError says that the MCP server rejects the tokens that its
// authorization server issues: the user has just authorized because of that, and
// the new token was rejected as well. Asking once more would loop. A wrong
// audience and broken introspection are the usual causes, which the MCP server's
// administrator can mend. After 10 minutes the user is asked again.
type TokenRejectedError struct {
	// Resource is the resource indicator that the token was asked for; empty
	// when it was left out.
	Resource string
	// Description is the MCP server's own text: untrusted, cut to 200 bytes of
	// printable text, without the token.
	Description string
}

func (e *TokenRejectedError) Error() string {
	msg := fmt.Sprintf("oauthclient: the MCP server rejects tokens just issued for resource %q", e.Resource)
	if e.Description != "" {
		msg += ": " + e.Description
	}
	return msg
}

// DiscoveryError says that authorization metadata was found but cannot be
// used, or was not found where the specification requires it.
type DiscoveryError struct {
	// Source is the URL of the document, or the issuer.
	Source string
	// Reason says what is wrong with it.
	Reason string
	// Got is the document's value and Want the value that it must match, where
	// two values contradict each other; else both are empty.
	Got, Want string
	// Policy names the field of [ServerPolicy] that accepts the document all
	// the same; empty where none does.
	Policy string
}

func (e *DiscoveryError) Error() string {
	msg := fmt.Sprintf("oauthclient: authorization metadata of %s: %s", e.Source, e.Reason)
	if e.Got != e.Want {
		msg += fmt.Sprintf(": it says %q, want %q", e.Got, e.Want)
	}
	if e.Policy != "" {
		msg += " (see ServerPolicy." + e.Policy + ")"
	}
	return msg
}

// RegistrationRequiredError says that the authorization server offers no way
// to register by itself: register a client there by hand, with this redirect
// URI, and add it to [Config.PreregisteredClients].
type RegistrationRequiredError struct {
	Issuer      string
	RedirectURI string
}

func (e *RegistrationRequiredError) Error() string {
	if e.RedirectURI == "" {
		return fmt.Sprintf("oauthclient: no client for %s: register one there and set Config.PreregisteredClients", e.Issuer)
	}
	return fmt.Sprintf("oauthclient: %s has no usable automatic registration: register a client with redirect URI %s there and set Config.PreregisteredClients", e.Issuer, e.RedirectURI)
}

// StorageError is the failure of a [CredentialStore], [RegistrationStore] or
// [AttemptStore]. Nothing is known about the connection.
type StorageError struct{ Err error }

func (e *StorageError) Error() string { return "oauthclient: storage: " + e.Err.Error() }

func (e *StorageError) Unwrap() error { return e.Err }

// storageError wraps the error of a store. It returns an error of this package,
// which an Update only passes on, and the error of a caller that has given up, as
// they are. A time limit of the store's own is a failure of the store.
func storageError(ctx context.Context, err error) error {
	gaveUp := ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
	if err == nil || gaveUp || ownError(err) != nil || errors.Is(err, errKeep) || errors.Is(err, ErrNoAttempt) || errors.Is(err, ErrNotConnected) || errors.Is(err, ErrForbiddenAddress) {
		return err
	}
	return &StorageError{Err: err}
}

// ResponseLimitError says that the MCP server answered with more than this
// package accepts. The server may have executed the request.
type ResponseLimitError struct {
	// Limit is the field of [Shared] that bounds the answer, such as
	// "MaxResponseBytes", or "nesting" for more than 1,000 levels of JSON.
	Limit string
}

func (e *ResponseLimitError) Error() string {
	return "oauthclient: the MCP server's answer exceeds the limit " + e.Limit
}

// ServerError is an answer that cannot be used and that will not pass by
// itself: an HTTP refusal, a malformed or too large answer, a certificate that
// is not valid. It is of the MCP server, unless Op is set.
type ServerError struct {
	// Op says what was attempted at an authorization server, or with a metadata
	// document, such as "refreshing the access token". It is empty for an
	// answer of the MCP server.
	Op string
	// Server is the host that was asked, with an Op. It is empty where no answer
	// of a server is at fault.
	Server string
	// StatusCode is the HTTP status of a refusal, or 0.
	StatusCode int
	// Reason is a short text without anything secret. With a StatusCode it is
	// the server's own: untrusted, and cut to 200 bytes of printable text.
	Reason string
}

func (e *ServerError) Error() string {
	what := "the answer cannot be used: " + e.Reason
	if e.StatusCode != 0 {
		what = fmt.Sprintf("HTTP status %d", e.StatusCode)
		if e.Reason != "" {
			what += ": " + e.Reason
		}
	}
	switch {
	case e.Op != "":
		return "oauthclient: " + opAt(e.Op, e.Server) + ": " + what
	case e.StatusCode != 0:
		return "oauthclient: the MCP server answered " + what
	default:
		return "oauthclient: the MCP server's answer cannot be used: " + e.Reason
	}
}
