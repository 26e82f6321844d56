package oauthclient_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func boundWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true, Stateful: true})
}

// calls counts the requests to the MCP endpoint, and requires that none of them
// carried a bound token as a bearer.
func (w *world) calls() int {
	requests := w.mcp.Requests()
	for _, req := range requests {
		require.False(w.t, strings.HasPrefix(req.Header.Get("Authorization"), "Bearer"))
	}
	return len(requests)
}

// The fakes verify type, signature, htm, htu, ath, iat and key of every proof,
// and take each jti once.
func TestDPoP(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	attempts := oauthclient.NewMemoryAttemptStore(w.clock.Now)
	shared := func(cfg *oauthclient.Config) { cfg.Attempts = attempts }
	c := w.client(shared)
	required := w.begin(c)
	require.NotEmpty(t, query(t, required).Get("dpop_jkt"))
	second := w.client(shared)
	require.NoError(t, second.FinishAuth(t.Context(), w.approve(required)), "the callback reaches another replica")
	require.NoError(t, w.call(c))
	require.NoError(t, w.call(second))
	stored := w.stored()
	require.Equal(t, "DPoP", stored.TokenType)
	info, err := w.as.Verify(stored.AccessToken.Reveal())
	require.NoError(t, err)
	require.Equal(t, query(t, required).Get("dpop_jkt"), info.Thumbprint)

	w.clock.Advance(time.Hour)
	require.NoError(t, w.call(w.client()), "a restart and a refresh later")
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Equal(t, stored.DPoPKey.Reveal(), w.stored().DPoPKey.Reveal())
	for _, req := range w.as.Requests(authtest.EndpointToken) {
		require.NotEmpty(t, req.Header.Get("DPoP"))
	}
	require.NoError(t, c.Disconnect(t.Context()))
	require.NotZero(t, w.calls())
}

// A new nonce costs one repeat, and never a refresh.
func TestDPoP_Nonces(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	w.as.RotateNonce()
	c := w.connected()
	require.Len(t, w.as.TokenRequests("authorization_code"), 2)
	require.NoError(t, w.call(c))
	warm := w.calls()
	require.NoError(t, w.call(c))
	require.Equal(t, warm+1, w.calls(), "the nonce is known")
	w.as.RotateNonce()
	require.NoError(t, w.call(c))
	require.Equal(t, warm+3, w.calls(), "one repeat")
	require.NoError(t, w.call(w.client()), "another replica shares no memory")
	w.clock.Advance(time.Hour)
	w.as.RotateNonce()
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Refreshes)
	require.Len(t, w.as.TokenRequests("refresh_token"), 2)
}

// Tokens are bound only where both servers say so, unless the policy says no.
func TestDPoP_WhereItIsAdvertised(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		as, mcp bool
		policy  oauthclient.ServerPolicy
		want    string
	}{
		"both":                      {as: true, mcp: true, want: "DPoP"},
		"the MCP server only":       {mcp: true, want: "Bearer"},
		"authorization server only": {as: true, want: "Bearer"},
		"switched off":              {as: true, mcp: true, policy: oauthclient.ServerPolicy{SkipDPoP: true}, want: "Bearer"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{DPoP: row.as}, mcptest.Options{DPoP: row.mcp})
			require.NoError(t, w.call(w.connected(policy(row.policy))))
			require.Equal(t, row.want, w.stored().TokenType)
			require.Equal(t, row.want == "Bearer", w.stored().DPoPKey.IsZero())
		})
	}
}

// A bound token leaves the client with a proof or not at all.
func TestDPoP_NeverABearer(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	c := w.connected()
	_, err := c.Provider().Token(t.Context())
	require.ErrorIs(t, err, oauthclient.ErrTokenBound)
	source, err := c.Provider().TokenSource(t.Context())
	require.NoError(t, err)
	_, err = source.Token()
	require.ErrorIs(t, err, oauthclient.ErrTokenBound)
}

func TestDPoP_OtherGrants(t *testing.T) {
	t.Parallel()
	w := serviceWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true})
	c := w.client(service(w, oauthclient.ClientCredentials{}))
	require.NoError(t, w.call(c))
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	require.Equal(t, "DPoP", w.stored().TokenType)
	w.calls()
}

// BenchmarkCall compares a warm call with a bearer token, one with a proof, and
// what the proof costs: a signature here, and its verification by the fake, which
// runs in the same process.
func BenchmarkCall(b *testing.B) {
	b.Run("signature", func(b *testing.B) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(b, err)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		require.NoError(b, err)
		for b.Loop() {
			signed, err := signer.Sign([]byte("claims"))
			require.NoError(b, err)
			_, err = signed.Verify(key.Public())
			require.NoError(b, err)
		}
	})
	for name, bound := range map[string]bool{"bearer": false, "dpop": true} {
		b.Run(name, func(b *testing.B) {
			as := authtest.New(authtest.Options{DPoP: bound, DiscardRequests: true})
			defer as.Close()
			server := mcptest.New(mcptest.Options{Auth: as, DPoP: bound, DiscardRequests: true})
			defer server.Close()
			c, err := oauthclient.New(oauthclient.Config{ServerURL: server.URL(), CallbackURL: callbackURL, Shared: oauthclient.Shared{
				Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			}})
			require.NoError(b, err)
			var required *oauthclient.AuthorizationRequiredError
			require.ErrorAs(b, c.Connect(b.Context()), &required)
			callback, err := as.Approve(b.Context(), required.AuthURL)
			require.NoError(b, err)
			_, query, _ := strings.Cut(callback, "?")
			require.NoError(b, c.FinishAuth(b.Context(), oauthclient.ParseAuthorizationResponse(oauthclient.ParseCallbackQuery(query))))
			for b.Loop() {
				_, err := c.CallTool(b.Context(), "echo", nil)
				require.NoError(b, err)
			}
		})
	}
}
