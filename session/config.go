package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/store"
)

// Config configures a [Manager]. It is taken by value; changing it afterwards
// changes nothing. All replicas of a host need the same Store, SealKeys and
// Client.
type Config struct {
	// Store holds the records. Required.
	Store store.SessionStore

	// SealKeys encrypt the records (AES-256-GCM): 32 random bytes each, which
	// [ParseSealKeys] reads from an environment variable. The
	// first seals, all open, so a new key is rolled out by adding it at the
	// end everywhere, then moving it to the front, and an old one is removed
	// when the records it sealed have expired: a registration that no session
	// used since may need it for 90 days. Required for a store that outlives
	// the process.
	SealKeys [][]byte
	// InsecurePlaintext stores records unencrypted in a durable store:
	// a reader of the store can use the tokens. Defaults to false.
	InsecurePlaintext bool

	// Client holds what all connections share: registration choices, policies,
	// the transport, time limits.
	Client oauthclient.Shared

	// TTL is the life of a session after its last use. A session that was never
	// connected ends a minute after its last attempt. The tokens of a session that
	// ends this way are not revoked. Defaults to 24 hours.
	TTL time.Duration
	// GrantTTL is the life of a user's grant, from the authorization on, whether
	// the session is in use or not. When it is over, the tokens are revoked, and
	// the user must authorize again: with KeepAlive within minutes, otherwise at the
	// next use. It does not end grants without a user.
	// Defaults to no limit but the authorization server's.
	GrantTTL time.Duration
	// KeepAlive is for sessions that must outlast a time without use; see
	// [Manager.KeepAlive].
	KeepAlive KeepAlive
	// TouchInterval is the minimum time between two extensions of a session
	// that is in use. Defaults to 5 minutes, at most a quarter of TTL.
	TouchInterval time.Duration
	// LockTTL is the lease for a refresh or registration in the store; it must
	// exceed twice Client.RequestTimeout. Defaults to 45 seconds, or three
	// times Client.RequestTimeout if that is more.
	LockTTL time.Duration
	// CacheSize is how many sessions this Manager remembers decoded, the least
	// recently used of which make room. A session that is not among them costs
	// one Get and decoding its record, about a tenth of a tool call. Defaults
	// to 4,000.
	CacheSize int
	// MaxSessionsPerOwner bounds the sessions of one owner. The empty owner is
	// no one in particular, and has no such bound: there it is package
	// httpapi's ConnectsPerMinute for each client address, together with TTL,
	// that bounds them, and the store's own size. Defaults to 100.
	MaxSessionsPerOwner int
	// MaxAttemptsPerSession bounds the authorization attempts of a session that
	// wait for their user, of which each browser that uses the session may
	// begin some. Replicas that begin one at the same moment may exceed it.
	// Defaults to 20.
	MaxAttemptsPerSession int
	// InputTTL is how long a user has to answer what a server of revision
	// 2026-07-28 asks in the middle of a call. Defaults to 10 minutes.
	InputTTL time.Duration
	// InputWait is how long a call waits for the answer to a question of a server
	// before that revision; after it the server gets the action "cancel". The call
	// has Client.CallTimeout in all. Defaults to 3 minutes.
	InputWait time.Duration
	// MaxInputsPerCall bounds the questions of such a server that are put to the
	// user during one call. One more ends the call. Defaults to 20.
	MaxInputsPerCall int
	// MaxInputBytes bounds such a question, and an answer, each of which is in the
	// store for a while. A larger question is refused to the server. Defaults to
	// 64 KiB.
	MaxInputBytes int

	// ToolsTimeout bounds [Manager.Tools]. Sessions that have not answered by then
	// have failed. Defaults to 10 seconds.
	ToolsTimeout time.Duration

	// AllowHeaders are the names that ConnectParams.Headers may have, of headers
	// that are sent beside a token. [oauthclient.CheckHeader] says which cannot be
	// allowed. Defaults to none.
	AllowHeaders []string
	// AllowKeyHeaders are the same for headers that take the place of OAuth, such
	// as X-Api-Key or Authorization. A session with one of them asks no user to
	// authorize, and a server that refuses it is an
	// [*oauthclient.CredentialsRejectedError]. Defaults to none.
	AllowKeyHeaders []string
	// HeaderProvider, if set, returns further headers for each request to a
	// session's server, such as a signed identity of its owner. They replace
	// headers of ConnectParams that have the same name. Status, Reason and times of
	// info may be old. It must return soon. An error fails the request, as an
	// [*oauthclient.HeadersError]. Defaults to none.
	HeaderProvider func(ctx context.Context, info Info) (http.Header, error)

	// AllowServer, if set, decides whether a caller may use an MCP server: at
	// connect, before the callback's code is sent, and at each use. serverURL is
	// spelled as [oauthclient.NormalizeServerURL] does. An error refuses, as a
	// [*RefusedError]. Sessions can be seen and removed all the same.
	AllowServer func(ctx context.Context, caller Caller, serverURL string) error
	// ToolFilter, if set, reports whether a session has a tool. Other tools are
	// in no list, and calling one is a [*RefusedError], also if the server does
	// not list it. At a call, the server's description of the tool may be a
	// minute old, and is listed first if it is older.
	ToolFilter func(ctx context.Context, info Info, tool *oauthclient.Tool) bool
	// BeforeCall, if set, is asked before each tool call, with the arguments as
	// they are sent: an object in which no name occurs twice. An error refuses
	// the call, as a [*RefusedError]. It may wait for a person to agree, in the
	// time that the call has.
	BeforeCall func(ctx context.Context, info Info, tool string, args json.RawMessage) error

	// OnAuthorized, if set, is called after a user has authorized and the
	// tokens are stored, on the replica that got the callback. A chat back end
	// resumes the waiting tool call here. It must return soon.
	OnAuthorized func(ctx context.Context, info Info)
	// OnAuthorizationFailed, if set, is called after an authorization that ended
	// without success, on the replica that got the callback: the user or the
	// authorization server refused ([*oauthclient.AuthorizationError]), or the
	// tokens could not be had. A chat back end tells the user here. It must
	// return soon.
	OnAuthorizationFailed func(ctx context.Context, info Info, err error)
	// OnAuthorizationRequired, if set, is called when a user must authorize,
	// once per attempt, on the replica that noticed. It must return soon.
	OnAuthorizationRequired func(ctx context.Context, info Info, required *oauthclient.AuthorizationRequiredError)

	// OnRefreshed, if set, is called after the tokens of a session were replaced
	// without its user and are stored, on the replica that did that: once per
	// refresh, or not at all if the replica ends in that moment. It must return
	// soon.
	OnRefreshed func(ctx context.Context, info Info)
	// OnConnectionLost, if set, is called when a connection can no longer go on
	// without its user, with KeepAlive also of a session that is not in use, on the
	// replica that recorded it: once per loss, or not at all if the replica ends in that moment.
	// OnRefreshed after it means that the connection is back. It must return soon.
	OnConnectionLost func(ctx context.Context, info Info, reason LostReason)

	// Audit, if set, is called when a caller has connected, authorized, called a
	// tool, been refused, or disconnected, on the replica that did it. Its
	// context does not end with the request. It must return soon.
	Audit func(ctx context.Context, event AuditEvent)
	// Observer sees the work of this host: endpoints, MCP requests, token
	// requests, the store. For OpenTelemetry use package session/otelsession.
	// Defaults to none, which costs nothing.
	Observer oauthclient.Observer
	// Logger gets records without secrets. Defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return c, err
	}
	setDefault(&c.TTL, 24*time.Hour)
	setDefault(&c.TouchInterval, min(5*time.Minute, c.TTL/4))
	setDefault(&c.LockTTL, max(45*time.Second, 3*c.requestTimeout()))
	setDefault(&c.CacheSize, 4000)
	setDefault(&c.MaxSessionsPerOwner, 100)
	setDefault(&c.MaxAttemptsPerSession, 20)
	setDefault(&c.InputTTL, 10*time.Minute)
	setDefault(&c.InputWait, 3*time.Minute)
	setDefault(&c.MaxInputsPerCall, 20)
	setDefault(&c.MaxInputBytes, 64<<10)
	setDefault(&c.KeepAlive.RefreshTokenLife, 7*24*time.Hour)
	setDefault(&c.KeepAlive.RefreshesPerMinute, 600)
	setDefault(&c.KeepAlive.MaxParallel, 16)
	setDefault(&c.ToolsTimeout, 10*time.Second)
	c.TouchInterval = min(c.TouchInterval, c.TTL/4)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.AllowHeaders, c.AllowKeyHeaders = canonicalHeaders(c.AllowHeaders), canonicalHeaders(c.AllowKeyHeaders)
	c.observeStore()
	c.SealKeys = nil // the sealer has its own copy
	var err error
	c.Client, err = c.Client.Prepare()
	return c, err
}

// requestTimeout is Client.RequestTimeout with its default.
func (c Config) requestTimeout() time.Duration {
	timeout := c.Client.RequestTimeout
	setDefault(&timeout, 15*time.Second)
	return timeout
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("session: Config."+field+": "+format, args...))
	}
	if c.Store == nil {
		bad("Store", "is required")
	}
	for i, key := range c.SealKeys {
		if len(key) != sealKeyLen {
			bad(fmt.Sprintf("SealKeys[%d]", i), "is %d bytes long, want %d", len(key), sealKeyLen)
		}
	}
	if c.Store != nil && len(c.SealKeys) == 0 && !c.InsecurePlaintext && !ephemeral(c.Store) {
		bad("SealKeys", "are required with a store that outlives the process; make one with: openssl rand -base64 32")
	}
	if len(c.SealKeys) > 0 && c.InsecurePlaintext {
		bad("InsecurePlaintext", "contradicts SealKeys")
	}
	if _, err := c.Client.Prepare(); err != nil {
		bad("Client", "%w", err)
	}
	for i, name := range c.AllowHeaders {
		if err := checkHeaderName(name, false); err != nil {
			bad(fmt.Sprintf("AllowHeaders[%d]", i), "%w", err)
		}
	}
	for i, name := range c.AllowKeyHeaders {
		if err := checkHeaderName(name, true); err != nil {
			bad(fmt.Sprintf("AllowKeyHeaders[%d]", i), "%w", err)
		}
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"TTL", int64(c.TTL)}, {"TouchInterval", int64(c.TouchInterval)}, {"LockTTL", int64(c.LockTTL)},
		{"CacheSize", int64(c.CacheSize)}, {"MaxSessionsPerOwner", int64(c.MaxSessionsPerOwner)},
		{"MaxAttemptsPerSession", int64(c.MaxAttemptsPerSession)},
		{"InputTTL", int64(c.InputTTL)}, {"InputWait", int64(c.InputWait)},
		{"MaxInputsPerCall", int64(c.MaxInputsPerCall)}, {"MaxInputBytes", int64(c.MaxInputBytes)},
		{"GrantTTL", int64(c.GrantTTL)},
		{"KeepAlive.RefreshTokenLife", int64(c.KeepAlive.RefreshTokenLife)},
		{"KeepAlive.RefreshesPerMinute", int64(c.KeepAlive.RefreshesPerMinute)},
		{"KeepAlive.MaxParallel", int64(c.KeepAlive.MaxParallel)},
		{"ToolsTimeout", int64(c.ToolsTimeout)},
	} {
		if field.value < 0 {
			bad(field.name, "must not be negative")
		}
	}
	if c.LockTTL > 0 && c.LockTTL <= 2*c.requestTimeout() {
		bad("LockTTL", "must exceed twice Client.RequestTimeout (%v)", c.requestTimeout())
	}
	return errors.Join(errs...)
}

// ephemeral reports whether a store's contents end with the process.
func ephemeral(s store.SessionStore) bool {
	e, ok := store.Find[store.Ephemeral](s)
	return ok && e.Ephemeral()
}
