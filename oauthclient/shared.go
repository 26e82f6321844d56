package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/sync/singleflight"

	"github.com/mcpoauth/mcpoauth/internal/netguard"
)

// Shared holds the settings that all connections of a host have in common. The
// zero value is usable and strict. It is taken by value; changing it afterwards
// changes nothing.
type Shared struct {
	// PreregisteredClients are clients registered by hand, at most one for the
	// same Issuer and ServerURL. They take precedence over every other kind of
	// registration, and among them the one that names the MCP server.
	PreregisteredClients []PreregisteredClient

	// ClientMetadataURL is the https URL, with a path, of a Client ID
	// Metadata Document that describes this client. Where the authorization
	// server supports such documents, the URL is the client_id.
	ClientMetadataURL string

	// ClientMetadata is sent in dynamic client registration (RFC 7591
	// section 2). RedirectURIs is always CallbackURL. GrantTypes defaults to
	// authorization_code and refresh_token, ResponseTypes to code,
	// ApplicationType to "web", or to "native" for a loopback or private-use
	// CallbackURL, ClientName to "mcpoauth", and JWKSURI, for private_key_jwt, to
	// jwks.json beside the ClientMetadataURL.
	ClientMetadata oauthex.ClientRegistrationMetadata

	// ClientKeys authenticate the client without a shared secret, where its
	// TokenEndpointAuthMethod is "private_key_jwt": that of ClientMetadata, for
	// metadata documents and dynamic registration, or of a preregistered client.
	// The first key that a server can verify signs. A key is rolled by adding the
	// new one at the end, moving it to the front when servers have read the key
	// set, and removing the old one later. Defaults to none.
	ClientKeys []ClientKey

	// DisableDynamicRegistration leaves only the registrations above.
	DisableDynamicRegistration bool

	// Grant is how connections get tokens without a user's browser. Defaults to
	// none: users authorize in the browser.
	Grant Grant
	// GrantFor, if set, gives the Grant for a server URL, as
	// [NormalizeServerURL] spells it, in place of Grant; nil sends users to the
	// browser.
	GrantFor func(serverURL string) Grant

	// PolicyFor, if set, gives the policy for a server URL, as
	// [NormalizeServerURL] spells it: the switches for servers that deviate
	// from the specifications. Defaults to strict.
	PolicyFor func(serverURL string) ServerPolicy

	// Transport carries every request that leaves the process. Clients that
	// share one share connections. Defaults to a new [NewTransport] with the
	// zero [NetworkPolicy], which reaches public addresses over https only. A
	// transport that a host puts around that one needs a method Unwrap()
	// [http.RoundTripper], so that the policy also holds for what only the user's
	// browser visits.
	Transport http.RoundTripper
	// InsecureTransport accepts a Transport that is not, or does not lead to, one
	// of NewTransport: the host has its own checks of where servers of a user's
	// choice lead. Defaults to false.
	InsecureTransport bool

	// ClientInfo is the client's name and version, for MCP servers. Defaults to
	// the name "mcpoauth" and version "1".
	ClientInfo mcp.Implementation
	// Elicit, CreateMessage and ListRoots answer what a server asks during a
	// call (elicitation, sampling, roots), each in the context of that call.
	// A request without a function is not declared to servers, and refused. A
	// function may take as long as the call lasts. Default to none.
	Elicit func(context.Context, *mcp.ElicitParams) (*mcp.ElicitResult, error)
	//lint:ignore SA1019 servers before revision 2026-07-28 ask for it
	CreateMessage func(context.Context, *mcp.CreateMessageParams) (*mcp.CreateMessageResult, error)
	//lint:ignore SA1019 servers before revision 2026-07-28 ask for it
	ListRoots func(context.Context, *mcp.ListRootsParams) (*mcp.ListRootsResult, error)

	// AskUsers are the modes of elicitation that front ends of this host can show.
	// Servers before revision 2026-07-28 learn it when a connection is made, and
	// may then ask during every call; see [Asking.Answer]. A connection that was
	// made without a mode that a caller can show is made again. Defaults to none:
	// such servers do not ask.
	AskUsers ElicitationModes
	// ShowsUI declares to servers that front ends of this host show UI resources
	// (MCP Apps, the extension io.modelcontextprotocol/ui). Defaults to false.
	ShowsUI bool

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
	// DiscoverTimeout bounds the server/discover of revision 2026-07-28, which
	// some older servers never answer: after it, the client asks for an older
	// revision. Defaults to 5 seconds.
	DiscoverTimeout time.Duration
	// CallTimeout bounds an operation on the MCP server, all pages of a list
	// included. Defaults to 5 minutes.
	CallTimeout time.Duration
	// MaxResponseBytes bounds the answers of the MCP server in one operation,
	// decompressed, all pages of a list included. Defaults to 32 MiB.
	MaxResponseBytes int64
	// MaxAuthResponseBytes bounds each answer of an authorization server and
	// each metadata document, decompressed. Defaults to 1 MiB.
	MaxAuthResponseBytes int64
	// MaxTokenBytes bounds an access token and a refresh token. The record of a
	// session holds both. Defaults to 16 KiB.
	MaxTokenBytes int
	// MaxRedirects bounds the redirects that one request follows. Metadata
	// requests follow redirects to wherever Transport reaches, MCP requests only
	// within the server's origin, and all others never. Negative: none. Defaults
	// to 3.
	MaxRedirects int
	// MaxTools bounds the elements of a list, over all pages. Defaults to
	// 10,000.
	MaxTools int

	done *shared // set by Prepare
}

// shared is a completed [Shared], and what its clients share beside it.
type shared struct {
	Shared
	ownTransport bool
	authHTTP     *http.Client // to authorization servers
	mcpRedirects func(*http.Request, []*http.Request) error
	keys         []clientKey     // ClientKeys, ready to sign
	capabilities json.RawMessage // declared to MCP servers
	handshake    json.RawMessage // declared to servers before 2026-07-28
	origins      originMemory
	proofs       proofMemory

	// What a connection would have of its own costs memory in each idle session.
	connections atomic.Uint64      // made so far
	flight      singleflight.Group // of all connections, each by its id
	strict      ServerPolicy       // the zero policy, which most connections have
}

// Prepare validates and completes s. Clients made from the result share
// connections and what is known about servers; a host that makes many clients
// prepares once. The result does not change any more: New ignores changes of
// its fields. The error names every mistake.
func (s Shared) Prepare() (Shared, error) {
	done, err := s.prepared()
	if err != nil {
		return Shared{}, err
	}
	s = done.Shared
	s.done = done
	return s, nil
}

// CloseIdleConnections closes connections that no request uses, if s was
// prepared without a Transport. Other transports are their owner's to close.
func (s Shared) CloseIdleConnections() {
	if s.done != nil && s.done.ownTransport {
		(&http.Client{Transport: s.Transport}).CloseIdleConnections()
	}
}

// prepared returns s completed.
func (s Shared) prepared() (*shared, error) {
	if s.done != nil {
		return s.done, nil
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	keys, err := s.prepareKeys()
	if err != nil {
		return nil, err
	}
	out := &shared{Shared: s, ownTransport: s.Transport == nil, keys: keys}
	c := &out.Shared
	c.PreregisteredClients, c.ClientKeys = slices.Clone(c.PreregisteredClients), slices.Clone(c.ClientKeys)
	for i, client := range c.PreregisteredClients {
		if normal, err := NormalizeServerURL(client.ServerURL); err == nil {
			c.PreregisteredClients[i].ServerURL = normal
		}
	}
	c.ClientMetadata = cloneMetadata(c.ClientMetadata)
	if c.ClientMetadata.TokenEndpointAuthMethod == authMethodPrivateKeyJWT && c.ClientMetadata.JWKSURI == "" {
		c.ClientMetadata.JWKSURI = s.keySetURL()
	}
	setDefault(&c.RefreshAhead, time.Minute)
	setDefault(&c.AttemptTTL, 10*time.Minute)
	setDefault(&c.RequestTimeout, 15*time.Second)
	setDefault(&c.ConnectTimeout, 30*time.Second)
	setDefault(&c.DiscoverTimeout, 5*time.Second)
	setDefault(&c.CallTimeout, 5*time.Minute)
	setDefault(&c.MaxResponseBytes, 32<<20)
	setDefault(&c.MaxAuthResponseBytes, 1<<20)
	setDefault(&c.MaxTokenBytes, 16<<10)
	setDefault(&c.MaxRedirects, 3)
	c.MaxRedirects = max(c.MaxRedirects, 0)
	setDefault(&c.MaxTools, 10_000)
	if c.PolicyFor == nil {
		c.PolicyFor = func(string) ServerPolicy { return ServerPolicy{} }
	}
	if c.Transport == nil {
		c.Transport = NewTransport(NetworkPolicy{})
	}
	if c.ClientInfo.Name == "" {
		c.ClientInfo = mcp.Implementation{Name: "mcpoauth", Version: "1"}
	}
	out.authHTTP = newAuthHTTPClient(c.Transport, c.MaxRedirects)
	out.mcpRedirects = redirectWithinOrigin(c.MaxRedirects)
	out.capabilities, out.handshake = capabilitiesJSON(c, ElicitationModes{}), capabilitiesJSON(c, c.AskUsers)
	return out, nil
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

func (s Shared) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("oauthclient: Config.%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if s.ClientMetadataURL != "" {
		if u, err := url.Parse(s.ClientMetadataURL); err != nil || u.Scheme != "https" || u.Host == "" || u.Path == "" || u.Path == "/" || u.User != nil || u.Fragment != "" {
			bad("ClientMetadataURL", "must be an https URL with a path")
		}
	}
	if err := s.checkTransport(); err != nil {
		bad("Transport", "%v", err)
	}
	if s.Grant != nil {
		if err := s.Grant.validate(); err != nil {
			bad("Grant", "%v", err)
		}
	}
	for i, client := range s.PreregisteredClients {
		field := func(name string) string { return fmt.Sprintf("PreregisteredClients[%d]%s", i, name) }
		if client.ClientID == "" || client.Issuer == "" && client.ServerURL == "" {
			bad(field(""), "needs ClientID, and Issuer or ServerURL")
		}
		if client.ServerURL != "" && CheckServerURL(client.ServerURL) != nil {
			bad(field(".ServerURL"), "must be an http or https URL")
		}
		if client.Issuer != "" && CheckServerURL(client.Issuer) != nil {
			bad(field(".Issuer"), "must be an http or https URL")
		}
		if err := checkAuthMethod(client.TokenEndpointAuthMethod); err != nil {
			bad(field(".TokenEndpointAuthMethod"), "%v", err)
		}
		switch method := client.TokenEndpointAuthMethod; {
		case method == authMethodPrivateKeyJWT && len(s.ClientKeys) == 0:
			bad(field(".TokenEndpointAuthMethod"), "needs ClientKeys")
		case client.ClientSecret.IsZero() && method != "" && method != authMethodNone && method != authMethodPrivateKeyJWT:
			bad(field(".ClientSecret"), "is missing for %s", method)
		}
		if slices.ContainsFunc(s.PreregisteredClients[:i], client.sameBinding) {
			bad(field(""), "is the second for its Issuer and ServerURL")
		}
	}
	if err := checkAuthMethod(s.ClientMetadata.TokenEndpointAuthMethod); err != nil {
		bad("ClientMetadata.TokenEndpointAuthMethod", "%v", err)
	}
	if s.ClientMetadata.TokenEndpointAuthMethod == authMethodPrivateKeyJWT {
		if len(s.ClientKeys) == 0 {
			bad("ClientMetadata.TokenEndpointAuthMethod", "needs ClientKeys")
		}
		if s.ClientMetadataURL == "" && s.ClientMetadata.JWKSURI == "" {
			bad("ClientMetadata.JWKSURI", "is required for private_key_jwt without ClientMetadataURL")
		}
	}
	for name, value := range map[string]int64{
		"RefreshAhead": int64(s.RefreshAhead), "AttemptTTL": int64(s.AttemptTTL), "RequestTimeout": int64(s.RequestTimeout),
		"ConnectTimeout": int64(s.ConnectTimeout), "DiscoverTimeout": int64(s.DiscoverTimeout), "CallTimeout": int64(s.CallTimeout), "MaxResponseBytes": s.MaxResponseBytes,
		"MaxAuthResponseBytes": s.MaxAuthResponseBytes, "MaxTools": int64(s.MaxTools), "MaxTokenBytes": int64(s.MaxTokenBytes),
	} {
		if value < 0 {
			bad(name, "must not be negative")
		}
	}
	return errors.Join(errs...)
}

func cloneMetadata(m oauthex.ClientRegistrationMetadata) oauthex.ClientRegistrationMetadata {
	m.RedirectURIs, m.GrantTypes = slices.Clone(m.RedirectURIs), slices.Clone(m.GrantTypes)
	m.ResponseTypes, m.Contacts = slices.Clone(m.ResponseTypes), slices.Clone(m.Contacts)
	return m
}

// RegistrationMetadata returns [Shared.ClientMetadata], completed for the
// callback URLs of a client, as dynamic registration sends it and a Client ID
// Metadata Document shows it.
func (s Shared) RegistrationMetadata(callbackURLs ...string) oauthex.ClientRegistrationMetadata {
	m := cloneMetadata(s.ClientMetadata)
	m.RedirectURIs = slices.Clone(callbackURLs)
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
		m.ApplicationType = applicationType(callbackURLs)
	}
	return m
}

// applicationType returns the type of a client (OpenID Connect Registration
// section 2): "native" if its callback URLs are on loopback or have a
// private-use scheme, "web" if they are elsewhere. No type allows both kinds: it
// is then "", so that the server decides.
func applicationType(callbackURLs []string) string {
	var native int
	for _, callbackURL := range callbackURLs {
		if u, err := url.Parse(callbackURL); err == nil && (netguard.IsLoopback(u.Hostname()) || u.Scheme != "http" && u.Scheme != "https") {
			native++
		}
	}
	switch native {
	case 0:
		return "web"
	case len(callbackURLs):
		return "native"
	default:
		return ""
	}
}
