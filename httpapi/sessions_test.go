package httpapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

func TestConnect_BodyAndAnswer(t *testing.T) {
	t.Parallel()
	f := &fake{info: session.Info{ID: oauthclient.NewSecret("ID")}}
	h, _ := newFake(t, f, func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"https://other.example/cb"} })
	for body, want := range map[string]session.ConnectParams{
		`{"serverUrl":"https://m.example/mcp"}`:                                                                           {ServerURL: "https://m.example/mcp", CallbackURL: h.CallbackURL()},
		`{"serverUrl":"u","serverName":"n","callbackUrl":"","unknown":{"a":[1]}}`:                                         {ServerURL: "u", ServerName: "n", CallbackURL: h.CallbackURL()},
		`{"serverUrl":"u","callbackUrl":"https://app.example/api/mcp/auth/callback"}`:                                     {ServerURL: "u", CallbackURL: h.CallbackURL()},
		` {"serverUrl":"u","callbackUrl":"https://other.example/cb"} ` + "\n":                                             {ServerURL: "u", CallbackURL: "https://other.example/cb"},
		`{"serverUrl":"u","CallbackURL":null,"owner":"mallory","binding":"x","freshRegistration":true,"session":"other"}`: {ServerURL: "u", CallbackURL: h.CallbackURL()},
		`{"sessionId":"S"}`: {SessionID: "S"},
		`{"sessionId":"S","serverUrl":"u","callbackUrl":"https://other.example/cb","fresh":true}`: {SessionID: "S", ServerURL: "u", CallbackURL: "https://other.example/cb", FreshRegistration: true},
	} {
		w := request(t, h, "POST", pathConnect, body)
		require.Equal(t, 200, w.Code, w.Body)
		require.Equal(t, `{"success":true,"sessionId":"ID"}`, w.Body.String())
		require.Equal(t, want, f.params)
		require.Empty(t, f.caller.Owner)
	}
}

func TestDisconnect_BodyAndAnswer(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	w := request(t, h, "POST", pathDisconnect, `{"sessionId":"abc"}`)
	require.Equal(t, 200, w.Code)
	require.Equal(t, `{"success":true,"message":"Disconnected successfully"}`, w.Body.String())
	require.Equal(t, "abc", f.session)
}

func TestStatus_Answer(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 3600)
	info := session.Info{ID: oauthclient.NewSecret("ID"), Status: session.StatusFailed, Reason: "Access was denied.", ServerURL: "https://m.example?a=1&b=2", ExpiresAt: time.Date(2030, 1, 2, 3, 4, 5, 0, zone)}
	f := &fake{info: info}
	h, _ := newFake(t, f)
	w := request(t, h, "GET", pathStatus+"?sessionId=ID", "")
	require.Equal(t, 200, w.Code)
	require.Regexp(t, `^{"sessionId":"ID","status":"failed","serverUrl":"https://m\.example\?a=1&b=2","error":"Access was denied\.","expiresAt":"2030-01-02T02:04:05Z","version":"[\w-]+"}$`, w.Body.String())
	f.info.Status, f.info.Reason = session.StatusConnected, ""
	require.Regexp(t, `^{"sessionId":"ID","status":"connected","serverUrl":"https://m\.example\?a=1&b=2","expiresAt":"2030-01-02T02:04:05Z","version":"[\w-]+"}$`,
		request(t, h, "GET", pathStatus+"?sessionId=ID", "").Body.String())
}

func TestSessions_Answer(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	f := &fake{}
	h, _ := newFake(t, f, identified)
	require.Equal(t, `{"sessions":[]}`, request(t, h, "GET", pathSessions, "").Body.String())
	f.infos = []session.Info{{ID: oauthclient.NewSecret("ID"), Key: "key", Owner: "alice", Status: session.StatusConnected, ServerURL: "u", ServerName: "n", CreatedAt: at, LastUsed: at.Add(time.Hour), ExpiresAt: at.Add(2 * time.Hour)}}
	require.Equal(t, `{"sessions":[{"sessionId":"ID","status":"connected","serverUrl":"u","expiresAt":"2030-01-02T05:04:05Z","serverName":"n","createdAt":"2030-01-02T03:04:05Z","lastUsedAt":"2030-01-02T04:04:05Z"}]}`,
		request(t, h, "GET", pathSessions, "").Body.String())
}

// The document must describe the very client that goes to the authorization
// server: same ID, all redirect URIs, no secret.
func TestClientMetadata(t *testing.T) {
	t.Parallel()
	const id = "https://app.example/api/mcp/client-metadata.json"
	decode := func(f *fake) map[string]any {
		h, _ := newFake(t, f, func(c *httpapi.Config) { c.AllowedCallbackURLs = []string{"https://other.example/cb"} })
		w := request(t, h, "GET", pathMetadata, "")
		require.Equal(t, 200, w.Code)
		requireProtectedAs(t, w, "public, max-age=3600")
		var doc map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
		return doc
	}
	require.Equal(t, map[string]any{
		"client_id": id, "client_name": "mcpoauth", "application_type": "web", "token_endpoint_auth_method": "none",
		"redirect_uris": []any{"https://app.example/api/mcp/auth/callback", "https://other.example/cb"},
		"grant_types":   []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
	}, decode(&fake{clientID: id}))
	doc := decode(&fake{clientID: id, metadata: oauthex.ClientRegistrationMetadata{
		ClientName: "App & Co", ClientURI: "https://app.example", ApplicationType: "native", RedirectURIs: []string{"https://wrong.example"},
		TokenEndpointAuthMethod: "client_secret_basic", GrantTypes: []string{"authorization_code"},
	}})
	require.Equal(t, "App & Co", doc["client_name"])
	require.Equal(t, "https://app.example", doc["client_uri"])
	require.Equal(t, "native", doc["application_type"])
	require.Equal(t, "none", doc["token_endpoint_auth_method"])
	require.Equal(t, []any{"authorization_code"}, doc["grant_types"])
	require.NotContains(t, doc["redirect_uris"], "https://wrong.example")
}

// Authorization servers refuse a "web" client with a loopback redirect URI (OpenID
// Connect Registration section 2).
func TestClientMetadata_ApplicationType(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		publicURL string
		allowed   []string
		want      any // nil for none
	}{
		"a web application":               {"https://app.example", nil, "web"},
		"a host on loopback":              {"http://127.0.0.1:8080", nil, "native"},
		"loopback and a private scheme":   {"http://localhost:8080", []string{"com.example.app:/callback"}, "native"},
		"a web application and a desktop": {"https://app.example", []string{"http://127.0.0.1:9999/callback"}, nil},
	} {
		h, _ := newFake(t, &fake{clientID: "https://app.example/client-metadata.json"}, func(c *httpapi.Config) {
			c.PublicURL, c.AllowedCallbackURLs = tt.publicURL, tt.allowed
		})
		var doc map[string]any
		require.NoError(t, json.Unmarshal(request(t, h, "GET", pathMetadata, "").Body.Bytes(), &doc))
		require.Equal(t, tt.want, doc["application_type"], name)
	}
}

// A metadata document that no server may keep is fetched at each step, until
// the server refuses with 429.
func TestClientMetadata_IsCacheable(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, &fake{clientID: "https://app.example/api/mcp/client-metadata.json"})
	w := request(t, h, "GET", pathMetadata, "")
	require.Equal(t, "public, max-age=3600", w.Header().Get("Cache-Control"))
	require.Empty(t, w.Header().Values("Set-Cookie"))
	require.Empty(t, w.Header().Values("Vary"))
	none, _ := newFake(t, &fake{})
	w = request(t, none, "GET", pathMetadata, "")
	require.Equal(t, 404, w.Code)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"), "that there is none is no fact to keep")
}

func TestToolArgsGoThroughUnchanged(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		``:                              `{}`,
		`,"toolArgs":null`:              `{}`,
		`,"toolArgs":{}`:                `{}`,
		`,"toolArgs": { "b" :1, "a":2}`: `{ "b" :1, "a":2}`,
		`,"toolArgs":{"n":9007199254740993,"f":1.10,"e":1e400,"s":"<&\u00e9"}`: `{"n":9007199254740993,"f":1.10,"e":1e400,"s":"<&\u00e9"}`,
	} {
		f := &fake{}
		h, _ := newFake(t, f)
		w := request(t, h, "POST", pathCall, `{"sessionId":"s","toolName":"echo"`+args+`}`)
		require.Equal(t, 200, w.Code, w.Body)
		require.Equal(t, want, string(f.args.(json.RawMessage)))
		require.Equal(t, []string{"call echo"}, f.called())
	}
}

func TestListToolsOfNoTools(t *testing.T) {
	t.Parallel()
	f := &fake{}
	h, _ := newFake(t, f)
	w := request(t, h, "GET", pathList+"?sessionId=s", "")
	require.Equal(t, `{"tools":[]}`, w.Body.String())
	require.Equal(t, "12", w.Header().Get("Content-Length"))
	require.NoError(t, json.Unmarshal([]byte(`[{"name":"a","inputSchema":{}},{"name":"b","inputSchema":{}}]`), &f.tools))
	require.JSONEq(t, `{"tools":[{"name":"a","inputSchema":{}},{"name":"b","inputSchema":{}}]}`, request(t, h, "GET", pathList+"?sessionId=s", "").Body.String())
}
