package oauthclient_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

func TestPolicy_AuthorizationParams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{ScopesSupported: []string{"a", "offline_access"}}, mcptest.Options{Challenge: mcptest.Challenge{Scope: "a"}})
	plain := query(t, w.begin(w.client()))
	require.Equal(t, "consent", plain.Get("prompt"))
	params := url.Values{"prompt": {""}, "audience": {"https://api.example"}, "access_type": {"offline"}, "resource": {"https://api.example/other"}, "scope": nil, "login_hint": {"a b+c"}}
	c := w.client(policy(oauthclient.ServerPolicy{AuthorizationParams: params}))
	params.Set("audience", "changed later")
	required := w.begin(c)
	got := query(t, required)
	require.False(t, got.Has("prompt"))
	require.False(t, got.Has("scope"))
	require.Equal(t, "https://api.example", got.Get("audience"))
	require.Equal(t, "offline", got.Get("access_type"))
	require.Equal(t, []string{"https://api.example/other"}, got["resource"])
	require.Equal(t, "a b+c", got.Get("login_hint"))
	require.NotContains(t, required.AuthURL, "+")
	require.Contains(t, required.AuthURL, "login_hint=a%20b%2Bc")
	for _, name := range []string{"response_type", "client_id", "redirect_uri", "code_challenge_method"} {
		require.Equal(t, plain.Get(name), got.Get(name), name)
	}
}

func TestPolicy_TokenParams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{SkipAudienceCheck: true})
	c := w.connected(policy(oauthclient.ServerPolicy{TokenParams: url.Values{"audience": {"https://api.example"}, "resource": {""}}}))
	w.clock.Advance(2 * time.Hour)
	require.NoError(t, w.call(c))
	require.NoError(t, c.Disconnect(t.Context()))
	requests := w.as.Requests(authtest.EndpointToken)
	require.Len(t, requests, 2, "exchange and refresh")
	for _, req := range requests {
		require.Equal(t, "https://api.example", req.Form.Get("audience"))
		require.False(t, req.Form.Has("resource"))
	}
	for _, req := range w.as.Requests(authtest.EndpointRevoke) {
		require.False(t, req.Form.Has("audience"))
	}
}

func TestPolicy_RefreshScope(t *testing.T) {
	t.Parallel()
	for _, send := range []bool{false, true} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{RequiredScopes: []string{"read", "write"}})
		c := w.connected(policy(oauthclient.ServerPolicy{RefreshScope: send}))
		w.clock.Advance(2 * time.Hour)
		require.NoError(t, w.call(c))
		want := ""
		if send {
			want = "read write"
		}
		require.Equal(t, want, w.as.TokenRequests("refresh_token")[0].Form.Get("scope"))
	}
}

// No policy can undo what ties a response to its request.
func TestPolicy_FixedParamsCannotBeReplaced(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"state", "code_challenge", "code_challenge_method", "redirect_uri", "client_id", "response_type", "code", "code_verifier", "refresh_token", "grant_type",
		"client_secret", "client_assertion", "request", "request_uri",
	} {
		for _, value := range []string{"x", ""} {
			cfg := oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL}
			policy(oauthclient.ServerPolicy{AuthorizationParams: url.Values{name: {value}}, TokenParams: url.Values{name: {value}}})(&cfg)
			_, err := oauthclient.New(cfg)
			require.ErrorContains(t, err, "Config.PolicyFor: AuthorizationParams: "+name+" cannot be replaced")
			require.ErrorContains(t, err, "TokenParams: "+name+" cannot be replaced")
		}
	}
	cfg := oauthclient.Config{ServerURL: "https://mcp.example/mcp", CallbackURL: callbackURL}
	policy(oauthclient.ServerPolicy{AuthorizationServer: "as", ServerMetadataURL: "http://as.example/meta", TokenEndpointAuthMethod: "x"})(&cfg)
	_, err := oauthclient.New(cfg)
	for _, field := range []string{"AuthorizationServer", "ServerMetadataURL", "TokenEndpointAuthMethod"} {
		require.ErrorContains(t, err, field)
	}
}

// The host knows better than the server's metadata, which may be broken.
func TestPolicy_PinnedAuthorizationServer(t *testing.T) {
	t.Parallel()
	for name, meta := range map[string]mcptest.Metadata{
		"no metadata": {Absent: true}, "broken metadata": {Raw: `{`}, "another server's": {AuthorizationServers: []string{"https://other.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Metadata: meta, Challenge: mcptest.Challenge{Scope: "read"}})
			c := w.client(policy(oauthclient.ServerPolicy{AuthorizationServer: w.as.Issuer()}))
			required := w.begin(c)
			require.Equal(t, w.mcp.URL(), query(t, required).Get("resource"))
			require.Equal(t, "read", query(t, required).Get("scope"))
			require.Empty(t, paths(w.mcp), "no metadata is asked for")
			w.finish(c, required)
			require.NoError(t, w.call(c))
		})
	}
	w := newWorld(t, authtest.Options{NoMetadata: true}, mcptest.Options{})
	var discovery *oauthclient.DiscoveryError
	require.ErrorAs(t, w.client(policy(oauthclient.ServerPolicy{AuthorizationServer: w.as.Issuer()})).Connect(t.Context()), &discovery)
	require.Equal(t, w.as.Issuer(), discovery.Source)
}

func TestPolicy_PinnedMetadataURL(t *testing.T) {
	t.Parallel()
	for _, pinned := range []bool{false, true} {
		w := newWorld(t, authtest.Options{IssuerPath: "/tenant"}, mcptest.Options{})
		elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			issuer := w.as.Issuer()
			if strings.HasSuffix(r.URL.Path, "/wrong") {
				issuer = "https://attacker.example"
			}
			authtest.Body(http.StatusOK, "application/json", `{"issuer":"`+issuer+`","authorization_endpoint":"`+w.as.EndpointURL(authtest.EndpointAuthorize)+
				`","token_endpoint":"`+w.as.EndpointURL(authtest.EndpointToken)+`","registration_endpoint":"`+w.as.EndpointURL(authtest.EndpointRegister)+
				`","code_challenge_methods_supported":["S256"]}`)(rw, r)
		}))
		t.Cleanup(elsewhere.Close)
		p := oauthclient.ServerPolicy{ServerMetadataURL: elsewhere.URL + "/meta"}
		if pinned {
			p.AuthorizationServer = w.as.Issuer()
		}
		c := w.client(policy(p))
		w.finish(c, w.begin(c))
		require.NoError(t, w.call(c))
		require.Empty(t, w.asPaths()[1:], "the authorization page alone, no well-known URL")

		p.ServerMetadataURL = elsewhere.URL + "/wrong"
		var discovery *oauthclient.DiscoveryError
		require.ErrorAs(t, w.client(policy(p), func(cfg *oauthclient.Config) { cfg.Credentials = nil }).Connect(t.Context()), &discovery)
		require.Equal(t, "issuer mismatch", discovery.Reason)
	}
}
