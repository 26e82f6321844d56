package session

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Status is the state of a session.
type Status string

const (
	// StatusAuthorizing means that the user has been sent to authorize and has
	// not come back yet. It ends with the attempt, after Config.Client.AttemptTTL.
	StatusAuthorizing Status = "authorizing"
	// StatusConnected means that the MCP server has answered on this session.
	StatusConnected Status = "connected"
	// StatusAuthorizationRequired means that the session worked, but the user
	// must authorize again.
	StatusAuthorizationRequired Status = "authorization_required"
	// StatusFailed means that the last attempt ended without success;
	// Info.Reason says why. Using the session, or connecting again, starts over.
	StatusFailed Status = "failed"
	// StatusExpired means that the user was sent to authorize and did not come
	// back in time. Using the session, or connecting again, starts over. A session
	// that was never connected is gone a minute later.
	StatusExpired Status = "expired"
)

// Caller is on whose behalf a method of the [Manager] is called.
type Caller struct {
	// Owner is the host's ID of the user; empty for a host without users of
	// its own, where the session ID is then the only key to a session.
	Owner string
	// Binding ties authorization attempts to the browser that started them:
	// a random value that only this browser presents, such as a cookie's.
	// Empty for none. Only a hash of it is stored.
	Binding string
	// OtherBindings are further values of the same browser, any of which may be
	// the Binding with which an attempt began: a browser whose first requests
	// arrived at the same time has several cookies. Only [Manager.FinishAuth]
	// uses them. Defaults to none.
	OtherBindings []string
}

// Format implements [fmt.Formatter]; it does not show the bindings.
func (c Caller) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "session.Caller{Owner:%q}", c.Owner)
}

// LogValue implements [slog.LogValuer]; it does not show the bindings.
func (c Caller) LogValue() slog.Value { return slog.GroupValue(slog.String("owner", c.Owner)) }

// ConnectParams are the arguments of [Manager.Connect].
type ConnectParams struct {
	// SessionID is the session to connect again. Fields that are left out then
	// stay as they are, and ServerURL must not change. Defaults to a new session.
	SessionID string
	// ServerURL is the MCP endpoint, kept as [oauthclient.NormalizeServerURL]
	// spells it. Required.
	ServerURL string
	// ServerName is a name for people. Defaults to the host of ServerURL.
	ServerName string
	// CallbackURL is the redirect URI. It comes from the host's own
	// configuration, never from a request unchecked. Required where a user
	// authorizes ([oauthclient.Shared.NeedsUser]).
	CallbackURL string
	// Headers go to the MCP server with each request: API keys, the ID of a tenant.
	// Their names are among Config.AllowHeaders and Config.AllowKeyHeaders, and
	// they have at most 8 KiB. They are stored sealed and returned nowhere. Of a
	// session that is connected again they replace all headers; nil leaves them as
	// they are. Defaults to none.
	Headers map[string]oauthclient.Secret
	// FreshRegistration asks the user to authorize with a new dynamic client
	// registration, for a user whose sign-in page shows an error; see
	// [oauthclient.OAuthProvider.Reauthorize].
	FreshRegistration bool
}

// Info describes a session to its owner.
type Info struct {
	// ID is the session ID, with which the session can be used.
	ID oauthclient.Secret
	// Key names the session without giving access to it; it may be logged.
	Key string
	// ServerURL, ServerName and CallbackURL are those of [ConnectParams].
	ServerURL, ServerName, CallbackURL string
	// Owner is the session's.
	Owner string
	// Status and, for StatusFailed, the Reason: a text for people without
	// secrets.
	Status Status
	Reason string
	// AuthorizationReason says why the user must authorize, for
	// StatusAuthorizing and StatusAuthorizationRequired, and for StatusFailed if
	// the user has just authorized and that does not suffice for the MCP server.
	AuthorizationReason oauthclient.Reason
	// AttemptID names the authorization attempt that a hook of [Config] or the
	// result of [Manager.FinishAuth] is about; see [Manager.Attempt]. Empty
	// elsewhere.
	AttemptID string
	// CreatedAt and ExpiresAt bound the session's life; use moves ExpiresAt once
	// the session has connected. LastUsed is exact to Config.TouchInterval.
	CreatedAt, LastUsed, ExpiresAt time.Time
}

// Format implements [fmt.Formatter]; it shows nothing confidential, which a
// ServerURL with an API key in it is.
func (i Info) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "session.Info{Key:%q Status:%q}", i.Key, i.Status)
}

// LogValue implements [slog.LogValuer]; see Format.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(slog.String("session", i.Key), slog.String("status", string(i.Status)))
}

var (
	// ErrNotFound is returned for a session that does not exist, has expired,
	// was removed, or belongs to another owner: one answer for all.
	ErrNotFound = errors.New("session: no such session")
	// ErrClosed is returned after [Manager.Close].
	ErrClosed = errors.New("session: the manager is closed")
)

// InputError is a mistake in an argument.
type InputError struct {
	// Field is the argument, such as "ServerURL".
	Field string
	// Reason says what is wrong with it, without repeating it.
	Reason string
}

func (e *InputError) Error() string { return fmt.Sprintf("session: %s %s", e.Field, e.Reason) }

// LimitError says that a limit of [Config] is reached.
type LimitError struct {
	// Limit is the Config field.
	Limit string
	// Value is its value.
	Value int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("session: the limit Config.%s (%d) is reached", e.Limit, e.Value)
}

// StoreError says that the session store failed. Nothing is known about the
// session; the same call may succeed later.
type StoreError struct {
	// Op says what was attempted.
	Op string
	// Err is the store's error.
	Err error
}

func (e *StoreError) Error() string { return fmt.Sprintf("session: %s: %v", e.Op, e.Err) }

func (e *StoreError) Unwrap() error { return e.Err }

// keyLen is the length of crypto/rand.Text: 26 base32 characters, 130 bits.
const keyLen = 26

// GenerateSessionID returns a new session ID: a key, which names the record in
// the store, followed by a secret, which only the sealed record holds; 130
// random bits each.
func GenerateSessionID() string { return rand.Text() + rand.Text() }

// splitID takes a session ID apart. It accepts exactly what GenerateSessionID
// returns.
func splitID(id string) (key, secret string, ok bool) {
	if len(id) != 2*keyLen {
		return "", "", false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return "", "", false
		}
	}
	return id[:keyLen], id[keyLen:], true
}
