package oauthtest

import (
	"slices"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

// AuthServerConfig configures an [AuthServer]. The zero value is a strict,
// well-behaved server: authorization code with PKCE S256, dynamic registration,
// rotating refresh tokens with reuse detection, iss in the authorization
// response. Each deviation has a field.
type AuthServerConfig struct {
	// Addr is the address to listen on. Defaults to a free port of 127.0.0.1.
	Addr string
	// User is the user of browsers that name no user. Defaults to "alice".
	User string
	// Consent shows a page with Approve and Deny, for real browsers and for
	// [Browser] alike. Defaults to approving at once.
	Consent bool
	// Clients are clients that were registered by hand.
	Clients []Client
	// NoRegistration switches dynamic client registration (RFC 7591) off.
	NoRegistration bool
	// ClientIDMetadataDocuments accepts https URLs as client_id, without fetching
	// the documents.
	ClientIDMetadataDocuments bool
	// AccessTokenTTL is the life of access tokens. Defaults to one hour.
	AccessTokenTTL time.Duration
	// NoRefreshTokens issues access tokens only.
	NoRefreshTokens bool
	// ScopesSupported are advertised, and other scopes are refused. Defaults to
	// nothing advertised, and every scope granted.
	ScopesSupported []string
	// OmitPKCEMethods advertises no PKCE methods, as Entra ID and Cognito do.
	OmitPKCEMethods bool
	// RejectResource refuses requests with a resource parameter, as Entra ID does.
	RejectResource bool
	// OmitIss neither advertises nor sends iss (RFC 9207).
	OmitIss bool
	// EditMetadata changes the metadata document (RFC 8414) before it is sent.
	// Defaults to no change.
	EditMetadata func(document map[string]any)
	// EditToken changes each answer with tokens before it is sent. Defaults to
	// no change.
	EditToken func(answer map[string]any)
	// Faults are there from the start; see [AuthServer.SetFaults].
	Faults Faults
	// Now is the clock, such as [Clock.Now]; it must not call the server.
	// Defaults to [time.Now].
	Now func() time.Time
}

// Client is a client that is registered by hand.
type Client struct {
	// ID is the client_id.
	ID string
	// Secret is the client_secret. Defaults to none: a public client.
	Secret string
	// RedirectURIs are the callback URLs that the client may use.
	RedirectURIs []string
}

// AuthServer is an OAuth authorization server on the loopback interface.
type AuthServer struct{ server *authtest.Server }

// NewAuthServer starts a server; the caller closes it. It panics if it cannot
// listen, as [net/http/httptest.NewServer] does, and for a configuration that is
// not valid.
func NewAuthServer(cfg AuthServerConfig) *AuthServer {
	options := authtest.Options{
		Addr: cfg.Addr, User: cfg.User, Consent: cfg.Consent,
		NoRegistration: cfg.NoRegistration, ClientIDMetadataDocuments: cfg.ClientIDMetadataDocuments,
		AccessTokenTTL: cfg.AccessTokenTTL, NoRefreshTokens: cfg.NoRefreshTokens, ScopesSupported: cfg.ScopesSupported,
		OmitPKCEMethods: cfg.OmitPKCEMethods, RejectResource: cfg.RejectResource,
		EditMetadata: cfg.EditMetadata, EditToken: cfg.EditToken, Now: cfg.Now,
	}
	if cfg.OmitIss {
		options.Iss = authtest.IssAbsent
	}
	for _, c := range cfg.Clients {
		options.Clients = append(options.Clients, authtest.Client{ID: c.ID, Secret: c.Secret, RedirectURIs: c.RedirectURIs})
	}
	s := &AuthServer{authtest.New(options)}
	s.SetFaults(cfg.Faults)
	return s
}

// Close stops the server and cuts every connection.
func (s *AuthServer) Close() { s.server.Close() }

// Issuer returns the issuer identifier, which is the URL of the server.
func (s *AuthServer) Issuer() string { return s.server.Issuer() }

// SetFaults replaces the faults; nil ends all. A key is an endpoint of an
// authorization server, or [EveryEndpoint]; it panics for another key.
func (s *AuthServer) SetFaults(faults Faults) {
	faults.set(s.server.Faults(), authEndpoints, func(name string) string {
		if slices.Contains(authEndpoints, name) {
			return name
		}
		return ""
	})
}

var authEndpoints = []string{EndpointAuthorize, EndpointToken, EndpointRegister, EndpointRevoke, EndpointMetadata}

// Requests returns the requests to an endpoint, oldest first, or all requests for
// an empty name. Requests that failed are among them.
func (s *AuthServer) Requests(endpoint string) []Request {
	return fromAuth(s.server.Requests(endpoint))
}

// TokenRequests returns the token requests with a grant type, such as
// "authorization_code" or "refresh_token".
func (s *AuthServer) TokenRequests(grantType string) []Request {
	return fromAuth(s.server.TokenRequests(grantType))
}

// ExpireAccessTokens ends every access token before its time. Refresh tokens
// stay valid.
func (s *AuthServer) ExpireAccessTokens() { s.server.ExpireAccessTokens() }

// RevokeAll ends every token, as when all users withdraw their consent.
func (s *AuthServer) RevokeAll() { s.server.RevokeAll() }

// DropClients forgets the clients that registered themselves, as servers do
// that clean up.
func (s *AuthServer) DropClients() { s.server.DropClients() }
