package oauthclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/members"
)

// Registration is a client as one authorization server knows it. It is bound
// to that server's issuer and never used with another.
type Registration struct {
	// Issuer is the authorization server's.
	Issuer string
	// ClientID is the client identifier.
	ClientID string
	// ClientSecret is the secret of a dynamic client. It is zero for a public
	// client, and for a pre-registered one, whose secret is in the configuration.
	ClientSecret Secret
	// TokenEndpointAuthMethod is "none", "client_secret_basic",
	// "client_secret_post" or "private_key_jwt".
	TokenEndpointAuthMethod string
	// TokenEndpointAuthSigningAlg is the algorithm for private_key_jwt.
	TokenEndpointAuthSigningAlg string
	// RedirectURI is the registered one.
	RedirectURI string
	// Preregistered reports that the client is one of
	// [Shared.PreregisteredClients].
	Preregistered bool
	// Dynamic reports that the client came from dynamic registration and so can
	// be replaced when the server has forgotten it.
	Dynamic bool
	// Scope holds the scopes that a dynamic client was registered for, separated
	// by spaces.
	Scope string
	// SecretExpiry is when ClientSecret ends (client_secret_expires_at); zero
	// for never.
	SecretExpiry time.Time
	// Dead reports that the token endpoint did not know the client.
	Dead bool
	// ReplacedAt is when a user's request, or the death of the client before,
	// last led to a new dynamic registration; zero for never.
	ReplacedAt time.Time

	unknown string // members of a later version
}

// MarshalJSON always fails; see [Registration.MarshalBinary].
func (r Registration) MarshalJSON() ([]byte, error) { return nil, errSecretJSON }

// MarshalBinary returns the registration with its secret.
func (r Registration) MarshalBinary() ([]byte, error) {
	data, err := json.Marshal(r.wire())
	return members.Add(data, r.unknown), err
}

// UnmarshalBinary replaces r with what MarshalBinary returned.
func (r *Registration) UnmarshalBinary(data []byte) error {
	var w registrationWire
	if err := json.Unmarshal(data, &w); err != nil {
		return errors.New("oauthclient: registration is malformed")
	}
	*r = w.registration()
	r.unknown = members.Unknown(data, registrationMembers)
	return nil
}

var registrationMembers = members.Known[registrationWire]()

// registrationWire is the persistent form of [Registration].
type registrationWire struct {
	Issuer                  string    `json:"issuer,omitempty"`
	ClientID                string    `json:"client_id,omitempty"`
	ClientSecret            string    `json:"client_secret,omitempty"`
	TokenEndpointAuthMethod string    `json:"token_endpoint_auth_method,omitempty"`
	SigningAlg              string    `json:"token_endpoint_auth_signing_alg,omitempty"`
	RedirectURI             string    `json:"redirect_uri,omitempty"`
	Preregistered           bool      `json:"preregistered,omitempty"`
	Dynamic                 bool      `json:"dynamic,omitempty"`
	Scope                   string    `json:"scope,omitempty"`
	SecretExpiry            time.Time `json:"secret_expiry,omitzero"`
	Dead                    bool      `json:"dead,omitempty"`
	ReplacedAt              time.Time `json:"replaced_at,omitzero"`
}

func (r Registration) wire() registrationWire {
	w := registrationWire{
		Issuer: r.Issuer, ClientID: r.ClientID, TokenEndpointAuthMethod: r.TokenEndpointAuthMethod, SigningAlg: r.TokenEndpointAuthSigningAlg, RedirectURI: r.RedirectURI,
		Preregistered: r.Preregistered, Dynamic: r.Dynamic, Scope: r.Scope, SecretExpiry: r.SecretExpiry, Dead: r.Dead, ReplacedAt: r.ReplacedAt,
	}
	if !r.Preregistered {
		w.ClientSecret = r.ClientSecret.Reveal()
	}
	return w
}

// registration also reads the form of earlier versions. It ignores the secrets of
// pre-registered clients that they stored.
func (w registrationWire) registration() Registration {
	r := Registration{
		Issuer: w.Issuer, ClientID: w.ClientID, TokenEndpointAuthMethod: w.TokenEndpointAuthMethod, TokenEndpointAuthSigningAlg: w.SigningAlg, RedirectURI: w.RedirectURI,
		Preregistered: w.Preregistered || !w.Dynamic && w.ClientSecret != "", Dynamic: w.Dynamic, Scope: w.Scope,
		SecretExpiry: w.SecretExpiry, Dead: w.Dead, ReplacedAt: w.ReplacedAt,
	}
	if !r.Preregistered {
		r.ClientSecret = NewSecret(w.ClientSecret)
	}
	return r
}

// RegistrationKey names the registration that all connections with the same
// issuer, redirect URI and client metadata share. It is a hash.
type RegistrationKey string

// registrationKey derives the key for this configuration at issuer. It includes
// the policies that decide which metadata is trusted: a connection that trusts
// more must not choose the client of the others.
func (p *OAuthProvider) registrationKey(issuer string) RegistrationKey {
	metadata, _ := json.Marshal(p.cfg.RegistrationMetadata(p.cfg.CallbackURL)) // strings only: cannot fail
	h := sha256.New()
	for _, part := range []string{issuer, p.cfg.CallbackURL, string(metadata), p.policy.TokenEndpointAuthMethod, p.policy.TrustedIssuer, p.policy.ServerMetadataURL} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return RegistrationKey(hex.EncodeToString(h.Sum(nil)))
}

// RegistrationStore keeps dynamic registrations, shared by all connections of
// a host. Implementations must be safe for concurrent use.
type RegistrationStore interface {
	// Load returns the registration, or the zero Registration and no error
	// when there is none.
	Load(ctx context.Context, key RegistrationKey) (Registration, error)
	// Update calls fn exactly once with the present registration (zero for
	// none), excluding every other Update of this key in all processes, and
	// stores what fn made of it; the zero Registration removes it. When fn
	// returns an error nothing is stored and Update returns that error.
	Update(ctx context.Context, key RegistrationKey, fn func(*Registration) error) error
}

// NewMemoryRegistrationStore returns a [RegistrationStore] for one process.
func NewMemoryRegistrationStore() RegistrationStore {
	return &memoryRegistrations{registrations: make(map[RegistrationKey]Registration), updates: make(map[RegistrationKey]*registrationUpdates)}
}

// maxMemoryRegistrations bounds the memory store. Beyond it, a new registration
// evicts another one, whose users then need a new one.
const maxMemoryRegistrations = 10_000

type memoryRegistrations struct {
	mu            sync.Mutex
	registrations map[RegistrationKey]Registration
	updates       map[RegistrationKey]*registrationUpdates
}

// registrationUpdates are the Updates of one key, running or waiting.
type registrationUpdates struct {
	running chan struct{} // holds a value while one runs
	count   int           // guarded by memoryRegistrations.mu
}

func (m *memoryRegistrations) Load(_ context.Context, key RegistrationKey) (Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.registrations[key], nil
}

func (m *memoryRegistrations) Update(ctx context.Context, key RegistrationKey, fn func(*Registration) error) error {
	u := m.enter(key)
	defer m.leave(key, u)
	select {
	case u.running <- struct{}{}:
		defer func() { <-u.running }()
	case <-ctx.Done():
		return fmt.Errorf("oauthclient: waiting to update a registration: %w", ctx.Err())
	}
	r, _ := m.Load(ctx, key)
	if err := fn(&r); err != nil {
		return err
	}
	m.store(key, r)
	return nil
}

func (m *memoryRegistrations) store(key RegistrationKey, r Registration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.registrations, key)
	if r.ClientID == "" {
		return
	}
	for other := range m.registrations {
		if len(m.registrations) < maxMemoryRegistrations {
			break
		}
		delete(m.registrations, other)
	}
	m.registrations[key] = r
}

func (m *memoryRegistrations) enter(key RegistrationKey) *registrationUpdates {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.updates[key]
	if u == nil {
		u = &registrationUpdates{running: make(chan struct{}, 1)}
		m.updates[key] = u
	}
	u.count++
	return u
}

func (m *memoryRegistrations) leave(key RegistrationKey, u *registrationUpdates) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u.count--; u.count == 0 {
		delete(m.updates, key)
	}
}
