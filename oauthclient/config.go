package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// Config configures an [MCPOAuthClient] or an [OAuthProvider]. It is taken by
// value; changing it afterwards changes nothing.
type Config struct {
	// ServerURL is the MCP endpoint: absolute, http or https, without user
	// info or fragment. It is used as [NormalizeServerURL] spells it. Required.
	ServerURL string

	// CallbackURL is the redirect URI (RFC 6749 section 3.1.2): absolute,
	// without a fragment; https, http on loopback, or a private-use scheme.
	// Required, unless a [Grant] or HeadersAuthenticate does without a browser.
	CallbackURL string

	// Owner names the user of the connection to [EnterpriseManaged]. Defaults to
	// none.
	Owner string

	// Headers, if set, returns headers for each request to the MCP server, such as
	// an API key, the ID of a tenant or a signed identity. They go to the origin of
	// ServerURL only, and into no error or log. [CheckHeader] says which cannot be
	// sent. It must return soon; an error fails the request as a [*HeadersError].
	Headers func(ctx context.Context) (http.Header, error)
	// HeadersAuthenticate says that Headers take the place of OAuth. They may then
	// have an Authorization header, no user is asked to authorize, and a server
	// that refuses them is a [*CredentialsRejectedError]. Defaults to false.
	HeadersAuthenticate bool

	// OnRedirect, if set, is called once per authorization attempt with the
	// URL to open in the user's browser, before the error that carries it is
	// returned. A CLI opens the browser here. It must return soon, and not use the
	// client. The URL is confidential.
	OnRedirect func(authURL string)

	// OnAuthorizationRequired, if set, is called once per authorization
	// attempt, after it was stored and before the error is returned that
	// carries it. Its context outlives the caller's. It must return soon, and not use
	// the client, whose other callers wait meanwhile.
	OnAuthorizationRequired func(ctx context.Context, required *AuthorizationRequiredError)

	// Credentials persists tokens and connection data. Defaults to memory.
	Credentials CredentialStore
	// Registrations persists dynamic registrations. Defaults to memory.
	Registrations RegistrationStore
	// Attempts persists pending authorizations. Defaults to memory.
	Attempts AttemptStore

	// Logger gets records without secrets. Defaults to slog.Default().
	Logger *slog.Logger
	// Observer sees the requests, for metrics and traces. Defaults to none.
	Observer Observer
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time

	// Shared holds the settings that all connections of a host have in
	// common.
	Shared
}

// config is a completed [Config].
type config struct {
	*shared
	id                      string // tells the connections of one shared apart
	ServerURL, CallbackURL  string
	Owner                   string
	Headers                 func(context.Context) (http.Header, error)
	HeadersAuthenticate     bool
	OnRedirect              func(authURL string)
	OnAuthorizationRequired func(context.Context, *AuthorizationRequiredError)
	Credentials             CredentialStore
	Registrations           RegistrationStore
	Attempts                AttemptStore
	Logger                  *slog.Logger
	Observer                Observer
	Now                     func() time.Time
}

// complete returns the config completed, or all mistakes at once.
func (c Config) complete() (*config, error) {
	if normal, err := NormalizeServerURL(c.ServerURL); err == nil {
		c.ServerURL = normal
	}
	shared, sharedErr := c.prepared()
	if err := errors.Join(c.validate(), sharedErr); err != nil {
		return nil, err
	}
	out := &config{
		shared: shared, id: strconv.FormatUint(shared.connections.Add(1), 36), ServerURL: c.ServerURL, CallbackURL: c.CallbackURL, Owner: c.Owner, Headers: c.Headers, HeadersAuthenticate: c.HeadersAuthenticate, OnRedirect: c.OnRedirect, OnAuthorizationRequired: c.OnAuthorizationRequired,
		Credentials: c.Credentials, Registrations: c.Registrations, Attempts: c.Attempts, Logger: c.Logger, Now: c.Now,
		Observer: c.Observer,
	}
	if out.Now == nil {
		out.Now = time.Now
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	if out.Credentials == nil {
		out.Credentials = NewMemoryCredentialStore(Credentials{})
	}
	if out.Registrations == nil {
		out.Registrations = NewMemoryRegistrationStore()
	}
	if out.Attempts == nil {
		out.Attempts = NewMemoryAttemptStore(out.Now)
	}
	return out, nil
}

// validate checks what belongs to one connection.
func (c Config) validate() error {
	var errs []error
	bad := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("oauthclient: Config.%s: %w", field, err))
		}
	}
	bad("ServerURL", CheckServerURL(c.ServerURL))
	if c.HeadersAuthenticate && c.Headers == nil {
		bad("HeadersAuthenticate", errors.New("needs Headers"))
	}
	if c.CallbackURL != "" || c.NeedsUser(c.ServerURL) && !c.HeadersAuthenticate {
		bad("CallbackURL", CheckCallbackURL(c.CallbackURL))
	}
	if c.GrantFor != nil && CheckServerURL(c.ServerURL) == nil {
		if chosen := c.GrantFor(c.ServerURL); chosen != nil {
			bad("GrantFor", chosen.validate())
		}
	}
	if c.PolicyFor != nil && CheckServerURL(c.ServerURL) == nil {
		bad("PolicyFor", c.PolicyFor(c.ServerURL).validate())
	}
	return errors.Join(errs...)
}
