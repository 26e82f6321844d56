package oauthclient_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// catchAll is a proxy in front of srv that answers the paths that html accepts
// with a page.
func catchAll(t *testing.T, srv interface{ Origin() string }, html func(path string) bool) *httptest.Server {
	t.Helper()
	target, err := url.Parse(srv.Origin())
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if html(r.URL.Path) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<!doctype html><title>Welcome</title>"))
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	return front
}

// asPaths returns the GET requests to the authorization server.
func (w *world) asPaths() []string {
	var out []string
	for _, req := range w.as.Requests("") {
		if req.Method == http.MethodGet {
			out = append(out, req.Path)
		}
	}
	return out
}

const (
	wkOAuth = "/.well-known/oauth-authorization-server"
	wkOIDC  = "/.well-known/openid-configuration"
)

func TestServerMetadataLocations(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		opts authtest.Options
		want []string
	}{
		{"RFC 8414", authtest.Options{}, []string{wkOAuth}},
		{"OpenID Connect", authtest.Options{Metadata: []authtest.MetadataLocation{authtest.MetadataOIDC}}, []string{wkOAuth, wkOIDC}},
		{"RFC 8414, path inserted", authtest.Options{IssuerPath: "/t/1"}, []string{wkOAuth + "/t/1"}},
		{"OpenID Connect, path inserted", authtest.Options{IssuerPath: "/t/1", Metadata: []authtest.MetadataLocation{authtest.MetadataOIDC}},
			[]string{wkOAuth + "/t/1", wkOIDC + "/t/1"}},
		{"OpenID Connect, path in front", authtest.Options{IssuerPath: "/t/1", Metadata: []authtest.MetadataLocation{authtest.MetadataOIDCAppended}},
			[]string{wkOAuth + "/t/1", wkOIDC + "/t/1", "/t/1" + wkOIDC}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.opts, mcptest.Options{})
			c := w.client()
			required := w.begin(c)
			require.Equal(t, row.want, w.asPaths())
			w.finish(c, required)
			require.NoError(t, w.call(c))
			require.Equal(t, w.as.Issuer(), w.stored().Issuer)
		})
	}
}

// Where the resource metadata names a server, there is no fallback.
func TestServerMetadataMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{NoMetadata: true}, mcptest.Options{})
	var discovery *oauthclient.DiscoveryError
	require.ErrorAs(t, w.client().Connect(t.Context()), &discovery)
	require.Equal(t, w.as.Issuer(), discovery.Source)
	require.Equal(t, []string{wkOAuth, wkOIDC}, w.asPaths())
}

// RFC 8414 section 3.3: a document of another issuer is an attack or a mistake.
func TestDiscovery_IssuerMismatchIsRefused(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		issuer string // "+" is appended to the real one
		policy oauthclient.ServerPolicy
		ok     bool
	}{
		{"another host", "https://attacker.example", oauthclient.ServerPolicy{}, false},
		{"longer path", "+/tenant", oauthclient.ServerPolicy{}, false},
		{"missing", "", oauthclient.ServerPolicy{}, false},
		{"two trailing slashes", "+//", oauthclient.ServerPolicy{}, false},
		{"trailing slash", "+/", oauthclient.ServerPolicy{}, true},
		{"trusted", "https://login.example/{tenantid}/v2.0", oauthclient.ServerPolicy{TrustedIssuer: "https://login.example/{tenantid}/v2.0"}, true},
		{"not the trusted one", "https://attacker.example", oauthclient.ServerPolicy{TrustedIssuer: "https://login.example"}, false},
		{"trusted but for a slash", "https://login.example/", oauthclient.ServerPolicy{TrustedIssuer: "https://login.example"}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{Iss: authtest.IssAbsent}, mcptest.Options{})
			issuer := row.issuer
			if len(issuer) > 0 && issuer[0] == '+' {
				issuer = w.as.Issuer() + issuer[1:]
			}
			w.as.SetEditMetadata(func(doc map[string]any) { doc["issuer"] = issuer })
			c := w.client(policy(row.policy))
			err := c.Connect(t.Context())
			if row.ok {
				w.finish(c, requireAuthorization(t, err))
				require.Equal(t, issuer, w.stored().Issuer, "what the metadata says is what iss must be")
				return
			}
			var mismatch *oauthclient.DiscoveryError
			require.ErrorAs(t, err, &mismatch)
			require.Equal(t, oauthclient.DiscoveryError{Source: w.as.URL() + wkOAuth, Reason: "issuer mismatch", Got: issuer, Want: w.as.Issuer(), Policy: "TrustedIssuer"}, *mismatch)
			require.Contains(t, err.Error(), w.as.Issuer())
			require.Empty(t, w.as.Requests(authtest.EndpointRegister))
		})
	}
}

func TestDiscovery_PKCENotAdvertisedIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	lenient := oauthclient.ServerPolicy{AllowUnadvertisedPKCE: true}
	rows := []struct {
		name   string
		edit   func(doc map[string]any)
		policy oauthclient.ServerPolicy
		ok     bool
	}{
		{"absent, strict", func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") }, oauthclient.ServerPolicy{}, false},
		{"empty, strict", func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{} }, oauthclient.ServerPolicy{}, false},
		{"absent, allowed", func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") }, lenient, true},
		{"plain only, strict", func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{"plain"} }, oauthclient.ServerPolicy{}, false},
		{"plain only, allowed: that one was advertised", func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{"plain"} }, lenient, false},
		{"both", func(doc map[string]any) { doc["code_challenge_methods_supported"] = []string{"plain", "S256"} }, oauthclient.ServerPolicy{}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{EditMetadata: row.edit}, mcptest.Options{})
			c := w.client(policy(row.policy))
			err := c.Connect(t.Context())
			if !row.ok {
				var discovery *oauthclient.DiscoveryError
				require.ErrorAs(t, err, &discovery)
				require.Equal(t, "AllowUnadvertisedPKCE", discovery.Policy)
				return
			}
			required := requireAuthorization(t, err)
			require.Equal(t, "S256", query(t, required).Get("code_challenge_method"))
			w.finish(c, required) // the server verifies S256 in any case
		})
	}
}

func TestServerMetadataEndpoints(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, endpoint, value string }{
		{"no authorization endpoint", "authorization_endpoint", ""},
		{"no token endpoint", "token_endpoint", ""},
		{"script as authorization endpoint", "authorization_endpoint", "javascript:alert(1)//"},
		{"file as token endpoint", "token_endpoint", "file:///etc/passwd"},
		{"relative registration endpoint", "registration_endpoint", "/register"},
		{"odd revocation endpoint", "revocation_endpoint", "ftp://x/y"},
		{"authorization endpoint with a fragment", "authorization_endpoint", "https://as.example/authorize#x"},
		{"user info in the token endpoint", "token_endpoint", "https://user:pw@as.example/token"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc[row.endpoint] = row.value }}, mcptest.Options{})
			var discovery *oauthclient.DiscoveryError
			require.ErrorAs(t, w.client().Connect(t.Context()), &discovery)
			require.Contains(t, discovery.Reason, row.endpoint)
			require.NotContains(t, discovery.Error(), "pw")
			require.Len(t, w.as.Requests(""), 1, "the metadata alone")
		})
	}
}

// The authorization endpoint may have a query of its own (RFC 6749 section 3.1).
func TestAuthorizationEndpointWithQuery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) {
		doc["authorization_endpoint"] = doc["authorization_endpoint"].(string) + "?audience=api&state=fixed"
	}}, mcptest.Options{})
	c := w.client()
	required := w.begin(c)
	require.Equal(t, "api", query(t, required).Get("audience"))
	require.Len(t, query(t, required)["state"], 1)
	require.NotEqual(t, "fixed", query(t, required).Get("state"))
	w.finish(c, required)
}

// A 2025-03-26 server is its own authorization server.
func TestFallbackWithoutResourceMetadata(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		as     authtest.Options
		policy oauthclient.ServerPolicy
	}{
		{"with server metadata", authtest.Options{}, oauthclient.ServerPolicy{}},
		{"with OpenID Connect metadata", authtest.Options{Metadata: []authtest.MetadataLocation{authtest.MetadataOIDC}}, oauthclient.ServerPolicy{}},
		{"with default endpoints, by policy", authtest.Options{NoMetadata: true}, oauthclient.ServerPolicy{AllowUnadvertisedPKCE: true}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.as, mcptest.Options{SharedOrigin: true, Metadata: mcptest.Metadata{Absent: true}, ProtocolVersions: []string{"2025-03-26"}})
			c := w.client(policy(row.policy))
			required := w.begin(c)
			require.Equal(t, w.as.EndpointURL("authorize"), required.AuthURL[:len(w.as.EndpointURL("authorize"))])
			require.Equal(t, w.mcp.URL(), query(t, required).Get("resource"))
			w.finish(c, required)
			require.NoError(t, w.call(c))
			require.Equal(t, w.as.URL(), w.stored().Issuer)
			require.Empty(t, w.stored().ResourceMetadataURL)
			require.True(t, slices.Contains(paths(w.mcp), wellKnownResource+"/mcp"))
		})
	}
}

// A server without any metadata promises no PKCE, so that takes a policy.
func TestDiscovery_FallbackWithoutPKCEIsRefused(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name   string
		as     authtest.Options
		reason string
	}{
		{"without any metadata", authtest.Options{NoMetadata: true}, "there is no metadata"},
		{"server metadata that does not promise it", authtest.Options{OmitPKCEMethods: true}, "code_challenge_methods_supported"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, row.as, mcptest.Options{SharedOrigin: true, Metadata: mcptest.Metadata{Absent: true}})
			var discovery *oauthclient.DiscoveryError
			err := w.client().Connect(t.Context())
			require.ErrorAs(t, err, &discovery)
			require.Equal(t, "AllowUnadvertisedPKCE", discovery.Policy)
			require.Contains(t, discovery.Reason, row.reason)
			require.Empty(t, w.as.Requests(authtest.EndpointRegister))
			lenient := w.client(policy(oauthclient.ServerPolicy{AllowUnadvertisedPKCE: true}))
			w.finish(lenient, w.begin(lenient))
		})
	}
}

// Neither a code nor a token nor a user is sent to plain http, whatever the
// host's transport could reach; metadata may be there.
func TestDiscovery_EndpointsAreHTTPS(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"} {
		for _, host := range []string{"as.example", "10.0.0.1", "localhost.example"} {
			t.Run(endpoint+" "+host, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{EditMetadata: func(doc map[string]any) { doc[endpoint] = "http://" + host + "/x" }}, mcptest.Options{})
				c := w.client(func(cfg *oauthclient.Config) { cfg.Transport, cfg.InsecureTransport = http.DefaultTransport, true })
				var discovery *oauthclient.DiscoveryError
				require.ErrorAs(t, c.Connect(t.Context()), &discovery)
				require.Equal(t, endpoint+" is not an https URL", discovery.Reason)
				require.Len(t, w.as.Requests(""), 1, "the metadata alone")
			})
		}
	}
}

// Of several authorization servers, the one where a client is registered.
func TestChoiceOfAuthorizationServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	other := authtest.New(authtest.Options{Clients: []authtest.Client{{ID: "known", RedirectURIs: []string{callbackURL}}}})
	t.Cleanup(other.Close)
	w.mcp.SetMetadata(mcptest.Metadata{AuthorizationServers: []string{w.as.Issuer(), other.Issuer()}})

	first := w.begin(w.client())
	require.Contains(t, first.AuthURL, w.as.URL())
	preregistered := w.begin(w.client(func(cfg *oauthclient.Config) {
		cfg.PreregisteredClients = []oauthclient.PreregisteredClient{{Issuer: other.Issuer() + "/", ClientID: "known"}}
	}))
	require.Contains(t, preregistered.AuthURL, other.URL())
	require.Equal(t, "known", query(t, preregistered).Get("client_id"))
}
