package httpapi_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

func TestConnectAuthorizeListCallDisconnect(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{
		"stateless": {ExtraTools: 25, PageSize: 10}, "stateful": {ExtraTools: 25, PageSize: 10, Stateful: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			w.replica(t)
			b := w.browser(t, "")
			a := b.connect()
			callback := b.approve(a)
			id := a.AuthRequired.SessionID
			require.Equal(t, "authorizing", b.status(id).Status)
			page := b.send("GET", callback, "", "Accept", "text/html")
			require.Equal(t, 200, page.status, page.body)
			require.Contains(t, page.body, "<h1>Connected</h1>")
			require.NotContains(t, page.body, id)
			status := b.status(id)
			require.Equal(t, "connected", status.Status)
			require.Equal(t, w.mcp.URL(), status.ServerURL)
			require.WithinDuration(t, time.Now().Add(24*time.Hour), status.ExpiresAt, time.Minute)

			tools := b.list(id)
			require.Equal(t, 200, tools.status)
			require.True(t, httpapi.IsListToolsSuccess(tools.Response))
			require.Len(t, tools.ListToolsSuccess.Tools, len(mcptest.Tools())+25, "every page")
			require.Equal(t, 4, w.mcp.Count("tools/list"))

			sum := b.call(id, "add", `{"a":2,"b":40}`)
			require.Equal(t, 200, sum.status, sum.body)
			require.True(t, httpapi.IsCallToolSuccess(sum.Response))
			require.JSONEq(t, `{"sum":42}`, string(sum.CallToolSuccess.StructuredContent))

			done := b.send("POST", pathDisconnect, `{"sessionId":"`+id+`"}`)
			require.Equal(t, 200, done.status)
			require.Equal(t, &httpapi.Done{Success: true, Message: "Disconnected successfully"}, done.Done)
			require.Positive(t, w.as.Counts().Revocations, "disconnect revokes upstream")
			gone := b.call(id, "add", `{"a":2,"b":40}`)
			require.Equal(t, 404, gone.status)
			require.Equal(t, httpapi.CodeSessionNotFound, gone.ErrorResponse.Code)
		})
	}
}

func TestConnectWithoutAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	open := mcptest.New(mcptest.Options{})
	t.Cleanup(open.Close)
	w.replica(t)
	b := w.browser(t, "")
	a := b.connectTo(open.URL())
	require.Equal(t, 200, a.status, a.body)
	require.True(t, httpapi.IsConnectSuccess(a.Response))
	require.Equal(t, "connected", b.status(a.ConnectSuccess.SessionID).Status)
	require.Equal(t, 200, b.call(a.ConnectSuccess.SessionID, "echo", `{}`).status)
}

// The callback lands on another replica, or after a restart.
func TestCallbackLandsOnAnotherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	callback := b.approve(a)
	w.replica(t)
	require.Equal(t, 200, b.send("GET", callback, "").status)
	w.replica(t)
	require.Equal(t, 200, b.call(a.AuthRequired.SessionID, "echo", `{}`).status)
	require.Equal(t, 1, w.as.Counts().Exchanges)
}

// Two tabs, of which one is stale.
func TestOverlappingAuthorizations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	first, second := b.connect(), b.connect()
	require.NotEqual(t, first.AuthRequired.AuthURL, second.AuthRequired.AuthURL)
	require.Equal(t, 200, b.send("GET", b.approve(second), "").status)
	callback := b.approve(first)
	require.Equal(t, 200, b.send("GET", callback, "").status)
	again := b.send("GET", callback, "")
	require.Equal(t, 400, again.status, "a response is good for once")
	require.Equal(t, httpapi.CodeInvalidCallback, again.ErrorResponse.Code)
	require.Equal(t, "connected", b.status(first.AuthRequired.SessionID).Status)
	require.Equal(t, "connected", b.status(second.AuthRequired.SessionID).Status)
}

// One user never gets another's connection, and cannot even tell that there
// is one.
func TestAnotherOwnersSessionDoesNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader)
	alice, mallory := w.browser(t, "alice"), w.browser(t, "mallory")
	id := alice.authorized()
	unknown := session.GenerateSessionID()
	for name, try := range map[string]func(id string) answer{
		"list":       mallory.list,
		"call":       func(id string) answer { return mallory.call(id, "echo", `{}`) },
		"stream":     func(id string) answer { return mallory.call(id, "echo", `{}`, "Accept", "text/event-stream") },
		"status":     func(id string) answer { return mallory.send("GET", pathStatus+"?sessionId="+id, "") },
		"disconnect": func(id string) answer { return mallory.send("POST", pathDisconnect, `{"sessionId":"`+id+`"}`) },
	} {
		stolen, missing, malformed := try(id), try(unknown), try("x")
		for _, a := range []*answer{&stolen, &missing, &malformed} {
			a.header.Del("X-Request-Id")
			a.header.Del("Date")
		}
		require.Equal(t, 404, stolen.status, name)
		require.Equal(t, missing, stolen, name)
		require.Equal(t, missing, malformed, name)
	}
	require.Equal(t, 200, alice.call(id, "echo", `{}`).status)

	var mine, hers httpapi.SessionList
	require.NoError(t, json.Unmarshal([]byte(alice.send("GET", pathSessions, "").body), &mine))
	require.NoError(t, json.Unmarshal([]byte(mallory.send("GET", pathSessions, "").body), &hers))
	require.Len(t, mine.Sessions, 1)
	require.Equal(t, id, mine.Sessions[0].SessionID)
	require.Empty(t, hers.Sessions)
}

// An attacker sends a victim the attacker's authorization URL, or the
// callback that came of it.
func TestCallbackFromAnotherBrowserIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change   []any
		attacker string
		victim   string
		status   int
	}{
		"no users":               {nil, "", "", 400},
		"another user":           {[]any{byHeader}, "mallory", "alice", 400},
		"same user elsewhere":    {[]any{byHeader}, "alice", "alice", 400},
		"nobody signed in":       {[]any{byHeader}, "mallory", "", 401},
		"unbound, no users":      {[]any{func(c *httpapi.Config) { c.InsecureUnboundCallbacks = true }}, "", "", 200},
		"unbound, another user":  {[]any{byHeader, func(c *httpapi.Config) { c.InsecureUnboundCallbacks = true }}, "mallory", "alice", 400},
		"unbound, the same user": {[]any{byHeader, func(c *httpapi.Config) { c.InsecureUnboundCallbacks = true }}, "alice", "alice", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			w.replica(t, tc.change...)
			attacker, victim := w.browser(t, tc.attacker), w.browser(t, tc.victim)
			callback := attacker.approve(attacker.connect())
			_ = victim.connect() // with a binding of its own, but not this one
			a := victim.send("GET", callback, "")
			require.Equal(t, tc.status, a.status, a.body)
			if tc.status != 200 {
				require.Zero(t, w.as.Counts().Exchanges, "the code was not even sent")
				require.Equal(t, 200, attacker.send("GET", callback, "").status, "nor was the attempt used up")
			}
		})
	}
}

// State and browser are looked at before error is; a stranger cannot end a
// user's attempt.
func TestForgedCallbacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	callback := b.approve(b.connect())
	u, err := url.Parse(callback)
	require.NoError(t, err)
	with := func(change func(url.Values)) string {
		q := u.Query()
		change(q)
		return u.Path + "?" + q.Encode()
	}
	for name, forged := range map[string]string{
		"nothing at all":      u.Path,
		"no state":            with(func(q url.Values) { q.Del("state") }),
		"unknown state":       with(func(q url.Values) { q.Set("state", "x") }),
		"unknown state error": u.Path + "?error=access_denied&state=x",
		"no state error":      u.Path + "?error=access_denied",
		"another issuer":      with(func(q url.Values) { q.Set("iss", "https://evil.example") }),
		"no issuer":           with(func(q url.Values) { q.Del("iss") }),
		"another session":     with(func(q url.Values) { q.Set("sessionId", session.GenerateSessionID()) }),
		"two codes":           with(func(q url.Values) { q.Add("code", "other") }),
	} {
		a := b.send("GET", forged, "")
		require.Equal(t, 400, a.status, name)
		require.Equal(t, httpapi.CodeInvalidCallback, a.ErrorResponse.Code, name)
	}
	require.Equal(t, 200, b.send("GET", callback, "").status)
}

// An iss without a value is no issuer's (RFC 9207 section 2.4), also where the
// server did not promise one. A front end that posts the response as JSON may
// write an absent iss so.
func TestCallback_EmptyIss(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{Iss: authtest.IssAbsent}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	callback, err := url.Parse(b.approve(b.connect()))
	require.NoError(t, err)
	query := callback.Query()
	for name, a := range map[string]answer{
		"query": b.send("GET", callback.Path+"?"+callback.RawQuery+"&iss=", ""),
		"form":  b.send("POST", callback.Path, callback.RawQuery+"&iss=", "Content-Type", form),
	} {
		require.Equal(t, 400, a.status, name)
		require.Equal(t, httpapi.CodeInvalidCallback, a.ErrorResponse.Code, name)
	}
	a := b.send("POST", callback.Path, fmt.Sprintf(`{"code":%q,"state":%q,"iss":""}`, query.Get("code"), query.Get("state")))
	require.Equal(t, 200, a.status, a.body)
}

func TestCallbackByFormPost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	callback, err := url.Parse(b.approve(a))
	require.NoError(t, err)
	// The authorization server's page posts; no cookies come with that.
	elsewhere := w.browser(t, "")
	again := elsewhere.send("POST", callback.Path, callback.RawQuery, "Content-Type", form, "Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Origin", w.as.URL())
	require.Equal(t, 303, again.status)
	page := b.send("GET", callback.Path+again.header.Get("Location"), "", "Accept", "text/html")
	require.Equal(t, 200, page.status, page.body)
	require.Equal(t, "connected", b.status(a.AuthRequired.SessionID).Status)
}

func TestCallback_DenialShowsInStatusAndCanBeRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	callback, err := w.as.Deny(t.Context(), a.AuthRequired.AuthURL)
	require.NoError(t, err)
	page := b.send("GET", callback, "", "Accept", "text/html")
	require.Equal(t, 400, page.status)
	require.Contains(t, page.body, "Access was denied.")
	status := b.status(a.AuthRequired.SessionID)
	require.Equal(t, "failed", status.Status, "not stuck")
	require.Equal(t, "Access was denied.", status.Error)
	// The same session can be authorized after all.
	require.Equal(t, 200, b.send("GET", b.approve(b.list(a.AuthRequired.SessionID)), "").status)
	require.Equal(t, 200, b.list(a.AuthRequired.SessionID).status)
}

// The server lets anybody in and asks for a token at tools/call.
func TestLazyAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{LazyAuth: true})
	w.replica(t)
	b := w.browser(t, "")
	a := b.connect()
	require.True(t, httpapi.IsConnectSuccess(a.Response), a.body)
	id := a.ConnectSuccess.SessionID
	require.Equal(t, 200, b.list(id).status)
	for _, accept := range []string{"", "text/event-stream"} {
		required := b.call(id, "echo", `{}`, "Accept", accept)
		require.Equal(t, 401, required.status, required.body)
		require.Equal(t, id, required.AuthRequired.SessionID)
		require.NotEmpty(t, required.AuthRequired.Error)
		if accept != "" {
			require.Equal(t, 200, b.send("GET", b.approve(required), "").status)
		}
	}
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
}

// Everything is revoked behind our back.
func TestRevokedAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	w.as.RevokeAll()
	required := b.call(id, "echo", `{}`)
	require.Equal(t, 401, required.status, required.body)
	require.Equal(t, "authorization_required", b.status(id).Status)
	require.Equal(t, 200, b.send("GET", b.approve(required), "").status)
	require.Equal(t, 200, b.call(id, "echo", `{}`).status)
}

// A tool needs more; asking twice for the same would be a loop.
func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	required := b.call(id, "admin", `{}`)
	require.Contains(t, required.AuthRequired.AuthURL, "admin")
	require.Equal(t, 200, b.send("GET", b.approve(required), "").status)
	require.Equal(t, 200, b.call(id, "admin", `{}`).status)

	w = newWorld(t, authtest.Options{}, mcptest.Options{AlwaysInsufficientScope: true})
	w.replica(t)
	b = w.browser(t, "")
	id = b.authorized()
	require.Equal(t, 200, b.send("GET", b.approve(b.call(id, "admin", `{}`)), "").status)
	refused := b.call(id, "admin", `{}`)
	require.Equal(t, 403, refused.status)
	require.Equal(t, httpapi.CodeInsufficientScope, refused.ErrorResponse.Code)
}

// oddResult has what the SDK's types would drop or change.
const oddResult = `{"content":[{"type":"text","text":"<b>\u00e9</b>","x-vendor":1}],"structuredContent":{"id":9007199254740993,"ratio":1.10},` +
	`"isError":false,"futureField":{"z":1,"a":2},"_meta":{"example.org/trace":"t-1"}}`

func TestWhatTheServerSaysGoesThroughUnchanged(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"events": {}, "JSON": {JSONResponse: true}, "stateful": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.Raw = mcptest.RawTools(oddResult, mcptest.ExoticTool, `{"name":"second","inputSchema":{"type":"object"},"n":9007199254740993}`)
			w := newWorld(t, authtest.Options{}, opts)
			w.replica(t)
			b := w.browser(t, "")
			id := b.authorized()
			require.Equal(t, `{"tools":[`+mcptest.ExoticTool+`,{"name":"second","inputSchema":{"type":"object"},"n":9007199254740993}]}`, b.list(id).body)
			require.Equal(t, oddResult, b.call(id, "exotic", `{"b":1}`).body)
			stream := b.call(id, "exotic", `{"b":1}`, "Accept", "text/event-stream")
			require.Equal(t, "event: result\ndata: "+oddResult+"\n\n", stream.body)
		})
	}
}

func TestNumbersSurvive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	const args = `{"big":9007199254740993,"nested":{"n":[-9223372036854775808,1.10]},"text":"caf\u00e9"}`
	a := b.call(id, "echo", args)
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, string(w.mcp.RPC("tools/call")[0].Params), "9007199254740993")
	require.Contains(t, string(a.CallToolSuccess.StructuredContent), `"big":9007199254740993`)
	require.Contains(t, string(a.CallToolSuccess.StructuredContent), `[-9223372036854775808,1.10]`)
	require.Contains(t, b.call(id, "rich", `null`).body, "9007199254740993")
}

// A result may have line breaks between its tokens, which an event may not.
func TestResultsOverSeveralLines(t *testing.T) {
	t.Parallel()
	const result = "{\n  \"content\": [\r\n],\n  \"isError\": false, \"n\": 9007199254740993\n}"
	w := newWorld(t, authtest.Options{}, mcptest.Options{JSONResponse: true, Raw: mcptest.RawTools(result)})
	w.replica(t)
	b := w.browser(t, "")
	id := b.authorized()
	require.Equal(t, result, b.call(id, "echo", `{}`).body)
	stream := b.call(id, "echo", `{}`, "Accept", "text/event-stream")
	require.Equal(t, "event: result\ndata: {\"content\":[],\"isError\":false,\"n\":9007199254740993}\n\n", stream.body)
}

// A tool that failed has run: that is an answer, not an error.
func TestToolsThatFailAreAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	a := b.call(b.authorized(), "fail", `{}`)
	require.Equal(t, 200, a.status)
	require.True(t, a.CallToolSuccess.IsError)
}

// An MCP server may add what it likes to a result; a front end must not be led
// to open a URL by it.
func TestResultsCannotPassForSomethingElse(t *testing.T) {
	t.Parallel()
	for _, result := range []string{`{`, `{"Content":[],"IsError":false,`, `{"content":null,"isError":null,`} {
		result += `"requiresAuth":true,"authUrl":"https://evil.example","success":true,"sessionId":"x","error":"e","code":"c"}`
		w := newWorld(t, authtest.Options{}, mcptest.Options{Raw: mcptest.RawTools(result)})
		w.replica(t)
		b := w.browser(t, "")
		a := b.call(b.authorized(), "echo", `{}`)
		require.False(t, httpapi.IsConnectAuthRequired(a.Response), a.body)
		require.False(t, httpapi.IsConnectSuccess(a.Response), a.body)
		require.True(t, a.status == 502 || httpapi.IsCallToolSuccess(a.Response), a.body)
	}
}

func TestStreamEndToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t)
	b := w.browser(t, "")
	a := b.call(b.authorized(), "slow", `{"count":3,"intervalMs":5}`, "Accept", "text/event-stream")
	require.Equal(t, 200, a.status)
	require.Equal(t, 3, strings.Count(a.body, "event: progress"))
	require.Contains(t, a.body, `"progress":2,"total":3,"message":"step 2 of 3"}`)
	require.Equal(t, 1, strings.Count(a.body, "event: result"))
}

// The document that the authorization server fetches is the one served here.
func TestClientMetadataDocumentWorks(t *testing.T) {
	t.Parallel()
	const id = "https://app.example/api/mcp/client-metadata.json"
	var h *httpapi.Handler
	fetcher := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != id {
			return nil, fmt.Errorf("unexpected %s", r.URL)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Result(), nil
	})}
	w := newWorld(t, authtest.Options{NoRegistration: true, ClientIDMetadataDocuments: true, ClientIDMetadataFetcher: fetcher}, mcptest.Options{})
	h = w.replica(t, func(c *session.Config) { c.Client.ClientMetadataURL = id })
	b := w.browser(t, "")
	require.Equal(t, 200, b.list(b.authorized()).status)
	require.Equal(t, id, w.as.TokenRequests("authorization_code")[0].Get("client_id"))
}

// With ClientKeys the client of the metadata document is a confidential one: the
// authorization server finds its keys in the document that is served here.
func TestClientMetadataDocumentWorks_PrivateKeyJWT(t *testing.T) {
	t.Parallel()
	const id, keys = "https://app.example/api/mcp/client-metadata.json", "https://app.example/api/mcp/jwks.json"
	var h *httpapi.Handler
	fetcher := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.String() != id && r.URL.String() != keys {
			return nil, fmt.Errorf("unexpected %s", r.URL)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Result(), nil
	})}
	w := newWorld(t, authtest.Options{NoRegistration: true, ClientIDMetadataDocuments: true, ClientIDMetadataFetcher: fetcher}, mcptest.Options{})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	h = w.replica(t, func(c *session.Config) {
		c.Client.ClientMetadataURL, c.Client.ClientKeys = id, []oauthclient.ClientKey{oauthclient.NewClientKey("k1", key)}
		c.Client.ClientMetadata.TokenEndpointAuthMethod = "private_key_jwt"
	})
	b := w.browser(t, "")
	require.Equal(t, 200, b.list(b.authorized()).status)
	require.NotEmpty(t, w.as.TokenRequests("authorization_code")[0].Get("client_assertion"))
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
