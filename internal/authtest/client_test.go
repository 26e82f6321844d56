package authtest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
)

const (
	redirectURI = "https://app.example/callback"
	resource    = "https://mcp.example/mcp"
)

// client is a minimal OAuth client that can be made to misbehave.
type client struct {
	t        *testing.T
	as       *authtest.Server
	id       string
	secret   string
	basic    bool
	verifier string
}

func newServer(t *testing.T, opts authtest.Options) *authtest.Server {
	t.Helper()
	as := authtest.New(opts)
	t.Cleanup(as.Close)
	return as
}

// newClient registers a public client.
func newClient(t *testing.T, as *authtest.Server) *client {
	t.Helper()
	c := &client{t: t, as: as, verifier: oauth2.GenerateVerifier()}
	status, doc := c.register(map[string]any{
		"redirect_uris":              []string{redirectURI},
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"token_endpoint_auth_method": "none",
	})
	require.Equal(t, http.StatusCreated, status)
	c.id = doc["client_id"].(string)
	return c
}

func (c *client) register(metadata map[string]any) (int, map[string]any) {
	c.t.Helper()
	body, err := json.Marshal(metadata)
	require.NoError(c.t, err)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost,
		c.as.EndpointURL(authtest.EndpointRegister), bytes.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/json")
	return c.send(req)
}

// authURL is a correct authorization URL, with the changes applied. An empty
// value removes the parameter.
func (c *client) authURL(changes ...string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {redirectURI},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(c.verifier)}, "code_challenge_method": {"S256"},
		"state": {"s-1"}, "scope": {"read write"}, "resource": {resource},
	}
	change(q, changes)
	return c.as.EndpointURL(authtest.EndpointAuthorize) + "?" + q.Encode()
}

func change(v url.Values, changes []string) {
	for i := 0; i < len(changes); i += 2 {
		v.Set(changes[i], changes[i+1])
		if changes[i+1] == "" {
			v.Del(changes[i])
		}
	}
}

// approve returns the parameters of the callback.
func (c *client) approve(changes ...string) url.Values {
	c.t.Helper()
	callback, err := c.as.Approve(c.t.Context(), c.authURL(changes...))
	require.NoError(c.t, err)
	u, err := url.Parse(callback)
	require.NoError(c.t, err)
	require.Equal(c.t, "app.example", u.Host)
	return u.Query()
}

func (c *client) exchange(code string, changes ...string) (int, map[string]any) {
	c.t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI},
		"code_verifier": {c.verifier}, "resource": {resource},
	}
	change(form, changes)
	return c.post(authtest.EndpointToken, form)
}

func (c *client) refresh(token string, changes ...string) (int, map[string]any) {
	c.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "resource": {resource}}
	change(form, changes)
	return c.post(authtest.EndpointToken, form)
}

func (c *client) revoke(token string) int {
	c.t.Helper()
	status, _ := c.post(authtest.EndpointRevoke, url.Values{"token": {token}})
	return status
}

// login runs the whole flow.
func (c *client) login(changes ...string) map[string]any {
	c.t.Helper()
	status, answer := c.exchange(c.approve(changes...).Get("code"))
	require.Equal(c.t, http.StatusOK, status)
	return answer
}

func (c *client) post(endpoint string, form url.Values) (int, map[string]any) {
	c.t.Helper()
	switch {
	case c.basic:
	case c.secret != "":
		form.Set("client_secret", c.secret)
		fallthrough
	default:
		if !form.Has("client_id") {
			form.Set("client_id", c.id)
		}
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost,
		c.as.EndpointURL(endpoint), bytes.NewReader([]byte(form.Encode())))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.basic {
		req.SetBasicAuth(url.QueryEscape(c.id), url.QueryEscape(c.secret))
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) (int, map[string]any) {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	var doc map[string]any
	_ = json.Unmarshal(body, &doc)
	return resp.StatusCode, doc
}

// get returns the status and the decoded JSON body at a path of the server.
func (c *client) get(path string) (int, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.as.URL()+path, nil)
	require.NoError(c.t, err)
	return c.send(req)
}
