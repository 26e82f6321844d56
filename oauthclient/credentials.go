package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/mcpoauth/mcpoauth/internal/members"
)

// Credentials are what one user's connection to one MCP server needs to go on
// without the user: the tokens, and all that is needed to refresh and revoke
// them. The zero value is a connection that was never authorized.
//
// Fmt verbs and slog show no secret. To persist credentials use
// [Credentials.MarshalBinary], and encrypt the result; encoding/json refuses.
type Credentials struct {
	// AccessToken is sent to the MCP server; zero when there is none.
	AccessToken Secret
	// RefreshToken is zero when the authorization server issued none.
	RefreshToken Secret
	// Replaced are refresh tokens that later grants of the same user and client
	// replaced, the newest first. They are revoked when the connection ends and
	// not before: many servers end all grants of a user and client with one.
	Replaced []Secret
	// TokenType is the type of the access token (RFC 6749 section 7.1),
	// "Bearer", or "DPoP" for one that is bound to DPoPKey.
	TokenType string
	// DPoPKey is the private key (P-256) that tokens are bound to (RFC 9449),
	// zero for none.
	DPoPKey Secret
	// Expiry is the absolute end of the access token; zero when the server
	// did not say, which means: use it until a 401.
	Expiry time.Time
	// RefreshAfter is when a refresh is due, somewhat ahead of Expiry.
	RefreshAfter time.Time
	// RefreshExpiry is the absolute end of the refresh token, which a refresh
	// moves; zero when the server did not say. A refresh token is tried after it
	// all the same.
	RefreshExpiry time.Time

	// Scopes are those granted, or those requested when the server did not
	// say (RFC 6749 section 5.1).
	Scopes []string
	// StepUp collects the scopes of all insufficient_scope challenges that
	// led to the present grant, with "" for a challenge that named none.
	StepUp []string

	// Issuer identifies the authorization server that issued the tokens.
	Issuer string
	// TokenEndpoint and RevocationEndpoint are that server's; the latter may
	// be empty.
	TokenEndpoint      string
	RevocationEndpoint string
	// Resource is the resource indicator (RFC 8707); empty when left out.
	Resource string
	// ResourceMetadataURL is where the resource metadata was found; empty
	// for servers without.
	ResourceMetadataURL string
	// Registration is the client the tokens were issued to.
	Registration Registration

	// Connection is what was agreed on with the MCP server. A new grant ends
	// it: another account may have authorized.
	Connection Connection
	answers    serverAnswers
	unknown    string // members of a later version; a new grant ends them
}

// Authorized reports whether there is a token to use or to refresh.
func (c Credentials) Authorized() bool { return !c.AccessToken.IsZero() || !c.RefreshToken.IsZero() }

// usable reports whether there is an access token that has not expired.
func (c Credentials) usable(now time.Time) bool {
	return !c.AccessToken.IsZero() && (c.Expiry.IsZero() || now.Before(c.Expiry))
}

// Issued returns when the access token was issued, and with it the present refresh
// token was issued or used; zero when unknown.
func (c Credentials) Issued() time.Time { return c.answers.Issued }

// Lost reports whether the authorization server has refused to renew the
// authorization, and either no access token is left or no refresh token: the user
// must authorize again, now or when the access token ends. A refresh token that
// was kept may still succeed later.
func (c Credentials) Lost() bool {
	return c.answers.Refusal != "" && (c.AccessToken.IsZero() || c.RefreshToken.IsZero())
}

// refreshDue reports whether it is time to replace the access token.
func (c Credentials) refreshDue(now time.Time) bool {
	return !c.RefreshAfter.IsZero() && !now.Before(c.RefreshAfter)
}

// clone returns a copy that shares nothing mutable.
func (c Credentials) clone() Credentials {
	c.Scopes, c.StepUp, c.Replaced = slices.Clone(c.Scopes), slices.Clone(c.StepUp), slices.Clone(c.Replaced)
	return c
}

// errSecretJSON is what encoding/json gets from types that hold secrets: a
// silent loss of tokens in a home-made store would be worse.
var errSecretJSON = errors.New("oauthclient: this value holds secrets; use MarshalBinary to persist it")

// MarshalJSON always fails; see [Credentials.MarshalBinary].
func (c Credentials) MarshalJSON() ([]byte, error) { return nil, errSecretJSON }

// MarshalBinary returns the credentials with their secrets, in a form that
// [Credentials.UnmarshalBinary] of this and later versions reads. Members that a
// later version added are kept.
func (c Credentials) MarshalBinary() ([]byte, error) {
	connection, err := c.Connection.MarshalBinary()
	if err != nil {
		return nil, err
	}
	var registration []byte
	if c.Registration != (Registration{}) {
		if registration, err = c.Registration.MarshalBinary(); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(credentialsWire{
		AccessToken: c.AccessToken.Reveal(), RefreshToken: c.RefreshToken.Reveal(), Replaced: revealAll(c.Replaced), TokenType: c.TokenType, DPoPKey: c.DPoPKey.Reveal(),
		Expiry: c.Expiry, RefreshAfter: c.RefreshAfter, RefreshExpiry: c.RefreshExpiry, Scopes: c.Scopes, StepUp: c.StepUp,
		Issuer: c.Issuer, TokenEndpoint: c.TokenEndpoint, RevocationEndpoint: c.RevocationEndpoint,
		Resource: c.Resource, ResourceMetadataURL: c.ResourceMetadataURL, Registration: registration, Connection: connection,
		Standing: c.answers,
	})
	return members.Add(data, c.unknown), err
}

// UnmarshalBinary replaces c with what MarshalBinary returned.
func (c *Credentials) UnmarshalBinary(data []byte) error {
	var w credentialsWire
	var registration Registration
	err := json.Unmarshal(data, &w)
	if err == nil && len(w.Registration) > 0 {
		err = registration.UnmarshalBinary(w.Registration)
	}
	if err != nil {
		return errors.New("oauthclient: credentials are malformed")
	}
	*c = Credentials{
		AccessToken: NewSecret(w.AccessToken), RefreshToken: NewSecret(w.RefreshToken), Replaced: secrets(w.Replaced), TokenType: w.TokenType, DPoPKey: NewSecret(w.DPoPKey),
		Expiry: w.Expiry, RefreshAfter: w.RefreshAfter, RefreshExpiry: w.RefreshExpiry, Scopes: w.Scopes, StepUp: w.StepUp,
		Issuer: w.Issuer, TokenEndpoint: w.TokenEndpoint, RevocationEndpoint: w.RevocationEndpoint,
		Resource: w.Resource, ResourceMetadataURL: w.ResourceMetadataURL, Registration: registration,
		answers: w.Standing, unknown: members.Unknown(data, credentialsMembers),
	}
	c.share()
	return c.Connection.UnmarshalBinary(w.Connection)
}

// share makes c use one copy of the texts that many connections have: those of
// one server differ in little but their secrets.
func (c *Credentials) share() {
	r := &c.Registration
	for _, text := range []*string{
		&c.TokenType, &c.Issuer, &c.TokenEndpoint, &c.RevocationEndpoint, &c.Resource, &c.ResourceMetadataURL,
		&r.Issuer, &r.ClientID, &r.TokenEndpointAuthMethod, &r.RedirectURI, &r.Scope,
	} {
		*text = unique.Make(*text).Value()
	}
	for _, list := range [][]string{c.Scopes, c.StepUp} {
		for i, scope := range list {
			list[i] = unique.Make(scope).Value()
		}
	}
}

var credentialsMembers = members.Known[credentialsWire]()

// credentialsWire is the persistent form of [Credentials].
type credentialsWire struct {
	AccessToken         string          `json:"access_token,omitempty"`
	RefreshToken        string          `json:"refresh_token,omitempty"`
	Replaced            []string        `json:"replaced,omitempty"`
	TokenType           string          `json:"token_type,omitempty"`
	DPoPKey             string          `json:"dpop_key,omitempty"`
	Expiry              time.Time       `json:"expiry,omitzero"`
	RefreshAfter        time.Time       `json:"refresh_after,omitzero"`
	RefreshExpiry       time.Time       `json:"refresh_expiry,omitzero"`
	Scopes              []string        `json:"scopes,omitempty"`
	StepUp              []string        `json:"step_up,omitempty"`
	Issuer              string          `json:"issuer,omitempty"`
	TokenEndpoint       string          `json:"token_endpoint,omitempty"`
	RevocationEndpoint  string          `json:"revocation_endpoint,omitempty"`
	Resource            string          `json:"resource,omitempty"`
	ResourceMetadataURL string          `json:"resource_metadata,omitempty"`
	Registration        json.RawMessage `json:"registration,omitempty"`
	Connection          json.RawMessage `json:"connection,omitempty"`
	Standing            serverAnswers   `json:"standing,omitzero"`
}

// CredentialStore keeps the credentials of one connection. Implementations
// must be safe for concurrent use.
//
// A store that several processes share makes them one client: a token that
// one of them refreshed, and a connection that one of them made, is used by all.
// Encrypt what [Credentials.MarshalBinary] returns.
type CredentialStore interface {
	// Load returns the present credentials; the zero Credentials, and no
	// error, when nothing was ever stored. It is called before every request
	// to the MCP server and so should answer from memory where it can.
	Load(ctx context.Context) (Credentials, error)

	// Update calls fn exactly once with the present credentials, excluding
	// every other Update of this connection, in all processes, while fn
	// runs (fn may take as long as a request to the token endpoint), and
	// durably stores what fn made of them before it returns. When fn returns
	// an error nothing is stored and Update returns that error.
	Update(ctx context.Context, fn func(*Credentials) error) error

	// Replace durably stores the credentials of a new grant, which next returns, in
	// place of the present ones, which next gets. It calls next again if others
	// have been stored meanwhile. It spends nothing that is stored, so it excludes
	// no Update: an Update that began before must fail, or see them.
	Replace(ctx context.Context, next func(old Credentials) Credentials) error

	// SetConnection stores updated as the connection data if old still are
	// ([Connection.Equal]), leaving all else as it is, and returns the
	// connection data that are stored then. It excludes no Update.
	SetConnection(ctx context.Context, old, updated Connection) (Connection, error)
}

// NewMemoryCredentialStore returns a [CredentialStore] for one process,
// holding initial, which may be zero.
func NewMemoryCredentialStore(initial Credentials) CredentialStore {
	return &memoryCredentials{creds: initial.clone(), updating: make(chan struct{}, 1)}
}

type memoryCredentials struct {
	updating chan struct{} // holds a value while an Update runs

	mu    sync.Mutex
	creds Credentials
}

func (m *memoryCredentials) Load(context.Context) (Credentials, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.creds.clone(), nil
}

func (m *memoryCredentials) Update(ctx context.Context, fn func(*Credentials) error) error {
	select {
	case m.updating <- struct{}{}:
		defer func() { <-m.updating }()
	case <-ctx.Done():
		return fmt.Errorf("oauthclient: waiting to update the credentials: %w", ctx.Err())
	}
	before, _ := m.Load(ctx)
	creds := before.clone()
	if err := fn(&creds); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.creds.AccessToken.Equal(before.AccessToken) {
		return errors.New("oauthclient: the credentials were replaced by those of a new grant")
	}
	if creds.Connection.Equal(before.Connection) {
		creds.Connection = m.creds.Connection
	}
	m.creds = creds.clone()
	return nil
}

func (m *memoryCredentials) Replace(_ context.Context, next func(Credentials) Credentials) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.creds = next(m.creds.clone()).clone()
	return nil
}

func (m *memoryCredentials) SetConnection(_ context.Context, old, updated Connection) (Connection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.creds.Connection.Equal(old) {
		m.creds.Connection = updated
	}
	return m.creds.Connection, nil
}
