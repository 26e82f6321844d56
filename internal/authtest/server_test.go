package authtest_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

func TestMetadataLocations(t *testing.T) {
	t.Parallel()
	const (
		oauth    = "/.well-known/oauth-authorization-server/tenant1"
		oidc     = "/.well-known/openid-configuration/tenant1"
		appended = "/tenant1/.well-known/openid-configuration"
		root     = "/.well-known/oauth-authorization-server"
	)
	for name, tc := range map[string]struct {
		opts authtest.Options
		at   string
	}{
		"oauth":         {authtest.Options{}, oauth},
		"oidc inserted": {authtest.Options{Metadata: []authtest.MetadataLocation{authtest.MetadataOIDC}}, oidc},
		"oidc appended": {authtest.Options{Metadata: []authtest.MetadataLocation{authtest.MetadataOIDCAppended}}, appended},
		"none":          {authtest.Options{NoMetadata: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.opts.IssuerPath = "/tenant1"
			c := newClient(t, newServer(t, tc.opts))
			for _, path := range []string{oauth, oidc, appended, root} {
				status, doc := c.get(path)
				if path != tc.at {
					require.Equal(t, http.StatusNotFound, status, path)
					continue
				}
				require.Equal(t, c.as.URL()+"/tenant1", doc["issuer"])
				require.Equal(t, c.as.URL()+"/tenant1/token", doc["token_endpoint"])
				require.Equal(t, []any{"S256"}, doc["code_challenge_methods_supported"])
			}
			require.Contains(t, c.login(), "access_token")
		})
	}
}

func TestMetadataEdited(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{
		OmitPKCEMethods: true, NoRegistration: false, ScopesSupported: []string{"read", "write"},
		EditMetadata: func(doc map[string]any) {
			doc["issuer"] = doc["issuer"].(string) + "/"
			doc["authorization_endpoint"] = "javascript:alert(1)"
		},
	}))
	_, doc := c.get("/.well-known/oauth-authorization-server")
	require.Equal(t, c.as.Issuer()+"/", doc["issuer"])
	require.Equal(t, "javascript:alert(1)", doc["authorization_endpoint"])
	require.Equal(t, []any{"read", "write"}, doc["scopes_supported"])
	require.NotContains(t, doc, "code_challenge_methods_supported")
	c.as.SetEditMetadata(nil)
	_, doc = c.get("/.well-known/oauth-authorization-server")
	require.Equal(t, c.as.Issuer(), doc["issuer"])
	require.Equal(t, "invalid_request", c.approve("code_challenge", "").Get("error"), "PKCE is verified all the same")
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{AuthMethods: []string{authtest.AuthNone, authtest.AuthBasic}}))
	for name, metadata := range map[string]map[string]any{
		"no redirect URI":       {},
		"relative redirect URI": {"redirect_uris": []string{"/callback"}},
		"fragment":              {"redirect_uris": []string{redirectURI + "#x"}},
		"unsupported method":    {"redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "client_secret_post"},
		"no code grant":         {"redirect_uris": []string{redirectURI}, "grant_types": []string{"refresh_token"}},
	} {
		status, doc := c.register(metadata)
		require.Equal(t, http.StatusBadRequest, status, name)
		require.NotEmpty(t, doc["error"], name)
	}
	status, doc := c.register(map[string]any{"redirect_uris": []string{redirectURI}, "x-unknown": "echoed"})
	require.Equal(t, http.StatusCreated, status)
	require.Equal(t, authtest.AuthBasic, doc["token_endpoint_auth_method"])
	require.Equal(t, []any{"authorization_code"}, doc["grant_types"])
	require.Equal(t, "echoed", doc["x-unknown"])
	require.Zero(t, doc["client_secret_expires_at"])
	require.Equal(t, 2, c.as.Counts().Registrations)
	requests := c.as.Requests(authtest.EndpointRegister)
	require.Len(t, requests, 7)
	require.Equal(t, "echoed", requests[6].JSON["x-unknown"])
	require.Equal(t, http.StatusCreated, requests[6].Status)

	c = newClient(t, newServer(t, authtest.Options{AssignAuthMethod: authtest.AuthNone}))
	_, doc = c.register(map[string]any{"redirect_uris": []string{redirectURI}})
	require.Equal(t, authtest.AuthNone, doc["token_endpoint_auth_method"])
	require.NotContains(t, doc, "client_secret")
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const id, secret = "pre registered", "s:e&c+ret"
	for name, tc := range map[string]struct {
		method string
		client client
		ok     bool
	}{
		"basic":                  {authtest.AuthBasic, client{id: id, secret: secret, basic: true}, true},
		"post":                   {authtest.AuthPost, client{id: id, secret: secret}, true},
		"basic, sent as post":    {authtest.AuthBasic, client{id: id, secret: secret}, false},
		"post, sent as basic":    {authtest.AuthPost, client{id: id, secret: secret, basic: true}, false},
		"basic, no secret":       {authtest.AuthBasic, client{id: id}, false},
		"basic, wrong secret":    {authtest.AuthBasic, client{id: id, secret: "x", basic: true}, false},
		"none, but has a secret": {authtest.AuthNone, client{id: id, secret: secret}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, newServer(t, authtest.Options{Clients: []authtest.Client{{
				ID: id, Secret: secret, RedirectURIs: []string{redirectURI}, AuthMethod: tc.method,
			}}}))
			c.id, c.secret, c.basic = tc.client.id, tc.client.secret, tc.client.basic
			status, answer := c.exchange(c.approve().Get("code"))
			if tc.ok {
				require.Equal(t, http.StatusOK, status)
				return
			}
			require.Equal(t, http.StatusUnauthorized, status)
			require.Equal(t, "invalid_client", answer["error"])
		})
	}
}

func TestTokenRequestsThatAreNotOne(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	token := c.as.EndpointURL(authtest.EndpointToken)
	for name, tc := range map[string]struct {
		method, contentType, body, authorization string
		want                                     string
	}{
		"GET":                     {method: http.MethodGet, want: "invalid_request"},
		"JSON":                    {method: http.MethodPost, contentType: "application/json", body: "{}", want: "invalid_request"},
		"not a form":              {method: http.MethodPost, body: "%zz", want: "invalid_request"},
		"parameter twice":         {method: http.MethodPost, body: "client_id=a&client_id=b", want: "invalid_request"},
		"no client":               {method: http.MethodPost, body: "grant_type=refresh_token", want: "invalid_client"},
		"bearer as client":        {method: http.MethodPost, body: "client_id=a", authorization: "Bearer x", want: "invalid_client"},
		"two methods":             {method: http.MethodPost, body: "client_secret=x", authorization: "Basic YTpi", want: "invalid_request"},
		"two clients":             {method: http.MethodPost, body: "client_id=x", authorization: "Basic YTpi", want: "invalid_request"},
		"credentials not encoded": {method: http.MethodPost, authorization: "Basic JXp6OmI=", want: "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), tc.method, token, strings.NewReader(tc.body))
			require.NoError(t, err)
			if tc.contentType == "" {
				tc.contentType = "application/x-www-form-urlencoded"
			}
			req.Header.Set("Content-Type", tc.contentType)
			if tc.authorization != "" {
				req.Header.Set("Authorization", tc.authorization)
			}
			_, answer := c.send(req)
			require.Equal(t, tc.want, answer["error"])
		})
	}
}

func TestClientSecretExpires(t *testing.T) {
	t.Parallel()
	clock := newClock()
	c := newClient(t, newServer(t, authtest.Options{Now: clock.Now, ClientSecretTTL: time.Hour}))
	_, doc := c.register(map[string]any{"redirect_uris": []string{redirectURI}})
	require.InEpsilon(t, clock.Now().Add(time.Hour).Unix(), doc["client_secret_expires_at"], 0)
	c.id, c.secret, c.basic = doc["client_id"].(string), doc["client_secret"].(string), true
	c.login()
	clock.Advance(time.Hour)
	_, answer := c.exchange(c.approve().Get("code"))
	require.Equal(t, "invalid_client", answer["error"])
}

func TestDropClients(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{Clients: []authtest.Client{{ID: "kept"}}}))
	token := c.login()["refresh_token"].(string)
	c.as.DropClients()
	status, answer := c.refresh(token)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Equal(t, "invalid_client", answer["error"])
	require.Len(t, c.as.Clients(), 1)
	require.Equal(t, "kept", c.as.Clients()[0].ID)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	code := c.approve().Get("code")

	c.as.FailNext(authtest.EndpointToken, 2, http.StatusServiceUnavailable)
	for range 2 {
		status, _ := c.exchange(code)
		require.Equal(t, http.StatusServiceUnavailable, status)
	}
	c.as.SetOutage(authtest.EndpointToken, authtest.Body(http.StatusBadGateway, "text/plain", "canary"))
	for range 3 {
		status, _ := c.exchange(code)
		require.Equal(t, http.StatusBadGateway, status)
	}
	c.as.SetOutage(authtest.EndpointToken, nil)
	c.as.FailNextWith(authtest.EndpointToken, 1, authtest.OAuthError(http.StatusBadRequest, "temporarily_unavailable", "later"))
	_, answer := c.exchange(code)
	require.Equal(t, "temporarily_unavailable", answer["error"])
	c.as.FailNextWith(authtest.EndpointToken, 1, authtest.MalformedJSON())
	status, answer := c.exchange(code)
	require.Equal(t, http.StatusOK, status)
	require.Nil(t, answer)
	status, _ = c.exchange(code)
	require.Equal(t, http.StatusOK, status, "the code was not touched by the faults")
	require.Len(t, c.as.TokenRequests("authorization_code"), 8)
	require.Equal(t, http.StatusBadGateway, c.as.TokenRequests("authorization_code")[4].Status)
}

func TestDropLosesOnlyTheAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	token := c.login()["refresh_token"].(string)
	c.as.DropNext(authtest.EndpointToken, 1)
	_, err := http.PostForm(c.as.EndpointURL(authtest.EndpointToken), url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {c.id},
	})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 1, c.as.Counts().Refreshes)
	require.False(t, c.as.RefreshTokenValid(token))

	c.as.FailNextWith(authtest.EndpointToken, 1, authtest.Abort())
	_, err = http.PostForm(c.as.EndpointURL(authtest.EndpointToken), nil)
	require.ErrorIs(t, err, io.EOF)
}

func TestBlock(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	release := c.as.Block(authtest.EndpointMetadata)
	done := make(chan int, 1)
	go func() {
		status, _ := c.get("/.well-known/oauth-authorization-server")
		done <- status
	}()
	require.Eventually(t, func() bool { return len(c.as.Requests(authtest.EndpointMetadata)) == 1 },
		30*time.Second, time.Millisecond)
	select {
	case <-done:
		require.Fail(t, "answered while blocked")
	case <-time.After(20 * time.Millisecond): // what does not happen takes time to see
	}
	release()
	release()
	require.Equal(t, http.StatusOK, <-done)
	status, _ := c.get("/.well-known/oauth-authorization-server")
	require.Equal(t, http.StatusOK, status)

	c.as.SetDelay(authtest.EndpointMetadata, 30*time.Millisecond)
	start := time.Now()
	c.get("/.well-known/oauth-authorization-server")
	require.GreaterOrEqual(t, time.Since(start), 30*time.Millisecond)
}

func TestCloseEndsBlockedRequests(t *testing.T) {
	t.Parallel()
	as := authtest.New(authtest.Options{})
	as.Block(authtest.EndpointToken)
	failed := make(chan error, 1)
	go func() {
		_, err := http.PostForm(as.EndpointURL(authtest.EndpointToken), nil)
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(as.Requests("")) == 1 }, 30*time.Second, time.Millisecond)
	as.Close()
	as.Close()
	require.Zero(t, as.Held(), "Close has waited for the request to be given up, not for its patience to end")
	require.Error(t, <-failed)
}

func TestReset(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{}))
	answer := c.login()
	c.as.FailNext(authtest.EndpointToken, 1, http.StatusTeapot)
	c.as.DenyNext(1)
	c.as.Reset()
	require.Empty(t, c.as.Requests(""))
	require.Zero(t, c.as.Counts())
	status, _ := c.refresh(answer["refresh_token"].(string))
	require.Equal(t, http.StatusOK, status, "clients and tokens stay")
}

func TestRecordedRequest(t *testing.T) {
	t.Parallel()
	c := newClient(t, newServer(t, authtest.Options{Clients: []authtest.Client{{
		ID: "basic", Secret: "x", RedirectURIs: []string{redirectURI},
	}}}))
	c.id, c.secret, c.basic = "basic", "x", true
	c.login()
	authorize := c.as.Requests(authtest.EndpointAuthorize)[0]
	require.Equal(t, resource, authorize.Get("resource"))
	require.Equal(t, http.StatusFound, authorize.Status)
	exchange := c.as.TokenRequests("authorization_code")[0]
	require.Equal(t, resource, exchange.Form.Get("resource"))
	require.True(t, strings.HasPrefix(exchange.Header.Get("Authorization"), "Basic "))
	require.Equal(t, "/token", exchange.Path)
	require.NotZero(t, exchange.Time)
}

func TestStartReportsMistakes(t *testing.T) {
	t.Parallel()
	_, err := authtest.Start(authtest.Options{IssuerPath: "tenant"})
	require.ErrorContains(t, err, "authtest: IssuerPath")
	_, err = authtest.Start(authtest.Options{Addr: "127.0.0.1:99999"})
	require.ErrorContains(t, err, "authtest: ")
	require.Panics(t, func() { authtest.New(authtest.Options{IssuerPath: "tenant"}) })
}
