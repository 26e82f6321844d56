package httpapi

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
	// pages may send POSTs, beside the host's own and PublicURL's. They also
	// hear the callback page's message to its opener. Defaults to none.
	TrustedOrigins []string

	// Identify returns the host's ID of the signed-in user, which owns the
	// sessions. An error, or an empty owner, refuses the request with 401,
	// the callback included: so the cookie that it looks at must be
	// SameSite=Lax, because the callback arrives from another site. Defaults
	// to hosts without users, where whoever has a session ID has the session.
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

	// InsecureHTTP accepts a plain http PublicURL outside of loopback: codes
	// and cookies can then be read on the way.
	InsecureHTTP bool

	// ConnectsPerMinute bounds the connect requests of one owner or, without
	// Identify, of one client address; each makes this host talk to servers
	// of the caller's choice. A private or loopback address, which is a
	// proxy's, is not counted, unless RateKey tells clients apart. Negative
	// means no limit. Defaults to 30.
	ConnectsPerMinute int
	// RateKey names who a connect request counts for; the empty string is not
	// counted. Defaults to the owner, else the address of the connection
	// (for IPv6 its /64).
	RateKey func(*http.Request) string

	// MaxBodyBytes bounds a request's body. Defaults to 1 MiB.
	MaxBodyBytes int64
	// HeartbeatInterval is the longest silence on an event stream; a comment
	// is sent then, so that no proxy takes it for dead. Defaults to 15
	// seconds.
	HeartbeatInterval time.Duration
	// WriteTimeout is how long a reader of an event stream may block before
	// its call is cancelled. Defaults to 30 seconds.
	WriteTimeout time.Duration

	// Logger gets every failure in detail, with the request ID that the
	// client was given, and no secrets. Defaults to none.
	Logger *slog.Logger
}

// Routes, below Config.Prefix.
const (
	routeConnect        = "/auth/connect"
	routeCallback       = "/auth/callback"
	routeDisconnect     = "/auth/disconnect"
	routeStatus         = "/auth/status"
	routeSessions       = "/auth/sessions"
	routeListTools      = "/tool/list"
	routeCallTool       = "/tool/call"
	routeClientMetadata = "/client-metadata.json"
	routeScript         = "/mcp-oauth.js"
	routeOpenAPI        = "/openapi.json"
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
	setDefault(&c.ConnectsPerMinute, 30)
	setDefault(&c.MaxBodyBytes, 1<<20)
	setDefault(&c.HeartbeatInterval, 15*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
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
	check("PublicURL", checkPublicURL(c.PublicURL, c.InsecureHTTP))
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") ||
		strings.Contains(c.Prefix, "//") || strings.ContainsAny(c.Prefix, "{}?#% ")) {
		check("Prefix", errors.New("must be a plain path that starts and does not end with a slash"))
	}
	for i, u := range c.AllowedCallbackURLs {
		check(fmt.Sprintf("AllowedCallbackURLs[%d]", i), checkCallbackURL(u))
	}
	for i, origin := range c.TrustedOrigins {
		check(fmt.Sprintf("TrustedOrigins[%d]", i), new(http.CrossOriginProtection).AddTrustedOrigin(origin))
	}
	if c.AfterCallback != "" {
		check("AfterCallback", checkAfterCallback(c.AfterCallback))
	}
	if c.MaxBodyBytes < 0 {
		check("MaxBodyBytes", errNegative)
	}
	if c.HeartbeatInterval < 0 {
		check("HeartbeatInterval", errNegative)
	}
	if c.WriteTimeout < 0 {
		check("WriteTimeout", errNegative)
	}
	return errors.Join(errs...)
}

var errNegative = errors.New("must not be negative")

// checkPublicURL demands a plain base URL. Query and fragment would end up in
// the middle of the callback URL.
func checkPublicURL(raw string, insecureHTTP bool) error {
	if raw == "" {
		return errors.New("is required")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return errors.New("must be an absolute https URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return errors.New("must not have user info, a query or a fragment")
	case u.Scheme == "http" && !insecureHTTP && !isLoopbackHost(u.Hostname()):
		return errors.New("must be https, except on loopback; see Config.InsecureHTTP")
	}
	return nil
}

// checkCallbackURL accepts web and native redirect URIs (RFC 8252 section 7),
// not those that a browser would run.
func checkCallbackURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || !u.IsAbs():
		return errors.New("must be an absolute URL")
	case slices.Contains([]string{"javascript", "data", "vbscript", "file"}, u.Scheme):
		return fmt.Errorf("scheme %q cannot be a redirect URI", u.Scheme)
	case strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (RFC 6749 section 3.1.2)")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return errors.New("has no host")
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

// isLoopbackHost tells whether a URL's host name is the machine itself.
func isLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
