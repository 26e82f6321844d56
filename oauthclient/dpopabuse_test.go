package oauthclient_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// tripper answers requests in place of a transport, or passes them on.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// wrapped is a change of the configuration to a transport around the world's.
// answer may return nil to pass a request on.
func (w *world) wrapped(answer func(*http.Request) *http.Response) func(*oauthclient.Config) {
	return func(cfg *oauthclient.Config) {
		cfg.InsecureTransport = true
		cfg.Transport = tripper(func(req *http.Request) (*http.Response, error) {
			if resp := answer(req); resp != nil {
				if req.Body != nil {
					_ = req.Body.Close()
				}
				resp.Request, resp.Body = req, http.NoBody
				return resp, nil
			}
			return w.http.Transport.RoundTrip(req)
		})
	}
}

func refusal(status int, challenge, nonce string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": {challenge}}}
	if nonce != "" {
		resp.Header.Set("DPoP-Nonce", nonce)
	}
	return resp
}

// A server takes the assertion of a client once, so the repeat with a nonce has
// an assertion of its own.
func TestDPoP_NonceAndPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	key := oauthclient.NewClientKey("", signers(t)["ES256"])
	w := newWorld(t, authtest.Options{
		DPoP: true, NoRegistration: true, AuthMethods: []string{authtest.AuthPrivateKeyJWT},
		Clients: []authtest.Client{{ID: "app", AuthMethod: authtest.AuthPrivateKeyJWT, Keys: keySet(t, key), RedirectURIs: []string{callbackURL}}},
	}, mcptest.Options{DPoP: true})
	w.as.RotateNonce()
	c := w.connected(withKeys(w, key))
	w.as.RotateNonce()
	w.clock.Advance(time.Hour)
	require.NoError(t, w.call(c))
	require.Equal(t, 1, w.as.Counts().Refreshes)
}

// A server that is never content with a nonce has a problem of its own: the token
// is good, so it is not refreshed, and no user is asked.
func TestDPoP_NonceForEver(t *testing.T) {
	t.Parallel()
	rows := map[string]func(n int32) string{
		"another each time": func(n int32) string { return fmt.Sprintf("nonce-%d", n) },
		"none":              func(int32) string { return "" },
		"1 MiB":             func(int32) string { return strings.Repeat("n", 1<<20) },
	}
	for name, nonce := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := boundWorld(t)
			require.NoError(t, w.call(w.connected()))
			var refused atomic.Int32
			var broken atomic.Value
			broken.Store("")
			c := w.client(w.wrapped(func(req *http.Request) *http.Response {
				if !strings.HasPrefix(req.URL.String(), broken.Load().(string)) || broken.Load() == "" {
					return nil
				}
				resp := refusal(http.StatusUnauthorized, `DPoP error="use_dpop_nonce"`, nonce(refused.Add(1)))
				resp.Header.Set("Content-Type", "application/json")
				return resp
			}))
			broken.Store(w.mcp.URL())
			requireTemporary(t, w.call(c))
			require.LessOrEqual(t, refused.Load(), int32(2))
			require.Zero(t, w.as.Counts().Refreshes)
			broken.Store("")
			require.NoError(t, w.call(c), "the token was kept")
		})
	}
}

func TestDPoP_NonceForEver_TokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, nonce := range map[string]string{"another each time": "nonce", "none": "", "too long": strings.Repeat("n", 2<<10)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := boundWorld(t)
			c := w.connected()
			before := w.stored()
			var asked atomic.Int32
			w.as.SetOutage(authtest.EndpointToken, func(rw http.ResponseWriter, r *http.Request) {
				if nonce != "" {
					rw.Header().Set("DPoP-Nonce", fmt.Sprint(nonce, asked.Load()))
				}
				asked.Add(1)
				authtest.OAuthError(400, "use_dpop_nonce", "once more")(rw, r)
			})
			w.clock.Advance(2 * time.Hour)
			requireTemporary(t, w.call(c))
			require.LessOrEqual(t, asked.Load(), int32(2))
			require.Equal(t, before.RefreshToken.Reveal(), w.stored().RefreshToken.Reveal())
			w.as.SetOutage(authtest.EndpointToken, nil)
			w.clock.Advance(time.Minute)
			require.NoError(t, w.call(c))
		})
	}
}

// Each nonce is good for one request, so concurrent calls take each other's. The
// repeat has the nonce of its own refusal.
func TestDPoP_NoncesOfOneUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{DPoP: true, SingleUseNonces: true}, mcptest.Options{DPoP: true, Stateful: true})
	c := w.connected()
	errs := make([]error, 30)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = c.CallTool(t.Context(), "echo", nil) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Zero(t, w.as.Counts().Refreshes)
}

// A server that no longer knows nonces refuses the one that a replica remembers.
func TestDPoP_NoncesAreOver(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	w.as.RotateNonce()
	c := w.connected()
	require.NoError(t, w.call(c))
	w.as.DropNonce()
	require.NoError(t, w.call(c))
	require.Zero(t, w.as.Counts().Refreshes)
}

// The key of a bound token is lost, or damaged. The user is asked, for a token
// that is bound again; nothing is sent without a proof.
func TestDPoP_LostKey(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]oauthclient.Secret{"none": {}, "malformed": oauthclient.NewSecret("no key")} {
		for state, age := range map[string]time.Duration{"token good": 0, "token expired": 2 * time.Hour} {
			t.Run(name+", "+state, func(t *testing.T) {
				t.Parallel()
				w := boundWorld(t)
				c := w.connected()
				w.edit(func(creds *oauthclient.Credentials) { creds.DPoPKey = key })
				w.clock.Advance(age)
				before := w.mcp.CountHTTP(http.MethodPost)
				required := requireAuthorization(t, w.call(c))
				require.Equal(t, before, w.mcp.CountHTTP(http.MethodPost))
				require.Zero(t, w.as.Counts().Refreshes, "a refresh without a proof could bring a bearer token")
				require.NotEmpty(t, query(t, required).Get("dpop_jkt"))
				w.finish(c, required)
				require.NoError(t, w.call(c))
				require.Equal(t, "DPoP", w.stored().TokenType)
				w.calls()
			})
		}
	}
	w := serviceWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true})
	c := w.client(service(w, oauthclient.ClientCredentials{}))
	require.NoError(t, w.call(c))
	w.edit(func(creds *oauthclient.Credentials) { creds.DPoPKey = oauthclient.Secret{} })
	require.NoError(t, w.call(c), "a grant without a user runs again")
	w.calls()
}

// givesUpDPoP is a change of the configuration to an MCP server that knows bearer
// tokens only. bound is the token that it must not get as one.
func (w *world) givesUpDPoP(bound string) func(*oauthclient.Config) {
	return w.wrapped(func(req *http.Request) *http.Response {
		scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
		switch {
		case req.URL.String() != w.mcp.URL() || scheme == "Bearer":
			require.NotEqual(w.t, bound, token)
			return nil
		case scheme == "":
			return refusal(http.StatusUnauthorized, "Bearer", "")
		}
		return refusal(http.StatusUnauthorized, `Bearer error="invalid_token"`, "")
	})
}

// An MCP server that has given up DPoP says so in its challenge. The user is
// asked for a bearer token; the bound one is never sent as such.
func TestDPoP_MCPServerStops(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	require.NoError(t, w.call(w.connected()))
	c := w.client(w.givesUpDPoP(w.stored().AccessToken.Reveal()))
	required := requireAuthorization(t, w.call(c))
	require.Empty(t, query(t, required).Get("dpop_jkt"))
	w.finish(c, required)
	require.NoError(t, w.call(c))
	require.Equal(t, "Bearer", w.stored().TokenType)

	w = serviceWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true})
	require.NoError(t, w.call(w.client(service(w, oauthclient.ClientCredentials{}))))
	require.Equal(t, "DPoP", w.stored().TokenType)
	c = w.client(service(w, oauthclient.ClientCredentials{}), w.givesUpDPoP(w.stored().AccessToken.Reveal()))
	require.NoError(t, w.call(c))
	require.Equal(t, "Bearer", w.stored().TokenType)
}

// A challenge for bearers, as the SDK's middleware sends it behind a check of
// proofs, does not end DPoP: the token was not new.
func TestDPoP_ChallengeOfAnotherLayer(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	c := w.connected()
	require.NoError(t, w.call(c))
	w.as.RevokeAll()
	c = w.client(w.wrapped(func(req *http.Request) *http.Response {
		if !strings.HasPrefix(req.Header.Get("Authorization"), "DPoP") {
			return nil
		}
		return refusal(http.StatusUnauthorized, "Bearer", "")
	}))
	w.clock.Advance(10 * time.Minute)
	require.NotEmpty(t, query(t, requireAuthorization(t, w.call(c))).Get("dpop_jkt"))
}

// An authorization server that has given up DPoP issues bearer tokens from the
// next refresh on.
func TestDPoP_AuthorizationServerStops(t *testing.T) {
	t.Parallel()
	var stopped atomic.Bool
	w := newWorld(t, authtest.Options{
		DPoP: true,
		EditMetadata: func(doc map[string]any) {
			if stopped.Load() {
				delete(doc, "dpop_signing_alg_values_supported")
			}
		},
		EditToken: func(answer map[string]any) {
			if stopped.Load() {
				answer["token_type"] = "Bearer"
			}
		},
	}, mcptest.Options{})
	c := w.client()
	require.NoError(t, c.Provider().FinishAuth(t.Context(), w.approve(w.begin(c))))
	stopped.Store(true)
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	require.Equal(t, "Bearer", w.stored().TokenType)
}

// Only ES256 is signed. Servers that take other algorithms only get bearer tokens.
func TestDPoP_Algorithms(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		challenge string // of the MCP server
		algs      []string
		bound     bool
	}{
		"both":                                {`DPoP algs="RS256 ES256"`, []string{"EdDSA", "ES256"}, true},
		"a challenge without parameters":      {`DPoP`, []string{"ES256"}, true},
		"of several":                          {`Bearer realm="x, y", DPoP`, []string{"ES256"}, true},
		"another at the MCP server":           {`DPoP algs="EdDSA"`, []string{"ES256"}, false},
		"another at the authorization server": {`DPoP algs="ES256"`, []string{"EdDSA"}, false},
		"in one challenge of two":             {`DPoP algs="EdDSA", DPoP algs="ES256", Bearer`, []string{"ES256"}, true},
		"none":                                {`DPoP algs="none"`, []string{"none"}, false},
		"a shared secret":                     {`DPoP algs="HS256"`, []string{"HS256"}, false},
		"only in a text":                      {`Bearer error_description="no DPoP, please"`, []string{"ES256"}, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{DPoP: true, EditMetadata: func(doc map[string]any) { doc["dpop_signing_alg_values_supported"] = row.algs }},
				mcptest.Options{Challenge: mcptest.Challenge{Raw: row.challenge}})
			require.NoError(t, w.call(w.connected()))
			require.Equal(t, row.bound, w.stored().TokenType == "DPoP")
		})
	}
}

// The MCP server's metadata (RFC 9728 section 2) say the same as its challenge.
func TestDPoP_ResourceMetadata(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		member string
		algs   []string // of the authorization server
		bound  bool
	}{
		"an algorithm":                       {`"dpop_signing_alg_values_supported":["RS256","ES256"]`, []string{"ES256"}, true},
		"another algorithm":                  {`"dpop_signing_alg_values_supported":["RS256"]`, []string{"ES256"}, false},
		"a text":                             {`"dpop_signing_alg_values_supported":7`, []string{"ES256"}, false},
		"required":                           {`"dpop_bound_access_tokens_required":true`, []string{"ES256"}, true},
		"required, and not advertised there": {`"dpop_bound_access_tokens_required":true`, nil, true},
		"not required":                       {`"dpop_bound_access_tokens_required":false`, []string{"ES256"}, false},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{DPoP: true, EditMetadata: func(doc map[string]any) { doc["dpop_signing_alg_values_supported"] = row.algs }}, mcptest.Options{})
			w.mcp.SetMetadata(mcptest.Metadata{Raw: fmt.Sprintf(`{"resource":%q,"authorization_servers":[%q],%s}`, w.mcp.URL(), w.as.Issuer(), row.member)})
			require.NoError(t, w.call(w.connected()))
			require.Equal(t, row.bound, w.stored().TokenType == "DPoP")
		})
	}
}

// A token that was asked for with a proof may be bound to the key, whatever the
// answer leaves out.
func TestDPoP_AnswerWithoutTokenType(t *testing.T) {
	t.Parallel()
	for _, kind := range []any{nil, "", "pop", "user"} {
		w := newWorld(t, authtest.Options{DPoP: true, EditToken: func(answer map[string]any) { answer["token_type"] = kind }}, mcptest.Options{DPoP: true})
		c := w.client()
		requireServerError(t, c.FinishAuth(t.Context(), w.approve(w.begin(c))), "exchanging the code")
		w.calls()
	}
}

// The request that ends an MCP session is proved, and repeated with a new nonce.
func TestDPoP_Goodbye(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	c := w.connected()
	require.NoError(t, w.call(c))
	w.as.RotateNonce()
	require.NoError(t, c.Disconnect(t.Context()))
	requests := w.mcp.Requests()
	last := requests[len(requests)-1]
	require.Equal(t, http.MethodDelete, last.Method)
	require.Less(t, last.Status, 300)
	w.calls()
}

// The SDK's client sends its token with a proof on this package's transport, and
// gets none for its own.
func TestDPoP_Transport(t *testing.T) {
	t.Parallel()
	w := boundWorld(t)
	c := w.connected()
	w.as.RotateNonce()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "sdk", Version: "1"}, nil).Connect(t.Context(), c.Transport(), nil)
	require.NoError(t, err)
	_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo"})
	require.NoError(t, err)
	require.NoError(t, session.Close())
	require.NotZero(t, w.mcp.CountHTTP(http.MethodDelete))

	own := &mcp.StreamableClientTransport{Endpoint: w.mcp.URL(), OAuthHandler: c.Provider(), HTTPClient: w.http}
	_, err = mcp.NewClient(&mcp.Implementation{Name: "sdk", Version: "1"}, nil).Connect(t.Context(), own, nil)
	require.ErrorIs(t, err, oauthclient.ErrTokenBound)
	w.calls()
}

// htu is a normal URL (RFC 9449 section 4.3, RFC 3986 section 6), as servers see
// their own.
func TestDPoP_ServerAtTheRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{DPoP: true}, mcptest.Options{DPoP: true, Path: "/"})
	require.NoError(t, w.call(w.connected()))
	require.Equal(t, "DPoP", w.stored().TokenType)
}
