package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"
)

// Attempt is one authorization that a user was asked for, with all that its
// callback needs. An authorization is two requests, and the second may reach
// another process: an Attempt is what connects the two. Each attempt stands
// for itself, so two browser tabs are two attempts and either may be finished.
type Attempt struct {
	// ID is a hash of the state. It gives nothing away and may be logged.
	ID string
	// ServerURL is the MCP server that it was begun for.
	ServerURL string
	// Binding names the browser that the attempt was begun for; see
	// [MCPOAuthClient.Bound]. May be empty.
	Binding string
	// Verifier is the PKCE code verifier (RFC 7636).
	Verifier Secret
	// DPoPKey is the key that the tokens will be bound to; zero for none.
	DPoPKey Secret
	// Issuer is the authorization server's, exactly as its metadata states it.
	Issuer string
	// IssParameterSupported means that the server promised an iss in its
	// responses (RFC 9207 section 3).
	IssParameterSupported bool
	// TokenEndpoint and RevocationEndpoint come from the same metadata as the
	// authorization URL.
	TokenEndpoint      string
	RevocationEndpoint string
	// Registration is the client that asked.
	Registration Registration
	// Resource, ResourceMetadataURL: see [Credentials].
	Resource            string
	ResourceMetadataURL string
	// Scopes are those requested; may be empty.
	Scopes []string
	// StepUp is what becomes of [Credentials.StepUp] when this attempt succeeds.
	StepUp []string
	// Expires is when the attempt can no longer be finished.
	Expires time.Time
}

// attemptID derives the ID of the attempt that a state belongs to.
func attemptID(state Secret) string { return state.fingerprint() }

// AttemptID returns the ID of the attempt that the response claims to belong
// to, for a host that must find the session of a callback. It proves nothing.
func (r AuthorizationResponse) AttemptID() string { return attemptID(r.State) }

// MarshalJSON always fails; see [Attempt.MarshalBinary].
func (a Attempt) MarshalJSON() ([]byte, error) { return nil, errSecretJSON }

// MarshalBinary returns the attempt with its secrets.
func (a Attempt) MarshalBinary() ([]byte, error) {
	return json.Marshal(attemptWire{
		ID: a.ID, ServerURL: a.ServerURL, Binding: a.Binding, Verifier: a.Verifier.Reveal(), DPoPKey: a.DPoPKey.Reveal(), Issuer: a.Issuer, IssParameterSupported: a.IssParameterSupported,
		TokenEndpoint: a.TokenEndpoint, RevocationEndpoint: a.RevocationEndpoint, Registration: a.Registration.wire(),
		Resource: a.Resource, ResourceMetadataURL: a.ResourceMetadataURL, Scopes: a.Scopes, StepUp: a.StepUp,
		Expires: a.Expires,
	})
}

// UnmarshalBinary replaces a with what MarshalBinary returned.
func (a *Attempt) UnmarshalBinary(data []byte) error {
	var w attemptWire
	if err := json.Unmarshal(data, &w); err != nil {
		return errors.New("oauthclient: attempt is malformed")
	}
	*a = Attempt{
		ID: w.ID, ServerURL: w.ServerURL, Binding: w.Binding, Verifier: NewSecret(w.Verifier), DPoPKey: NewSecret(w.DPoPKey), Issuer: w.Issuer, IssParameterSupported: w.IssParameterSupported,
		TokenEndpoint: w.TokenEndpoint, RevocationEndpoint: w.RevocationEndpoint, Registration: w.Registration.registration(),
		Resource: w.Resource, ResourceMetadataURL: w.ResourceMetadataURL, Scopes: w.Scopes, StepUp: w.StepUp, Expires: w.Expires,
	}
	return nil
}

// attemptWire is the persistent form of [Attempt].
type attemptWire struct {
	ID                    string           `json:"id"`
	ServerURL             string           `json:"server_url"`
	Binding               string           `json:"binding,omitempty"`
	Verifier              string           `json:"verifier"`
	Issuer                string           `json:"issuer"`
	IssParameterSupported bool             `json:"iss_parameter_supported,omitempty"`
	TokenEndpoint         string           `json:"token_endpoint"`
	DPoPKey               string           `json:"dpop_key,omitempty"`
	RevocationEndpoint    string           `json:"revocation_endpoint,omitempty"`
	Registration          registrationWire `json:"registration"`
	Resource              string           `json:"resource,omitempty"`
	ResourceMetadataURL   string           `json:"resource_metadata,omitempty"`
	Scopes                []string         `json:"scopes,omitempty"`
	StepUp                []string         `json:"step_up,omitempty"`
	Expires               time.Time        `json:"expires"`
}

// AttemptStore keeps pending attempts. Implementations must be safe for
// concurrent use, and shared by all processes that may get the callback.
type AttemptStore interface {
	// Create stores a new attempt until a.Expires.
	Create(ctx context.Context, a Attempt) error
	// Load returns a pending attempt, or [ErrNoAttempt].
	Load(ctx context.Context, id string) (Attempt, error)
	// Take returns a pending attempt and ends it. Of several concurrent
	// calls exactly one gets it, the others get [ErrNoAttempt].
	Take(ctx context.Context, id string) (Attempt, error)
}

// maxMemoryAttempts bounds the memory store. Beyond it, a new attempt evicts the
// one that would expire first.
const maxMemoryAttempts = 1000

// NewMemoryAttemptStore returns an [AttemptStore] for one process. The clock now
// is [time.Now] if it is nil.
func NewMemoryAttemptStore(now func() time.Time) AttemptStore {
	if now == nil {
		now = time.Now
	}
	return &memoryAttempts{now: now, attempts: make(map[string]Attempt)}
}

type memoryAttempts struct {
	now func() time.Time

	mu       sync.Mutex
	attempts map[string]Attempt
}

func (m *memoryAttempts) Create(_ context.Context, a Attempt) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first string
	for id, other := range m.attempts {
		if !m.now().Before(other.Expires) {
			delete(m.attempts, id)
		} else if first == "" || other.Expires.Before(m.attempts[first].Expires) {
			first = id
		}
	}
	if len(m.attempts) >= maxMemoryAttempts {
		delete(m.attempts, first)
	}
	a.Scopes, a.StepUp = slices.Clone(a.Scopes), slices.Clone(a.StepUp)
	m.attempts[a.ID] = a
	return nil
}

func (m *memoryAttempts) Load(_ context.Context, id string) (Attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load(id)
}

func (m *memoryAttempts) Take(_ context.Context, id string) (Attempt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, err := m.load(id)
	delete(m.attempts, id)
	return a, err
}

func (m *memoryAttempts) load(id string) (Attempt, error) {
	a, ok := m.attempts[id]
	if !ok || !m.now().Before(a.Expires) {
		return Attempt{}, ErrNoAttempt
	}
	return a, nil
}
