package authtest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

func TestAuthorizeRedirectsErrors(t *testing.T) {
	t.Parallel()
	opts := authtest.Options{ScopesSupported: []string{"read", "write"}, RequireResource: true}
	for name, tc := range map[string]struct {
		changes []string
		want    string
	}{
		"no PKCE":                 {[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		"plain PKCE":              {[]string{"code_challenge_method", "plain"}, "invalid_request"},
		"PKCE method missing":     {[]string{"code_challenge_method", ""}, "invalid_request"},
		"implicit grant":          {[]string{"response_type", "token"}, "unsupported_response_type"},
		"scope nobody advertised": {[]string{"scope", "read root"}, "invalid_scope"},
		"resource missing":        {[]string{"resource", ""}, "invalid_target"},
		"resource with fragment":  {[]string{"resource", resource + "#x"}, "invalid_target"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, opts))
			callback := c.approve(tc.changes...)
			require.Equal(t, tc.want, callback.Get("error"))
			require.Equal(t, "s-1", callback.Get("state"))
			require.Equal(t, c.as.Issuer(), callback.Get("iss"))
			require.Empty(t, callback.Get("code"))
		})
	}
}

func TestAuthorizeNeverRedirectsTo(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]string{
		"an unknown client's URI":    {"client_id", "gone"},
		"an unregistered URI":        {"redirect_uri", "https://attacker.example/"},
		"a prefix of the URI":        {"redirect_uri", redirectURI + "/more"},
		"no URI":                     {"redirect_uri", ""},
		"an https client_id, unless": {"client_id", "https://app.example/client.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, authtest.Options{}))
			_, err := c.as.Approve(t.Context(), c.authURL(changes...))
			require.ErrorContains(t, err, "400")
			requests := c.as.Requests(authtest.EndpointAuthorize)
			require.Len(t, requests, 1)
			require.Equal(t, http.StatusBadRequest, requests[0].Status)
		})
	}
}

func TestIssModes(t *testing.T) {
	t.Parallel()
	const supported = "authorization_response_iss_parameter_supported"
	for name, tc := range map[string]struct {
		mode       authtest.IssMode
		advertised bool
		iss        string
	}{
		"advertised":          {authtest.IssAdvertised, true, "own"},
		"absent":              {authtest.IssAbsent, false, ""},
		"missing":             {authtest.IssMissing, true, ""},
		"wrong":               {authtest.IssWrong, true, authtest.WrongIssuer},
		"unadvertised":        {authtest.IssUnadvertised, false, "own"},
		"unadvertised, wrong": {authtest.IssUnadvertisedWrong, false, authtest.WrongIssuer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, authtest.Options{Iss: tc.mode}))
			if tc.iss == "own" {
				tc.iss = c.as.Issuer()
			}
			_, doc := c.get("/.well-known/oauth-authorization-server")
			require.Equal(t, tc.advertised, doc[supported] == true)
			require.Equal(t, tc.iss, c.approve().Get("iss"))
		})
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]authtest.Options{"at once": {}, "on the page": {Consent: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, opts))
			callback, err := c.as.Deny(t.Context(), c.authURL())
			require.NoError(t, err)
			u, err := url.Parse(callback)
			require.NoError(t, err)
			require.Equal(t, "access_denied", u.Query().Get("error"))
			require.Equal(t, "s-1", u.Query().Get("state"))
			require.Equal(t, c.as.Issuer(), u.Query().Get("iss"))

			c.as.DenyNext(1)
			require.Equal(t, "access_denied", c.approve().Get("error"))
			require.NotEmpty(t, c.approve().Get("code"))
			require.Equal(t, 2, c.as.Counts().Denials)
		})
	}
}

func TestConsentPage(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{Consent: true}))
	_, doc := c.register(map[string]any{
		"redirect_uris": []string{redirectURI}, "client_name": "<script>alert(1)</script>",
		"token_endpoint_auth_method": "none",
	})
	c.id = doc["client_id"].(string)
	resp, err := http.Get(c.authURL())
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	page := string(body)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NotContains(t, page, "<script>")
	require.Contains(t, page, resource)
	require.Contains(t, page, "alice")
	require.Equal(t, 2, strings.Count(page, `name="decision"`))
	require.NotEmpty(t, c.approve().Get("code"))
}

func TestBrowserUser(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{User: "carol"}))
	for user, want := range map[string]string{"": "carol", "bob": "bob"} {
		callback, err := authtest.Browser{User: user}.Approve(t.Context(), c.authURL())
		require.NoError(t, err)
		u, err := url.Parse(callback)
		require.NoError(t, err)
		_, answer := c.exchange(u.Query().Get("code"))
		info, err := c.as.Verify(answer["access_token"].(string))
		require.NoError(t, err)
		require.Equal(t, want, info.User)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{
		DefaultScopes: []string{"basic"},
		GrantScopes: func(requested []string) []string {
			return requested[:1]
		},
	}))
	require.Equal(t, "read", c.login()["scope"])
	require.Equal(t, "basic", c.login("scope", "")["scope"])

	c = newClient(t, newServer(t, authtest.Options{OmitScope: true}))
	require.NotContains(t, c.login(), "scope")
}

func TestUnknownClientAsJSON(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{UnknownClientJSON: true}))
	c.as.DropClients()
	_, err := c.as.Approve(t.Context(), c.authURL())
	require.ErrorContains(t, err, "422")
}

func TestClientIDMetadataDocument(t *testing.T) {
	t.Parallel()
	t.Run("accepted unseen", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, newServer(t, authtest.Options{ClientIDMetadataDocuments: true}))
		c.id = "https://app.example/client.json"
		require.Contains(t, c.login(), "refresh_token")
		_, doc := c.get("/.well-known/oauth-authorization-server")
		require.Equal(t, true, doc["client_id_metadata_document_supported"])
	})
	t.Run("fetched and validated", func(t *testing.T) {
		t.Parallel()
		var id string
		doc := func(clientID, redirect string) string {
			return `{"client_id":"` + clientID + `","redirect_uris":["` + redirect + `"]}`
		}
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/good.json":
				_, _ = io.WriteString(w, doc(id+"/good.json", redirectURI))
			case "/other-id.json":
				_, _ = io.WriteString(w, doc(id+"/good.json", redirectURI))
			case "/other-redirect.json":
				_, _ = io.WriteString(w, doc(id+"/other-redirect.json", "https://other.example/"))
			default:
				http.NotFound(w, r)
			}
		}))
		t.Cleanup(app.Close)
		id = app.URL
		c := newClient(t, newServer(t, authtest.Options{
			ClientIDMetadataDocuments: true, ClientIDMetadataFetcher: app.Client(),
		}))
		c.id = id + "/good.json"
		require.NotContains(t, c.login(), "refresh_token", "the document does not list the grant type")
		for _, path := range []string{"/other-id.json", "/other-redirect.json", "/absent.json", ""} {
			_, err := c.as.Approve(t.Context(), c.authURL("client_id", id+path))
			require.ErrorContains(t, err, "400", path)
		}
	})
}
