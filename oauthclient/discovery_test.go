package oauthclient_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// challenge makes the MCP server answer 401 with a challenge; %URL% in it is
// the metadata's URL at /meta.
func (w *world) challenge(header string) {
	header = strings.ReplaceAll(header, "%URL%", w.mcp.Origin()+"/meta")
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", header)
		rw.WriteHeader(http.StatusUnauthorized)
	})
}

// paths returns the paths that were asked for outside of the MCP endpoint.
func paths(srv *mcptest.Server) []string {
	var out []string
	for _, req := range srv.Requests() {
		if req.Endpoint != mcptest.EndpointMCP {
			out = append(out, req.Path)
		}
	}
	return out
}

func (w *world) requested(srv *mcptest.Server, path string) bool {
	for _, p := range paths(srv) {
		if p == path {
			return true
		}
	}
	return false
}

const wellKnownResource = "/.well-known/oauth-protected-resource"

func TestResourceMetadataLocations(t *testing.T) {
	t.Parallel()
	at := func(location mcptest.MetadataLocation) mcptest.Metadata {
		return mcptest.Metadata{Locations: []mcptest.MetadataLocation{location}, CustomPath: "/meta"}
	}
	silent := mcptest.Challenge{OmitResourceMetadata: true}
	rows := []struct {
		name string
		opts mcptest.Options
		want []string
	}{
		{"challenge", mcptest.Options{Metadata: at(mcptest.MetadataAtCustom)}, []string{"/meta"}},
		{"challenge names the well-known URL", mcptest.Options{}, []string{wellKnownResource + "/mcp"}},
		{"path", mcptest.Options{Challenge: silent}, []string{wellKnownResource + "/mcp"}},
		{"path with segments", mcptest.Options{Path: "/a/b", Challenge: silent}, []string{wellKnownResource + "/a/b"}},
		{"root after path", mcptest.Options{Challenge: silent, Metadata: at(mcptest.MetadataAtRoot)},
			[]string{wellKnownResource + "/mcp", wellKnownResource}},
		{"server at the root is asked once", mcptest.Options{Path: "/", Challenge: silent}, []string{wellKnownResource}},
		{"challenge leads nowhere, path", mcptest.Options{Challenge: mcptest.Challenge{ResourceMetadata: "%ORIGIN%/gone"}},
			[]string{"/gone", wellKnownResource + "/mcp"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{RequireResource: true}, row.opts)
			if strings.HasPrefix(row.opts.Challenge.ResourceMetadata, "%ORIGIN%") {
				w.challenge(`Bearer resource_metadata="` + w.mcp.Origin() + `/gone"`)
			}
			c := w.client()
			required := w.begin(c)
			require.Equal(t, row.want, paths(w.mcp))
			w.mcp.SetOutage(nil)
			w.finish(c, required)
			require.NoError(t, w.call(c))
		})
	}
}

// The resource of the document is the server's URL, and is what the token is
// asked for.
func TestDiscovery_ResourceMatchesTheServerURL(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name     string
		resource string // %ORIGIN% is the server's
		ok       bool
	}{
		{"exact", "%ORIGIN%/v1/mcp", true},
		{"trailing slash", "%ORIGIN%/v1/mcp/", true},
		{"upper case scheme and host", "HTTP://LOCAL/v1/mcp", true},
		{"prefix of a segment only", "%ORIGIN%/v", false},
		{"longer path", "%ORIGIN%/v1/mcp/more", false},
		{"sibling", "%ORIGIN%/v2/mcp", false},
		{"dot segments", "%ORIGIN%/v1/mcp/..", false},
		{"another host (impersonation)", "https://victim.example/v1/mcp", false},
		{"another port", "http://127.0.0.1:1/v1/mcp", false},
		{"another scheme", "https://LOCAL/v1/mcp", false},
		{"user info", "http://user@LOCAL/v1/mcp", false},
		{"query that the server URL has not", "%ORIGIN%/v1/mcp?tenant=2", false},
		{"fragment", "%ORIGIN%/v1/mcp#x", false},
		{"not a URL", "mcp", false},
		{"missing", "", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Path: "/v1/mcp"})
			resource := strings.ReplaceAll(row.resource, "%ORIGIN%", w.mcp.Origin())
			resource = strings.ReplaceAll(resource, "LOCAL", strings.TrimPrefix(w.mcp.Origin(), "http://"))
			w.mcp.SetMetadata(mcptest.Metadata{Raw: `{"resource":"` + resource + `","authorization_servers":["` + w.as.Issuer() + `"]}`})
			err := w.client().Connect(t.Context())
			if row.ok {
				require.Equal(t, resource, query(t, requireAuthorization(t, err)).Get("resource"))
				return
			}
			var mismatch *oauthclient.DiscoveryError
			require.ErrorAs(t, err, &mismatch)
			require.Equal(t, oauthclient.DiscoveryError{
				Source: w.mcp.Origin() + wellKnownResource + "/v1/mcp", Reason: "resource mismatch", Got: resource, Want: w.mcp.URL(),
			}, *mismatch)
			require.Contains(t, err.Error(), w.mcp.URL())
			require.Empty(t, w.as.Requests(""))
		})
	}
}

// A tenant of an origin must not get a token for the whole origin: a parent
// path counts only in the document at that parent's own well-known URL.
func TestDiscovery_ResourceOfAnotherTenantIsRefused(t *testing.T) {
	t.Parallel()
	allowed := oauthclient.ServerPolicy{AllowParentResource: true}
	rows := []struct {
		name             string
		source, resource string // paths; the document is in another place than the server for "elsewhere"
		policy           oauthclient.ServerPolicy
		want             string // "", "refused" or the policy that the error names
	}{
		{"origin, from the server's own well-known URL", wellKnownResource + "/tenants/evil/mcp", "", oauthclient.ServerPolicy{}, "AllowParentResource"},
		{"parent, from the server's own well-known URL", wellKnownResource + "/tenants/evil/mcp", "/tenants", oauthclient.ServerPolicy{}, "AllowParentResource"},
		{"origin, from a URL below the tenant", "/tenants/evil/meta", "", oauthclient.ServerPolicy{}, "AllowParentResource"},
		{"origin, from another origin", "elsewhere", "", oauthclient.ServerPolicy{}, "AllowParentResource"},
		{"origin, from another parent's well-known URL", wellKnownResource + "/tenants", "", oauthclient.ServerPolicy{}, "AllowParentResource"},
		{"another tenant", "/tenants/evil/meta", "/tenants/good", allowed, "refused"},
		{"another tenant's server", wellKnownResource + "/tenants/good/mcp", "/tenants/good/mcp", allowed, "refused"},
		{"origin, from its own well-known URL", wellKnownResource, "", oauthclient.ServerPolicy{}, ""},
		{"origin with a slash, from its own well-known URL", wellKnownResource, "/", oauthclient.ServerPolicy{}, ""},
		{"parent, from its own well-known URL", wellKnownResource + "/tenants", "/tenants", oauthclient.ServerPolicy{}, ""},
		{"itself, from anywhere", "elsewhere", "/tenants/evil/mcp", oauthclient.ServerPolicy{}, ""},
		{"origin, by policy", wellKnownResource + "/tenants/evil/mcp", "", allowed, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{Path: "/tenants/evil/mcp"})
			document := `{"resource":"` + w.mcp.Origin() + row.resource + `","authorization_servers":["` + w.as.Issuer() + `"]}`
			source := w.mcp.Origin() + row.source
			if row.source == "elsewhere" {
				other := httptest.NewServer(authtest.Body(http.StatusOK, "application/json", document))
				t.Cleanup(other.Close)
				source = other.URL
			} else {
				w.mcp.SetMetadata(mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtCustom}, CustomPath: row.source, Raw: document})
			}
			w.challenge(`Bearer resource_metadata="` + source + `"`)
			err := w.client(policy(row.policy)).Connect(t.Context())
			if row.want == "" {
				require.Equal(t, w.mcp.Origin()+row.resource, query(t, requireAuthorization(t, err)).Get("resource"))
				return
			}
			var discovery *oauthclient.DiscoveryError
			require.ErrorAs(t, err, &discovery)
			require.Equal(t, w.mcp.Origin()+row.resource, discovery.Got)
			require.Equal(t, w.mcp.URL(), discovery.Want)
			if row.want != "refused" {
				require.Equal(t, row.want, discovery.Policy)
				require.ErrorContains(t, err, "ServerPolicy.AllowParentResource")
			}
			require.Empty(t, w.as.Requests(""))
		})
	}
}

// An API key in the server's URL is none of the authorization server's business.
func TestDiscovery_ResourceHasNoQuery(t *testing.T) {
	t.Parallel()
	for _, meta := range []mcptest.Metadata{{}, {Absent: true}, {Resource: "%URL%?key=secret-key"}} {
		w := newWorld(t, authtest.Options{}, mcptest.Options{SharedOrigin: true})
		meta.Resource = strings.ReplaceAll(meta.Resource, "%URL%", w.mcp.URL())
		w.mcp.SetMetadata(meta)
		required := w.begin(w.client(func(cfg *oauthclient.Config) { cfg.ServerURL += "?key=secret-key" }))
		require.Equal(t, w.mcp.URL(), query(t, required).Get("resource"))
		require.NotContains(t, required.AuthURL, "secret-key")
	}
}

// A document that was found but is invalid must not lead to a fallback, which
// may be another authorization server.
func TestResourceMetadataFoundButInvalid(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		meta mcptest.Metadata
	}{
		{"not JSON", mcptest.Metadata{Raw: `{"resource":`}},
		{"not an object", mcptest.Metadata{Raw: `[]`}},
		{"null", mcptest.Metadata{Raw: `null`}},
		{"resource of a wrong type", mcptest.Metadata{Raw: `{"resource":1}`}},
		{"authorization servers of a wrong type", mcptest.Metadata{Raw: `{"resource":"%URL%","authorization_servers":[1,{}]}`}},
		{"no authorization servers", mcptest.Metadata{Raw: `{"resource":"%URL%","authorization_servers":[]}`}},
		{"authorization server with a bad scheme", mcptest.Metadata{AuthorizationServers: []string{"javascript:alert(1)"}}},
	}
	for _, row := range rows {
		for _, announced := range []bool{true, false} {
			name := row.name + ", guessed"
			if announced {
				name = row.name + ", announced"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, authtest.Options{}, mcptest.Options{Challenge: mcptest.Challenge{OmitResourceMetadata: !announced}})
				meta := row.meta
				meta.Raw = strings.ReplaceAll(meta.Raw, "%URL%", w.mcp.URL())
				w.mcp.SetMetadata(meta)
				err := w.client().Connect(t.Context())
				var discovery *oauthclient.DiscoveryError
				require.ErrorAs(t, err, &discovery)
				require.Equal(t, w.mcp.Origin()+wellKnownResource+"/mcp", discovery.Source)
				require.Equal(t, []string{wellKnownResource + "/mcp"}, paths(w.mcp), "nothing else is tried")
				require.Empty(t, w.as.Requests(""))
			})
		}
	}
}

// Many sites answer every path with their front page.
func TestHTMLAtAGuessedLocationIsNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{
		Challenge: mcptest.Challenge{OmitResourceMetadata: true},
		Metadata:  mcptest.Metadata{Locations: []mcptest.MetadataLocation{mcptest.MetadataAtRoot}},
	})
	front := catchAll(t, w.mcp, func(path string) bool { return path == wellKnownResource+"/mcp" })
	c := w.client(func(cfg *oauthclient.Config) { cfg.ServerURL = front.URL + "/mcp" })
	// The root document speaks for the server behind, so it is a mismatch:
	// which proves that the front page was passed over and the root was read.
	var mismatch *oauthclient.DiscoveryError
	require.ErrorAs(t, c.Connect(t.Context()), &mismatch)
	require.Equal(t, front.URL+wellKnownResource, mismatch.Source)
}

// The announced URL leads nowhere. The well-known URLs are the same server's
// word; without them there is an error, and not the fallback of 2025-03-26.
func TestDiscovery_UnusableAnnouncedLocation(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"file": "file:///etc/passwd", "relative": "/relative", "no host": "http://", "user info": "http://user:pw@127.0.0.1/x", "no URL": "http://%zz",
		"plain http, as behind a proxy": "http://mcp.example/.well-known/oauth-protected-resource", "404": "%ORIGIN%/gone", "HTML": "%ORIGIN%/front",
		"redirect to HTML": "%ORIGIN%/moved",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			site := catchAll(t, w.mcp, func(path string) bool { return path == "/front" })
			header := `Bearer resource_metadata="` + strings.ReplaceAll(location, "%ORIGIN%", site.URL) + `", scope="read"`
			w.challenge(header)
			required := w.begin(w.client())
			require.Equal(t, "read", query(t, required).Get("scope"), "the rest of the challenge holds")
			require.Contains(t, paths(w.mcp), wellKnownResource+"/mcp")

			w.mcp.SetMetadata(mcptest.Metadata{Absent: true})
			w.as.Reset()
			var discovery *oauthclient.DiscoveryError
			err := w.client().Connect(t.Context())
			require.ErrorAs(t, err, &discovery)
			require.Contains(t, discovery.Reason, "challenge")
			require.NotContains(t, err.Error(), "pw")
			require.Empty(t, w.as.Requests(""))
		})
	}
}

// Odd values of members that are not used do no harm, and neither do odd spellings of
// the others.
func TestDiscovery_OddDocuments(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, contentType, extra string }{
		{"byte order mark", "application/json", "BOM"},
		{"charset", "Application/JSON; charset=UTF-8", ""},
		{"broken parameter", "application/json; charset", ""},
		{"text/json", "text/json", ""},
		{"octet stream", "application/octet-stream", ""},
		{"no content type", "", ""},
		{"scopes in a string", "application/json", `"scopes_supported":"read, write"`},
		{"scopes of odd types", "application/json", `"scopes_supported":["read",null,7,"write"]`},
		{"unused members of odd types", "application/json", `"scopes_supported":["read","write"],"jwks_uri":[],"bearer_methods_supported":"header","resource_name":{},"grant_types_supported":{},"tls_client_certificate_bound_access_tokens":"no"`},
		{"null members", "application/json", `"scopes_supported":["read","write"],"registration_endpoint_auth":null,"revocation_endpoint":null`},
		{"a second authorization server that is none", "application/json", `"authorization_servers":["file:///etc/passwd","%AS%",3]`},
		{"one authorization server in a string", "application/json", `"authorization_servers":"%AS%"`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			serve := func(members map[string]any) http.HandlerFunc {
				body, err := json.Marshal(members)
				require.NoError(t, err)
				text := strings.TrimSuffix(string(body), "}")
				switch row.extra {
				case "":
					text += "}"
				case "BOM":
					text = "\xef\xbb\xbf" + text + "}"
				default:
					text += "," + strings.ReplaceAll(row.extra, "%AS%", w.as.Issuer()) + "}"
				}
				return authtest.Body(http.StatusOK, row.contentType, text)
			}
			w.mcp.SetMetadataOutage(serve(map[string]any{"resource": w.mcp.URL(), "authorization_servers": []string{w.as.Issuer()}}))
			w.as.SetOutage(authtest.EndpointMetadata, serve(map[string]any{
				"issuer": w.as.Issuer(), "authorization_endpoint": w.as.EndpointURL(authtest.EndpointAuthorize), "token_endpoint": w.as.EndpointURL(authtest.EndpointToken),
				"registration_endpoint": w.as.EndpointURL(authtest.EndpointRegister), "code_challenge_methods_supported": "S256",
				"authorization_response_iss_parameter_supported": "true",
			}))
			c := w.client()
			required := w.begin(c)
			if strings.Contains(row.extra, "scopes_supported") {
				require.Equal(t, "read write", query(t, required).Get("scope"))
			}
			resp := w.approve(required)
			stripped := resp
			stripped.Iss = ""
			require.ErrorIs(t, c.FinishAuth(t.Context(), stripped), oauthclient.ErrInvalidCallback, "the promise of an iss is read")
			require.NoError(t, c.FinishAuth(t.Context(), resp))
		})
	}
}

// An outage must not pass for an absence: the fallback could be another server.
func TestDiscovery_OutageIsNoAbsence(t *testing.T) {
	t.Parallel()
	outages := []struct {
		name  string
		final bool
		h     http.HandlerFunc
	}{
		{"500", false, authtest.StatusOutage(500)},
		{"503", false, authtest.StatusOutage(503)},
		{"429", false, authtest.StatusOutage(429)},
		{"connection cut", false, authtest.Abort()},
		{"endless document", true, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			for range 40 {
				_, _ = rw.Write(make([]byte, 64<<10))
			}
		}},
	}
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			c := w.client()
			requireOutage := func() {
				err := c.Connect(t.Context())
				_, final := errors.AsType[*oauthclient.ServerError](err)
				_, passes := errors.AsType[*oauthclient.TemporaryError](err)
				require.Equal(t, []bool{outage.final, !outage.final}, []bool{final, passes}, "%v", err)
			}
			w.mcp.SetMetadataOutage(outage.h)
			requireOutage()
			require.Empty(t, w.as.Requests(""))
			w.mcp.SetMetadataOutage(nil)
			w.as.SetOutage(authtest.EndpointMetadata, outage.h)
			requireOutage()
			require.Len(t, w.as.Requests(""), 1)
			w.as.SetOutage(authtest.EndpointMetadata, nil)
			w.finish(c, w.begin(c))
			require.NoError(t, w.call(c))
		})
	}
}
