package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// Config configures a [Handler]. It is taken by value; changing it afterwards
// changes nothing. Only PublicURL is required.
type Config struct {
	// PublicURL is the base URL at which browsers reach the host, such as
	// "https://app.example.com", with a path if the host lives below one. It
	// is never taken from a request's Host or X-Forwarded headers. The
	// callback URL, to register with authorization servers that need it, is
	// PublicURL + Prefix + "/auth/callback"; see [Handler.CallbackURL].
	PublicURL string

	// Prefix is the path, below the one of PublicURL, under which the routes
	// are. "/" means none. The Handler expects to see it in the URL: mount
	// without http.StripPrefix. Defaults to "/api/mcp".
	Prefix string

	// AllowedCallbackURLs are further values that a connect request may give
	// as callbackUrl, compared byte for byte. Defaults to the own callback
	// URL alone.
	AllowedCallbackURLs []string

	// TrustedOrigins are origins, such as "https://www.example.com", whose
	// pages may send requests with credentials and read the answers, beside the
	// host's own and PublicURL's: the Handler answers preflights and sets the
	// headers of CORS for them, and for no other origin. They also hear the
	// callback page's message to its opener. Defaults to none.
	TrustedOrigins []string

	// Identify returns the host's ID of the signed-in user, which owns the
	// sessions. An error, or an empty owner, refuses the request with 401,
	// the callback included: so the cookie that it looks at must be
	// SameSite=Lax, because the callback arrives from another site. Defaults
	// to hosts without users, where a session ID alone gives the session.
	Identify func(*http.Request) (owner string, err error)

	// AfterCallback is where a browser is sent after the callback instead of
	// being shown a page: an absolute URL, or a path that starts with a
	// slash. The parameter mcp=connected or mcp=failed is added, nothing
	// else. Defaults to the page.
	AfterCallback string

	// InsecureUnboundCallbacks sets no cookie and accepts a callback from any
	// browser that knows the state, for hosts without browsers. With Identify
	// the owner is still compared; without, an attacker can make a victim
	// authorize the attacker's session.
	InsecureUnboundCallbacks bool

	// ConnectsPerMinute bounds the connect requests of one caller, each of
	// which makes this host talk to servers of the caller's choice. A caller is
	// an owner or, without a login, a client address (of IPv6, its
	// /64). At a limit the answer is 429, with Retry-After and X-RateLimit
	// headers. Replicas share the limits if the store counts (see
	// [store.Counter]), and together never exceed them; while the store is away
	// each replica counts alone. Negative means no limit.
	// Defaults to 30.
	ConnectsPerMinute int
	// CallbacksPerMinute bounds the callbacks of one caller in the same way.
	// Defaults to 60.
	CallbacksPerMinute int
	// RequestsPerMinute bounds all other requests of one caller together, in
	// the same way: tool lists and calls, disconnects, statuses. The client
	// metadata document is not counted. Defaults to 600.
	RequestsPerMinute int
	// TrustedProxies are the networks of the reverse proxies before this host.
	// Only from them X-Forwarded-For is believed. Behind a
	// proxy that is missing here all clients count as one address. Defaults to
	// none: the client is the peer of the connection.
	TrustedProxies []netip.Prefix
	// MaxRequestsInFlight bounds the requests of one caller that a replica serves
	// at the same time. Further requests are answered 429. Negative means no
	// limit. Defaults to 64.
	MaxRequestsInFlight int
	// RateKey names who a request counts for, in place of owner and address;
	// the empty string is not counted. Defaults to none.
	RateKey func(*http.Request) string

	// MaxBodyBytes bounds a request's body. Defaults to 1 MiB.
	MaxBodyBytes int64
	// MaxQueryBytes bounds a request's query, as it is sent. Defaults to
	// 16 KiB.
	MaxQueryBytes int
	// MaxJSONDepth bounds how deeply objects and arrays are nested in a body,
	// which includes the arguments of a tool. Defaults to 100.
	MaxJSONDepth int
	// MaxNameBytes bounds the name of a tool or prompt and the URI of a resource,
	// which travel in a header. Defaults to 4 KiB.
	MaxNameBytes int
	// ReadTimeout is how long a request's body may take to arrive. It replaces
	// http.Server.ReadTimeout once the header has arrived. Defaults to 30
	// seconds.
	ReadTimeout time.Duration
	// HeartbeatInterval is the longest silence on an event stream; a comment
	// is sent then, so that no proxy takes it for dead. Defaults to 15
	// seconds.
	HeartbeatInterval time.Duration
	// WriteTimeout is how long a client may take to read the next 64 KiB of an
	// answer, or of an event stream. After that the answer ends, and a tool call
	// in progress is cancelled. Defaults to 30 seconds.
	WriteTimeout time.Duration

	// MaxStatusWait bounds how long a request for a status may wait for a change
	// (wait=). It should be shorter than what proxies before this host allow.
	// Defaults to 25 seconds.
	MaxStatusWait time.Duration

	// Logger gets every failure in detail, with the request ID that the
	// client was given, and no secrets. Defaults to slog.Default().
	Logger *slog.Logger
}

// Routes, below Config.Prefix.
const (
	routeConnect           = "/auth/connect"
	routeCallback          = "/auth/callback"
	routeDisconnect        = "/auth/disconnect"
	routeStatus            = "/auth/status"
	routeSessions          = "/auth/sessions"
	routeListTools         = "/tool/list"
	routeCallTool          = "/tool/call"
	routeAnswerInput       = "/tool/input"
	routeListPrompts       = "/prompt/list"
	routeGetPrompt         = "/prompt/get"
	routeListResources     = "/resource/list"
	routeResourceTemplates = "/resource/templates"
	routeReadResource      = "/resource/read"
	routeCompletion        = "/completion"
	routeServer            = "/server"
	routeClientMetadata    = "/client-metadata.json"
	routeKeySet            = "/jwks.json"
	routeScript            = "/mcp-oauth.js"
	routeOpenAPI           = "/openapi.json"
)

// withDefaults returns the config completed, or all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	switch c.Prefix {
	case "":
		c.Prefix = "/api/mcp"
	case "/":
		c.Prefix = ""
	}
	if err := c.validate(); err != nil {
		return c, err
	}
	c.AllowedCallbackURLs = slices.Clone(c.AllowedCallbackURLs)
	c.TrustedOrigins = slices.Clone(c.TrustedOrigins)
	c.TrustedProxies = slices.Clone(c.TrustedProxies)
	setDefault(&c.ConnectsPerMinute, 30)
	setDefault(&c.CallbacksPerMinute, 60)
	setDefault(&c.RequestsPerMinute, 600)
	setDefault(&c.MaxBodyBytes, 1<<20)
	setDefault(&c.MaxQueryBytes, 16<<10)
	setDefault(&c.MaxJSONDepth, 100)
	setDefault(&c.MaxRequestsInFlight, 64)
	setDefault(&c.MaxNameBytes, 4<<10)
	setDefault(&c.ReadTimeout, 30*time.Second)
	setDefault(&c.HeartbeatInterval, 15*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.MaxStatusWait, 25*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (c Config) validate() error {
	var errs []error
	check := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("httpapi: Config.%s: %w", field, err))
		}
	}
	check("PublicURL", checkPublicURL(c.PublicURL))
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") ||
		strings.Contains(c.Prefix, "//") || strings.ContainsAny(c.Prefix, "{}?#% ")) {
		check("Prefix", errors.New("must be a plain path that starts and does not end with a slash"))
	}
	for i, u := range c.AllowedCallbackURLs {
		check(fmt.Sprintf("AllowedCallbackURLs[%d]", i), oauthclient.CheckCallbackURL(u))
	}
	for i, origin := range c.TrustedOrigins {
		check(fmt.Sprintf("TrustedOrigins[%d]", i), new(http.CrossOriginProtection).AddTrustedOrigin(origin))
	}
	if c.AfterCallback != "" {
		check("AfterCallback", checkAfterCallback(c.AfterCallback))
	}
	for i, proxy := range c.TrustedProxies {
		if !proxy.IsValid() || proxy.Addr().Is4In6() {
			check(fmt.Sprintf("TrustedProxies[%d]", i), errors.New("must be an IPv4 or IPv6 network"))
		}
	}
	if c.MaxBodyBytes < 0 {
		check("MaxBodyBytes", errNegative)
	}
	if c.MaxQueryBytes < 0 {
		check("MaxQueryBytes", errNegative)
	}
	if c.MaxJSONDepth < 0 {
		check("MaxJSONDepth", errNegative)
	}
	if c.MaxNameBytes < 0 {
		check("MaxNameBytes", errNegative)
	}
	if c.ReadTimeout < 0 {
		check("ReadTimeout", errNegative)
	}
	if c.HeartbeatInterval < 0 {
		check("HeartbeatInterval", errNegative)
	}
	if c.WriteTimeout < 0 {
		check("WriteTimeout", errNegative)
	}
	if c.MaxStatusWait < 0 {
		check("MaxStatusWait", errNegative)
	}
	return errors.Join(errs...)
}

var errNegative = errors.New("must not be negative")

// checkPublicURL demands a plain base URL. Query and fragment would end up in
// the middle of the callback URL.
func checkPublicURL(raw string) error {
	if raw == "" {
		return errors.New("is required")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("must be an absolute https URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return errors.New("must not have user info, a query or a fragment")
	case u.Scheme == "http" && !isLoopbackHost(u.Hostname()):
		return errors.New("must be https, except on loopback")
	}
	return nil
}

// checkAfterCallback refuses what a browser would not take for a place of the
// host's: "//host" and "/\host" are other hosts.
func checkAfterCallback(raw string) error {
	u, err := url.Parse(raw)
	absolute := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != ""
	path := err == nil && !u.IsAbs() && u.Host == "" && strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, `/\`)
	if !absolute && !path {
		return errors.New("must be an absolute http or https URL, or a path that starts with one slash")
	}
	return nil
}

// isLoopbackHost reports whether a URL's host name is the machine itself.
func isLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
