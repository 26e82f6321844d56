package interop_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// service is a host without users: replicas on one store, and a client that its
// administrator has registered.
type service struct {
	shared   oauthclient.Shared
	sessions *memstore.Store
	sealKey  []byte
}

// newService registers a client for client credentials (RFC 7591), with a secret
// or with a key.
func newService(t *testing.T, s *stack, method string, policy oauthclient.ServerPolicy) *service {
	t.Helper()
	svc := &service{sessions: memstore.New(memstore.Config{}), sealKey: make([]byte, 32)}
	_, _ = rand.Read(svc.sealKey)
	svc.shared = oauthclient.Shared{
		Grant: oauthclient.ClientCredentials{}, PolicyFor: func(string) oauthclient.ServerPolicy { return policy },
		Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
	}
	metadata := map[string]any{
		"client_name": "service", "grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{},
		"scope": baseScope + " " + adminScope, "token_endpoint_auth_method": method,
	}
	if method == "private_key_jwt" {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		svc.shared.ClientKeys = []oauthclient.ClientKey{oauthclient.NewClientKey("service-key", private)}
		keys, err := svc.shared.ClientKeySet()
		require.NoError(t, err)
		metadata["jwks"], metadata["token_endpoint_auth_signing_alg"] = json.RawMessage(keys), "ES256"
	}
	body, err := json.Marshal(metadata)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.registrationURL, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	status, answer := do(t, http.DefaultClient, req)
	require.Equal(t, http.StatusCreated, status, answer)
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &client))
	registered := oauthclient.PreregisteredClient{Issuer: s.server.url, ClientID: client.ID, TokenEndpointAuthMethod: method}
	if method != "private_key_jwt" {
		registered.ClientSecret = oauthclient.NewSecret(client.Secret)
	}
	svc.shared.PreregisteredClients = []oauthclient.PreregisteredClient{registered}
	return svc
}

// replica starts a replica of the host.
func (s *service) replica(t *testing.T) *session.Manager {
	t.Helper()
	m, err := session.New(session.Config{Store: s.sessions, SealKeys: [][]byte{s.sealKey}, Client: s.shared})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// serve takes a session without a user through its life on two replicas, and
// reports it as a line.
func (s *stack) serve(t *testing.T, host *service) {
	t.Helper()
	j := begin(t, s.name)
	noUser := session.Caller{}
	first, second := host.replica(t), host.replica(t)
	info, err := first.Connect(t.Context(), noUser, session.ConnectParams{ServerURL: s.mcpURL})
	require.NoError(t, err)
	require.Equal(t, session.StatusConnected, info.Status)
	j.passed("connect")

	id := info.ID.Reveal()
	call := func(m *session.Manager, tool string) {
		t.Helper()
		result, err := m.CallTool(t.Context(), noUser, id, tool, nil)
		require.NoError(t, err)
		require.False(t, result.IsError)
	}
	requests := func() int { return len(s.server.grants("client_credentials")) }
	once := requests()
	call(second, s.whoami)
	call(first, s.whoami)
	require.Equal(t, once, requests(), "both replicas use one token")
	j.passed("call on both replicas")

	call(second, s.admin)
	require.Equal(t, once+1, requests(), "more scopes take no user")
	j.passed("more scopes")

	poll := time.NewTicker(250 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(time.Minute)
	for requests() == once+1 {
		require.True(t, time.Now().Before(deadline), "the access token does not expire")
		call(first, s.whoami)
		call(second, s.whoami)
		<-poll.C
	}
	require.Equal(t, once+2, requests())
	j.passed("again at expiry")

	rejected := s.server.issued()
	s.reject(rejected.text("access_token"))
	call(host.replica(t), s.whoami)
	require.Contains(t, []int{once + 3, once + 4}, requests(), "one, and another if the token was due")
	j.passed("again after 401, on a restarted replica")

	require.NoError(t, first.RemoveClient(t.Context(), noUser, id))
	last := s.server.issued()
	require.Len(t, s.server.revocations(last.text("access_token")), 1)
	j.passed("disconnect, revocation")
	j.finished()
}

// Hydra takes no assertion for its issuer.
func TestHydraClientCredentials(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"client_secret_basic", "client_secret_post", "private_key_jwt"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := hydra(t, "client credentials, "+method)
			s.serve(t, newService(t, s, method, oauthclient.ServerPolicy{ClientAssertionAudience: s.server.url + "/oauth2/token"}))
		})
	}
}

func TestOIDCProviderClientCredentials(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"client_secret_basic", "private_key_jwt"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := oidcProvider(t, "client credentials, "+method)
			s.serve(t, newService(t, s, method, oauthclient.ServerPolicy{}))
		})
	}
}

// With DPoP and nonces at both servers.
func TestOIDCProviderClientCredentialsDPoP(t *testing.T) {
	t.Parallel()
	s, bound := boundOIDCProvider(t, "client credentials, private_key_jwt, DPoP")
	s.serve(t, newService(t, s, "private_key_jwt", oauthclient.ServerPolicy{}))
	requireBound(t, s, bound, 0)
}

// The journey of a user with DPoP and nonces at both servers.
func TestOIDCProviderDPoP(t *testing.T) {
	t.Parallel()
	s, bound := boundOIDCProvider(t, "dynamic registration, DPoP")
	s.registers = true
	s.journey(t, exampleServer(t, settings{}))
	requireBound(t, s, bound, 1) // the journey tries the revoked token itself
}

// requireBound checks that all tokens were bound to keys and proved, and that
// nonces cost repeats.
func requireBound(t *testing.T, s *stack, bound *boundServer, bearers int) {
	t.Helper()
	issued := s.server.seen(func(e *exchange) bool { return e.text("access_token") != "" })
	require.NotEmpty(t, issued)
	for _, e := range issued {
		require.Equal(t, "DPoP", e.text("token_type"))
		require.NotEmpty(t, e.header.Get("DPoP"))
	}
	proofs, nonces, asBearers, ended := bound.counts()
	require.Greater(t, proofs, proofsPerNonce)
	require.Positive(t, nonces)
	require.Equal(t, bearers, asBearers, "a bound token is never sent as a bearer")
	require.Positive(t, ended, "the MCP session is ended with a proof")
	refused := s.server.seen(func(e *exchange) bool { return e.text("error") == "use_dpop_nonce" })
	require.NotEmpty(t, refused, "the authorization server asks for nonces")
}
