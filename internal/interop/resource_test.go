package interop_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
)

// The scopes of the MCP servers: one for everything, one for a tool.
const (
	baseScope  = "tools"
	adminScope = "admin"
)

// verify checks an access token.
type verify func(token string) (authtest.Info, error)

// newMCPServer starts an MCP server that takes tokens of an authorization
// server which has no MCP server of its own.
func newMCPServer(t *testing.T, issuer string, check verify, change ...func(*mcptest.Options)) *mcptest.Server {
	t.Helper()
	options := mcptest.Options{
		Verify:         check,
		RequiredScopes: []string{baseScope},
		Metadata:       mcptest.Metadata{AuthorizationServers: []string{issuer}},
	}
	for _, f := range change {
		f(&options)
	}
	srv := mcptest.New(options)
	t.Cleanup(srv.Close)
	return srv
}

// introspection asks an authorization server about tokens (RFC 7662), as the
// client of a resource server.
func introspection(t *testing.T, endpoint, clientID, clientSecret string) verify {
	t.Helper()
	return func(token string) (authtest.Info, error) {
		form := url.Values{"token": {token}}
		req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
		if err != nil {
			return authtest.Info{}, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if clientID != "" {
			req.SetBasicAuth(clientID, clientSecret)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return authtest.Info{}, err
		}
		defer resp.Body.Close()
		var answer struct {
			Active   bool     `json:"active"`
			Subject  string   `json:"sub"`
			ClientID string   `json:"client_id"`
			Scope    string   `json:"scope"`
			Audience audience `json:"aud"`
			Bound    struct {
				Thumbprint string `json:"jkt"`
			} `json:"cnf"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return authtest.Info{}, err
		}
		if !answer.Active {
			return authtest.Info{}, errors.New("the token is not active")
		}
		return authtest.Info{
			User: answer.Subject, ClientID: answer.ClientID, Scopes: strings.Fields(answer.Scope), Resource: string(answer.Audience),
			Thumbprint: answer.Bound.Thumbprint,
		}, nil
	}
}

// audience is the first member of an aud claim, which is a string or an array.
type audience string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audience) UnmarshalJSON(data []byte) error {
	var many []string
	if json.Unmarshal(data, &many) != nil {
		return json.Unmarshal(data, (*string)(a))
	}
	if len(many) > 0 {
		*a = audience(many[0])
	}
	return nil
}

func do(t *testing.T, client *http.Client, req *http.Request) (status int, body string) {
	t.Helper()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}
