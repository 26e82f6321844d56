package oauthclient

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

// Config configures an [MCPOAuthClient] or an [OAuthProvider]. It is taken by
// value; changing it afterwards changes nothing.
type Config struct {
	// ServerURL is the MCP endpoint: absolute, http or https, without user
	// info or fragment. Required.
	ServerURL string

	// CallbackURL is the redirect URI (RFC 6749 section 3.1.2): absolute,
	// without a fragment. Required.
	CallbackURL string

	// OnRedirect, if set, is called once per authorization attempt with the
	// URL to open in the user's browser, before the error that carries it is
	// returned. A CLI opens the browser here. The URL is confidential.
	OnRedirect func(authURL string)

	// PreregisteredClients are clients registered by hand, at most one per
	// authorization server. They take precedence over every other kind of
	// registration.
	PreregisteredClients []PreregisteredClient

	// ClientMetadataURL is the https URL, with a path, of a Client ID
	// Metadata Document that describes this client. Where the authorization
	// server supports such documents, the URL is the client_id.
	ClientMetadataURL string

	// ClientMetadata is sent in dynamic client registration (RFC 7591
	// section 2). RedirectURIs is always CallbackURL. GrantTypes defaults to
	// authorization_code and refresh_token, ApplicationType to "web", or to
	// "native" for a loopback or private-use CallbackURL, ClientName to
	// "mcpoauth".
	ClientMetadata oauthex.ClientRegistrationMetadata

	// DisableDynamicRegistration leaves only the registrations above.
	DisableDynamicRegistration bool

	// Servers, if set, gives the policy for a server URL: the switches for
	// servers that deviate from the specifications. Defaults to strict.
	Servers func(serverURL string) ServerPolicy

	// Credentials persists tokens. Defaults to memory.
	Credentials CredentialStore
	// Registrations persists dynamic registrations. Defaults to memory.
	Registrations RegistrationStore
	// Attempts persists pending authorizations. Defaults to memory.
	Attempts AttemptStore

	// HTTPClient gives the transport for every request that leaves the
	// process; only its Transport is used (nil: http.DefaultTransport, which
	// reaches every address). Defaults to a new
	// [NewHTTPClient] with the zero [NetworkPolicy], which reaches public
	// addresses over https only. Clients that share one share connections. A
	// transport that a host puts around that one needs a method Unwrap()
	// [http.RoundTripper], or the policy is not seen for the one URL that the
	// user's browser visits: the authorization endpoint.
	HTTPClient *http.Client

	// MCPClient is the SDK client to connect with; many MCPOAuthClients may
	// share one. Defaults to a new one named "mcpoauth". Sampling and
	// elicitation handlers are configured there.
	MCPClient *mcp.Client

	// StandaloneSSE opens the long-lived GET stream for messages outside of
	// calls, on servers before revision 2026-07-28. It costs a connection per
	// live session. Defaults to off.
	StandaloneSSE bool

	// RefreshAhead is how long before its expiry a token is refreshed, at
	// most a fifth of its lifetime. Defaults to one minute.
	RefreshAhead time.Duration
	// AttemptTTL is the time a user has to authorize. Defaults to 10 minutes.
	AttemptTTL time.Duration
	// RequestTimeout bounds each discovery, registration, token and
	// revocation step. Defaults to 15 seconds.
	RequestTimeout time.Duration
	// ConnectTimeout bounds connecting to the MCP server, authorization
	// steps included. Defaults to 30 seconds.
	ConnectTimeout time.Duration
	// CallTimeout bounds a call to the MCP server. Defaults to 5 minutes.
	CallTimeout time.Duration
	// MaxResponseBytes bounds each answer of the MCP server, decompressed.
	// Defaults to 32 MiB.
	MaxResponseBytes int64
	// MaxAuthResponseBytes bounds each answer of an authorization server and
	// each metadata document, decompressed. Defaults to 1 MiB.
	MaxAuthResponseBytes int64
	// MaxRedirects bounds the redirects that one request follows: those of
	// metadata requests to anywhere that HTTPClient reaches, those of the MCP
	// server within its origin, all others never. Defaults to 3.
	MaxRedirects int
	// MaxTools bounds ListTools over all pages. Defaults to 10,000.
	MaxTools int

	// Logger gets debug and warning records without secrets. Defaults to
	// none.
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// PreregisteredClient is a client that was registered with an authorization
// server by hand.
type PreregisteredClient struct {
	// Issuer is the authorization server's issuer, to which the client is
	// bound: it is never used with another. Required, unless ServerURL is set.
	Issuer string
	// ServerURL binds the client to one MCP server instead, whatever
	// authorization server that one names: the MCP server is then trusted
	// with the client secret.
	ServerURL string
	// ClientID is the client identifier. Required.
	ClientID string
	// ClientSecret is zero for a public client.
	ClientSecret Secret
	// TokenEndpointAuthMethod is "none", "client_secret_basic" or
	// "client_secret_post". Defaults to what the server advertises, or
	// client_secret_basic; "none" without a secret.
	TokenEndpointAuthMethod string
}

// sameServer tells whether two clients are for one server.
func (c PreregisteredClient) sameServer(other PreregisteredClient) bool {
	if c.Issuer == "" || other.Issuer == "" {
		return c.Issuer == other.Issuer && c.ServerURL == other.ServerURL
	}
	return sameIssuer(c.Issuer, other.Issuer)
}

// ServerPolicy holds the switches for a server that deviates. The zero value
// is strict.
type ServerPolicy struct {
	// SkipResourceParameter leaves the RFC 8707 resource parameter out, for
	// servers that reject it (Microsoft Entra ID). A token is then not bound
	// to the MCP server.
	SkipResourceParameter bool
	// AllowUnadvertisedPKCE accepts server metadata without
	// code_challenge_methods_supported. S256 is still sent.
	AllowUnadvertisedPKCE bool
	// TrustedIssuer is accepted as the issuer in the server metadata,
	// although the resource metadata names the server differently. The MCP
	// server is then trusted not to name a server that only claims to be it:
	// it would get the secret of a client preregistered for that issuer.
	TrustedIssuer string
	// Scopes replaces the scope selection, offline_access included.
	Scopes []string
	// TokenEndpointAuthMethod replaces the choice of client authentication.
	TokenEndpointAuthMethod string
	// ForceAuthorization authorizes at connect, for servers that accept
	// anonymous connections and ask for a token only later.
	ForceAuthorization bool
}

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return c, err
	}
	c.PreregisteredClients = slices.Clone(c.PreregisteredClients)
	setDefault(&c.RefreshAhead, time.Minute)
	setDefault(&c.AttemptTTL, 10*time.Minute)
	setDefault(&c.RequestTimeout, 15*time.Second)
	setDefault(&c.ConnectTimeout, 30*time.Second)
	setDefault(&c.CallTimeout, 5*time.Minute)
	setDefault(&c.MaxResponseBytes, 32<<20)
	setDefault(&c.MaxAuthResponseBytes, 1<<20)
	setDefault(&c.MaxRedirects, 3)
	setDefault(&c.MaxTools, 10_000)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Servers == nil {
		c.Servers = func(string) ServerPolicy { return ServerPolicy{} }
	}
	switch {
	case c.HTTPClient == nil:
		c.HTTPClient = NewHTTPClient(NetworkPolicy{})
	case c.HTTPClient.Transport == nil:
		c.HTTPClient = &http.Client{Transport: http.DefaultTransport}
	default:
		c.HTTPClient = &http.Client{Transport: c.HTTPClient.Transport}
	}
	if c.MCPClient == nil {
		c.MCPClient = mcp.NewClient(&mcp.Implementation{Name: "mcpoauth", Version: "1"}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
	}
	if c.Credentials == nil {
		c.Credentials = NewMemoryCredentialStore(Credentials{})
	}
	if c.Registrations == nil {
		c.Registrations = NewMemoryRegistrationStore()
	}
	if c.Attempts == nil {
		c.Attempts = newMemoryAttempts(c.Now)
	}
	c.ClientMetadata = c.clientMetadata()
	return c, nil
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("oauthclient: Config.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if err := CheckServerURL(c.ServerURL); err != nil {
		bad("ServerURL", "%v", err)
	}
	if err := CheckCallbackURL(c.CallbackURL); err != nil {
		bad("CallbackURL", "%v", err)
	}
	if c.ClientMetadataURL != "" {
		if u, err := url.Parse(c.ClientMetadataURL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path == "" || u.Path == "/" || u.User != nil || u.Fragment != "" {
			bad("ClientMetadataURL", "must be an https URL with a path")
		}
	}
	for i, client := range c.PreregisteredClients {
		if client.ClientID == "" || client.Issuer == "" && client.ServerURL == "" {
			bad(fmt.Sprintf("PreregisteredClients[%d]", i), "needs ClientID, and Issuer or ServerURL")
		}
		if client.Issuer != "" && CheckServerURL(client.Issuer) != nil {
			bad(fmt.Sprintf("PreregisteredClients[%d].Issuer", i), "must be an http or https URL")
		}
		if err := checkAuthMethod(client.TokenEndpointAuthMethod); err != nil {
			bad(fmt.Sprintf("PreregisteredClients[%d].TokenEndpointAuthMethod", i), "%v", err)
		}
		if client.ClientSecret.IsZero() && client.TokenEndpointAuthMethod != "" && client.TokenEndpointAuthMethod != authMethodNone {
			bad(fmt.Sprintf("PreregisteredClients[%d].ClientSecret", i), "is missing for %s", client.TokenEndpointAuthMethod)
		}
		if slices.ContainsFunc(c.PreregisteredClients[:i], client.sameServer) {
			bad(fmt.Sprintf("PreregisteredClients[%d]", i), "is the second for its authorization server")
		}
	}
	if err := checkAuthMethod(c.ClientMetadata.TokenEndpointAuthMethod); err != nil {
		bad("ClientMetadata.TokenEndpointAuthMethod", "%v", err)
	}
	if c.Servers != nil && CheckServerURL(c.ServerURL) == nil {
		if err := checkAuthMethod(c.Servers(c.ServerURL).TokenEndpointAuthMethod); err != nil {
			bad("Servers", "TokenEndpointAuthMethod: %v", err)
		}
	}
	if c.RefreshAhead < 0 || c.AttemptTTL < 0 || c.RequestTimeout < 0 || c.ConnectTimeout < 0 || c.CallTimeout < 0 || c.MaxResponseBytes < 0 || c.MaxAuthResponseBytes < 0 || c.MaxRedirects < 0 || c.MaxTools < 0 {
		bad("RefreshAhead, AttemptTTL, RequestTimeout, ConnectTimeout, CallTimeout, MaxResponseBytes, MaxAuthResponseBytes, MaxRedirects, MaxTools", "must not be negative")
	}
	return errors.Join(errs...)
}

// CheckServerURL reports whether raw can be [Config.ServerURL]. The error does
// not repeat the URL, which may hold an API key.
func CheckServerURL(raw string) error {
	if raw == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must be an absolute http or https URL")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil:
		return errors.New("must not contain user info")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment")
	}
	return nil
}

// CheckCallbackURL reports whether raw can be [Config.CallbackURL]: a web or
// native redirect URI (RFC 8252 section 7), not one that a browser would run.
func CheckCallbackURL(raw string) error {
	if raw == "" {
		return errors.New("is missing")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("must be an absolute URL")
	case slices.Contains([]string{"javascript", "data", "vbscript", "file"}, u.Scheme):
		return fmt.Errorf("scheme %q cannot be a redirect URI", u.Scheme)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (RFC 6749 section 3.1.2)")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return errors.New("has no host")
	}
	return nil
}

// clientMetadata completes [Config.ClientMetadata].
func (c Config) clientMetadata() oauthex.ClientRegistrationMetadata {
	m := c.ClientMetadata
	m.GrantTypes, m.ResponseTypes, m.Contacts = slices.Clone(m.GrantTypes), slices.Clone(m.ResponseTypes), slices.Clone(m.Contacts)
	m.RedirectURIs = []string{c.CallbackURL}
	if m.ClientName == "" {
		m.ClientName = "mcpoauth"
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{"authorization_code", "refresh_token"}
	}
	if len(m.ResponseTypes) == 0 {
		m.ResponseTypes = []string{"code"}
	}
	if m.ApplicationType == "" {
		m.ApplicationType = "web"
		if u, err := url.Parse(c.CallbackURL); err == nil && (isLoopbackHost(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https") {
			m.ApplicationType = "native"
		}
	}
	return m
}

// isLoopbackHost tells whether a URL's host name is the machine itself.
func isLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
