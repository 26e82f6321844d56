package oauthclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// failingStore is a store that is away when told so.
type failingStore struct {
	oauthclient.CredentialStore
	load, update atomic.Pointer[error]
}

func (s *failingStore) Load(ctx context.Context) (oauthclient.Credentials, error) {
	if err := s.load.Load(); err != nil {
		return oauthclient.Credentials{}, *err
	}
	return s.CredentialStore.Load(ctx)
}

func (s *failingStore) Update(ctx context.Context, fn func(*oauthclient.Credentials) error) error {
	if err := s.update.Load(); err != nil {
		return *err
	}
	return s.CredentialStore.Update(ctx, fn)
}

func (s *failingStore) Replace(ctx context.Context, next func(oauthclient.Credentials) oauthclient.Credentials) error {
	if err := s.update.Load(); err != nil {
		return *err
	}
	return s.CredentialStore.Replace(ctx, next)
}

func (s *failingStore) SetConnection(ctx context.Context, old, updated oauthclient.Connection) (oauthclient.Connection, error) {
	if err := s.update.Load(); err != nil {
		return oauthclient.Connection{}, *err
	}
	return s.CredentialStore.SetConnection(ctx, old, updated)
}

func sampleCredentials() oauthclient.Credentials {
	now := time.Date(2026, 8, 1, 12, 0, 0, 123456789, time.UTC)
	return oauthclient.Credentials{
		AccessToken: oauthclient.NewSecret("access-canary"), RefreshToken: oauthclient.NewSecret("refresh-canary"), Replaced: []oauthclient.Secret{oauthclient.NewSecret("replaced-canary")}, TokenType: "Bearer", DPoPKey: oauthclient.NewSecret("dpop-key-canary"),
		Expiry: now, RefreshAfter: now.Add(-time.Minute), RefreshExpiry: now.Add(time.Hour), Scopes: []string{"a", "b"}, StepUp: []string{"", "b"},
		Issuer: "https://as.example", TokenEndpoint: "https://as.example/token", RevocationEndpoint: "https://as.example/revoke",
		Resource: "https://mcp.example/mcp", ResourceMetadataURL: "https://mcp.example/meta", Registration: sampleRegistration(),
		Connection: sampleConnection,
	}
}

var sampleConnection = oauthclient.SampleConnection("")

func sampleRegistration() oauthclient.Registration {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	return oauthclient.Registration{
		Issuer: "https://as.example", ClientID: "client", ClientSecret: oauthclient.NewSecret("client-canary"),
		TokenEndpointAuthMethod: "client_secret_basic", TokenEndpointAuthSigningAlg: "ES256", RedirectURI: callbackURL, Dynamic: true, Scope: "a b", SecretExpiry: now, Dead: true, ReplacedAt: now,
	}
}

func sampleAttempt() oauthclient.Attempt {
	return oauthclient.Attempt{
		ID: "id", ServerURL: "https://mcp.example/mcp", Binding: "browser", Verifier: oauthclient.NewSecret("verifier-canary"), DPoPKey: oauthclient.NewSecret("dpop-key-canary"), Issuer: "https://as.example", IssParameterSupported: true,
		TokenEndpoint: "https://as.example/token", RevocationEndpoint: "https://as.example/revoke", Registration: sampleRegistration(),
		Resource: "https://mcp.example/mcp", ResourceMetadataURL: "https://mcp.example/meta", Scopes: []string{"a"}, StepUp: []string{"a"},
		Expires: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC),
	}
}

// A member that is forgotten in the persistent form is lost at a restart.
func TestBinaryFormsAreComplete(t *testing.T) {
	t.Parallel()
	requireNoZeroField(t, sampleCredentials())
	registered := sampleRegistration()
	registered.Preregistered = true // which it is not: its secret would not be stored
	requireNoZeroField(t, registered)
	requireNoZeroField(t, sampleAttempt())

	data, err := sampleCredentials().MarshalBinary()
	require.NoError(t, err)
	var creds oauthclient.Credentials
	require.NoError(t, creds.UnmarshalBinary(data))
	require.Equal(t, sampleCredentials(), creds)

	data, err = sampleRegistration().MarshalBinary()
	require.NoError(t, err)
	var registration oauthclient.Registration
	require.NoError(t, registration.UnmarshalBinary(data))
	require.Equal(t, sampleRegistration(), registration)

	data, err = sampleAttempt().MarshalBinary()
	require.NoError(t, err)
	var attempt oauthclient.Attempt
	require.NoError(t, attempt.UnmarshalBinary(data))
	require.Equal(t, sampleAttempt(), attempt)

	data, err = oauthclient.Credentials{}.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, "{}", string(data))
	require.NoError(t, creds.UnmarshalBinary(data))
	require.Equal(t, oauthclient.Credentials{}, creds, "nothing of what was there before remains")
}

func TestBinaryFormsRefuseGarbage(t *testing.T) {
	t.Parallel()
	for _, garbage := range []string{"", "{", "access-canary", `{"access_token":{"canary":1}}`, `{"client_id":7,"id":7}`} {
		for _, err := range []error{
			new(oauthclient.Credentials).UnmarshalBinary([]byte(garbage)),
			new(oauthclient.Registration).UnmarshalBinary([]byte(garbage)),
			new(oauthclient.Attempt).UnmarshalBinary([]byte(garbage)),
		} {
			if err != nil {
				require.NotContains(t, err.Error(), "canary")
			}
		}
	}
	require.Error(t, new(oauthclient.Credentials).UnmarshalBinary([]byte("{")))
	require.Error(t, new(oauthclient.Registration).UnmarshalBinary([]byte("{")))
	require.Error(t, new(oauthclient.Attempt).UnmarshalBinary([]byte("{")))
}

// A home-made store that used encoding/json would lose the tokens silently.
func TestJSONRefusesSecrets(t *testing.T) {
	t.Parallel()
	for _, v := range []any{sampleCredentials(), sampleRegistration(), sampleAttempt(), struct{ C oauthclient.Credentials }{sampleCredentials()}} {
		_, err := json.Marshal(v)
		require.ErrorContains(t, err, "MarshalBinary", fmt.Sprintf("%T", v))
	}
}

func TestMemoryCredentialStore(t *testing.T) {
	t.Parallel()
	initial := sampleCredentials()
	store := oauthclient.NewMemoryCredentialStore(initial)
	initial.Scopes[0] = "changed"
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, got.Scopes, "copied in")
	got.Scopes[0] = "changed"
	got, _ = store.Load(t.Context())
	require.Equal(t, []string{"a", "b"}, got.Scopes, "copied out")

	boom := errors.New("boom")
	require.ErrorIs(t, store.Update(t.Context(), func(c *oauthclient.Credentials) error {
		c.AccessToken = oauthclient.Secret{}
		c.Scopes[0] = "changed"
		return boom
	}), boom)
	got, _ = store.Load(t.Context())
	require.Equal(t, sampleCredentials(), got, "an error stores nothing")

	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, store.Update(t.Context(), func(*oauthclient.Credentials) error {
		_, err := store.Load(t.Context())
		require.NoError(t, err, "reading goes on during an update")
		cancel()
		require.ErrorIs(t, store.Update(ctx, func(*oauthclient.Credentials) error { return nil }), context.Canceled, "one at a time")
		return nil
	}))
}

func TestMemoryRegistrationStore(t *testing.T) {
	t.Parallel()
	store := oauthclient.NewMemoryRegistrationStore()
	got, err := store.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, oauthclient.Registration{}, got)
	var inside atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_ = store.Update(t.Context(), "k", func(r *oauthclient.Registration) error {
				if inside.Add(1) != 1 {
					r.Issuer = "two at a time"
				}
				r.ClientID += "x"
				inside.Add(-1)
				return nil
			})
		})
	}
	wg.Wait()
	got, _ = store.Load(t.Context(), "k")
	require.Equal(t, oauthclient.Registration{ClientID: "xxxxxxxxxxxxxxxxxxxx"}, got)
	boom := errors.New("boom")
	require.ErrorIs(t, store.Update(t.Context(), "other", func(r *oauthclient.Registration) error {
		require.Empty(t, r.ClientID)
		r.ClientID = "never stored"
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, store.Update(ctx, "other", func(*oauthclient.Registration) error { return nil }), context.Canceled)
		return boom
	}), boom)
	got, _ = store.Load(t.Context(), "other")
	require.Empty(t, got.ClientID)
}

// Attempts that no user finishes must not fill the memory.
func TestMemoryAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	now := newClock()
	c, err := oauthclient.New(oauthclient.Config{
		ServerURL: "https://mcp.example", CallbackURL: callbackURL, Now: now.Now, Shared: oauthclient.Shared{Transport: cannedServers{}, InsecureTransport: true,
			PreregisteredClients: []oauthclient.PreregisteredClient{{Issuer: "https://as.example", ClientID: "c"}},
		}})
	require.NoError(t, err)
	var states []string
	for range 1001 {
		required := requireAuthorization(t, c.Provider().Reauthorize(t.Context(), false))
		states = append(states, query(t, required).Get("state"))
		now.Advance(time.Millisecond)
	}
	finish := func(state string) error {
		return c.FinishAuth(t.Context(), oauthclient.AuthorizationResponse{State: oauthclient.NewSecret(state), Code: oauthclient.NewSecret("code")})
	}
	require.ErrorIs(t, finish(states[0]), oauthclient.ErrInvalidCallback, "the oldest made room")
	require.NoError(t, finish(states[1]))
	require.NoError(t, finish(states[1000]))
}

// cannedServers answers for an MCP server and its authorization server without
// a network.
type cannedServers struct{}

func (cannedServers) RoundTrip(req *http.Request) (*http.Response, error) {
	body := map[string]string{
		"https://mcp.example/.well-known/oauth-protected-resource": `{"resource":"https://mcp.example","authorization_servers":["https://as.example"]}`,
		"https://as.example/.well-known/oauth-authorization-server": `{"issuer":"https://as.example","authorization_endpoint":"https://as.example/a",
			"token_endpoint":"https://as.example/t","code_challenge_methods_supported":["S256"]}`,
		"https://as.example/t": `{"access_token":"a"}`,
	}[req.URL.String()]
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

// Loads, and Updates that store nothing, leave nothing behind.
func TestMemoryRegistrationStore_KeepsOnlyRegistrations(t *testing.T) {
	t.Parallel()
	store := oauthclient.NewMemoryRegistrationStore()
	key := func(i int) oauthclient.RegistrationKey { return oauthclient.RegistrationKey(fmt.Sprint(i)) }
	for i := range 1000 {
		_, err := store.Load(t.Context(), key(i))
		require.NoError(t, err)
		require.Error(t, store.Update(t.Context(), key(i), func(*oauthclient.Registration) error { return errors.New("no") }))
		require.NoError(t, store.Update(t.Context(), key(i), func(r *oauthclient.Registration) error { r.ClientID = "id"; return nil }))
		require.NoError(t, store.Update(t.Context(), key(i), func(r *oauthclient.Registration) error { *r = oauthclient.Registration{}; return nil }))
	}
	require.Zero(t, oauthclient.MemoryRegistrations(store))
	for i := range 10_100 {
		require.NoError(t, store.Update(t.Context(), key(i), func(r *oauthclient.Registration) error { r.ClientID = "id"; return nil }))
	}
	require.Equal(t, 10_000, oauthclient.MemoryRegistrations(store))
	last, err := store.Load(t.Context(), key(10_099))
	require.NoError(t, err)
	require.Equal(t, "id", last.ClientID)
}

func TestMemoryAttemptStore(t *testing.T) {
	t.Parallel()
	a := sampleAttempt()
	for name, store := range map[string]oauthclient.AttemptStore{
		"clock": oauthclient.NewMemoryAttemptStore(func() time.Time { return a.Expires.Add(-time.Second) }), "no clock": oauthclient.NewMemoryAttemptStore(nil),
	} {
		t.Run(name, func(t *testing.T) {
			a := a
			if name == "no clock" {
				a.Expires = time.Now().Add(time.Minute)
			}
			_, err := store.Load(t.Context(), a.ID)
			require.ErrorIs(t, err, oauthclient.ErrNoAttempt)
			require.NoError(t, store.Create(t.Context(), a))
			got, err := store.Take(t.Context(), a.ID)
			require.NoError(t, err)
			require.Equal(t, a, got)
			_, err = store.Take(t.Context(), a.ID)
			require.ErrorIs(t, err, oauthclient.ErrNoAttempt)
		})
	}
}
