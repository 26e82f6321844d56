package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

const apiKey = "C4N4RY-api-key"

// secretMap makes headers of names and values.
func secretMap(pairs ...string) map[string]oauthclient.Secret {
	headers := make(map[string]oauthclient.Secret)
	for i := 0; i < len(pairs); i += 2 {
		headers[pairs[i]] = oauthclient.NewSecret(pairs[i+1])
	}
	return headers
}

// gate stands before an MCP server and lets in who has the right header.
type gate struct {
	*httptest.Server
	mu      sync.Mutex
	name    string
	value   string
	refusal func(w http.ResponseWriter, r *http.Request)
	seen    []http.Header
}

func newGate(t *testing.T, name, value string) *gate {
	t.Helper()
	open := mcptest.New(mcptest.Options{Stateful: true})
	t.Cleanup(open.Close)
	target, err := url.Parse(open.Origin())
	require.NoError(t, err)
	g := &gate{name: name, value: value, refusal: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }}
	proxy := httputil.NewSingleHostReverseProxy(target)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.seen = append(g.seen, r.Header.Clone())
		allowed, refusal := r.Header.Get(g.name) == g.value, g.refusal
		g.mu.Unlock()
		if !allowed {
			refusal(w, r)
			return
		}
		r.Header.Del("Authorization") // the server behind is open
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// change changes what the gate wants.
func (g *gate) change(value string, refusal func(http.ResponseWriter, *http.Request)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.value = value
	if refusal != nil {
		g.refusal = refusal
	}
}

// headers returns the values of a header in all requests so far.
func (g *gate) headers(name string) (values []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, header := range g.seen {
		values = append(values, header.Get(name))
	}
	return values
}

func allowKeys(c *session.Config) {
	c.AllowHeaders, c.AllowKeyHeaders = []string{"x-tenant"}, []string{"x-api-key", "authorization"}
}

// A session with a key works on every replica without an authorization. The key
// is sealed, replaced by connecting again, and in all requests to the server.
func TestKeyOfAConnection(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"x-api-key": apiKey, "Authorization": "Bearer " + apiKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, name, value)
			first, second := w.manager(t, allowKeys), w.manager(t, allowKeys)
			info, err := first.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", Headers: secretMap(name, value), FreshRegistration: true})
			require.NoError(t, err)
			id := info.ID.Reveal()
			for _, m := range []*session.Manager{second, first, w.manager(t, allowKeys)} {
				requireWorks(t, m, alice, id)
			}
			for _, key := range w.store.live("session") {
				record, _, err := w.mem.Get(t.Context(), key)
				require.NoError(t, err)
				require.NotContains(t, string(record), apiKey)
			}
			_, err = second.TokenSource(t.Context(), alice, id)
			require.NoError(t, err)
			client, err := second.GetClient(t.Context(), alice, id)
			require.NoError(t, err)
			_, err = client.Provider().Token(t.Context())
			require.ErrorIs(t, err, oauthclient.ErrNoToken)

			// The server takes the next key only. Nothing is lost, no user is asked.
			g.change("another "+apiKey, nil)
			var rejected *oauthclient.CredentialsRejectedError
			require.ErrorAs(t, call(t, first, id), &rejected)
			require.Equal(t, 401, rejected.StatusCode)
			require.Equal(t, session.StatusFailed, requireStatus(t, second, id, session.StatusFailed).Status)
			_, err = second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, Headers: secretMap(name, "another "+apiKey)})
			require.NoError(t, err)
			requireStatus(t, first, id, session.StatusConnected)
			requireWorks(t, first, alice, id)
			_, err = second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, ServerName: "Mail"})
			require.NoError(t, err, "a connect that says nothing of headers keeps them")
			require.NoError(t, first.RemoveClient(t.Context(), alice, id))
			require.NotContains(t, g.headers(name), "", "the DELETE included")
		})
	}
}

// Whatever a server refuses a key with, it is neither an outage nor a reason to
// authorize.
func TestRejectedKeyAsksNobody(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "X-Api-Key", "the right one")
	m := w.manager(t, allowKeys, func(c *session.Config) {
		c.Client.PolicyFor = func(string) oauthclient.ServerPolicy { return oauthclient.ServerPolicy{ForceAuthorization: true} }
	})
	for name, refusal := range map[string]func(http.ResponseWriter, *http.Request){
		"401": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"with a challenge": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+w.mcp.Origin()+`/.well-known/oauth-protected-resource/mcp"`)
			rw.WriteHeader(http.StatusUnauthorized)
		},
		"more scopes": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="admin"`)
			rw.WriteHeader(http.StatusForbidden)
		},
	} {
		g.change("the right one", refusal)
		_, err := m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", CallbackURL: callbackURL, Headers: secretMap("X-Api-Key", "wrong")})
		var rejected *oauthclient.CredentialsRejectedError
		require.ErrorAs(t, err, &rejected, name)
	}
	require.Empty(t, w.store.live("session"))
	require.Zero(t, w.as.Counts().Registrations)
	require.Empty(t, w.mcp.Requests())
}

// A header beside OAuth is sent with and without a token, and the user authorizes
// as usual. Without it again, the session goes on with its token.
func TestHeaderBesideAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	first, second := w.manager(t, allowKeys), w.manager(t, allowKeys)
	p := w.params()
	p.Headers = secretMap("X-Tenant", "seven")
	info, err := first.Connect(t.Context(), alice, p)
	id := info.ID.Reveal()
	_, err = second.FinishAuth(t.Context(), alice, "", w.approve(t, requireAuthorization(t, err).AuthURL))
	require.NoError(t, err)
	requireWorks(t, first, alice, id)
	for _, r := range w.mcp.Requests() {
		if r.Endpoint == mcptest.EndpointMCP {
			require.Equal(t, "seven", r.Header.Get("X-Tenant"))
		} else {
			require.Empty(t, r.Header.Get("X-Tenant"), r.Path)
		}
	}
	for _, r := range w.as.Requests("") {
		require.Empty(t, r.Header.Get("X-Tenant"))
	}
	w.mcp.Reset()
	_, err = second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, Headers: map[string]oauthclient.Secret{}})
	require.NoError(t, err)
	for _, m := range []*session.Manager{first, second} {
		requireWorks(t, m, alice, id)
	}
	for _, r := range w.mcp.Requests() {
		require.Empty(t, r.Header.Values("X-Tenant"))
	}
	// What the host allows no more is not sent any more.
	_, err = second.Connect(t.Context(), alice, session.ConnectParams{SessionID: id, Headers: secretMap("X-Tenant", "eight")})
	require.NoError(t, err)
	w.mcp.Reset()
	strict := w.manager(t)
	requireWorks(t, strict, alice, id)
	_, err = strict.Connect(t.Context(), alice, session.ConnectParams{SessionID: id})
	require.NoError(t, err)
	for _, r := range w.mcp.Requests() {
		require.Empty(t, r.Header.Values("X-Tenant"))
	}
}

// Headers that would change the request itself are refused before anything is
// sent, and no error repeats a value.
func TestHeadersOfAnAttacker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	m := w.manager(t, allowKeys)
	for name, headers := range map[string]map[string]oauthclient.Secret{
		"not allowed":       secretMap("X-Other", apiKey),
		"host":              secretMap("Host", apiKey),
		"cookie":            secretMap("Cookie", apiKey),
		"MCP session":       secretMap("Mcp-Session-Id", apiKey),
		"hop by hop":        secretMap("Connection", apiKey),
		"length":            secretMap("Content-Length", "0"),
		"line break":        secretMap("X-Tenant", "a\r\nX-Evil: "+apiKey),
		"line feed":         secretMap("X-Tenant", apiKey+"\n"),
		"zero":              secretMap("X-Tenant", apiKey+"\x00"),
		"space":             secretMap("X-Tenant", " "+apiKey),
		"empty":             secretMap("X-Tenant", ""),
		"name with a break": secretMap("X-Tenant\r\nX-Evil", apiKey),
		"name with a colon": secretMap("X-Tenant: x", apiKey),
		"twice":             secretMap("X-Tenant", apiKey, "x-tenant", apiKey),
		"too long":          secretMap("X-Tenant", strings.Repeat("x", 8<<10)),
	} {
		p := w.params()
		p.Headers = headers
		_, err := m.Connect(t.Context(), alice, p)
		var input *session.InputError
		require.ErrorAs(t, err, &input, name)
		require.NotContains(t, err.Error(), apiKey)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", p, p, p), apiKey)
	}
	require.Empty(t, w.mcp.Requests())
	for _, name := range []string{
		"Authorization", "Host", "cookie", "Mcp-Session-Id", "mcp-protocol-version", "Content-Length", "Content-Type", "Transfer-Encoding",
		"Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Upgrade", "Accept", "Accept-Encoding", "DPoP", "Expect", "Sec-Fetch-Site", "", "a b", "a\r\nb",
	} {
		_, err := session.New(session.Config{Store: w.mem, AllowHeaders: []string{"X-Fine", name}})
		require.ErrorContains(t, err, "AllowHeaders[1]", name)
		if name != "Authorization" {
			_, err = session.New(session.Config{Store: w.mem, AllowKeyHeaders: []string{name}})
			require.ErrorContains(t, err, "AllowKeyHeaders[0]", name)
		}
	}
}

// A redirect to another origin gets neither the request nor its headers.
func TestHeadersStayAtTheirOrigin(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var stolen []http.Header
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stolen = append(stolen, r.Header)
	}))
	t.Cleanup(thief.Close)
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "X-Api-Key", apiKey)
	m := w.manager(t, allowKeys)
	info, err := m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", Headers: secretMap("X-Api-Key", apiKey)})
	require.NoError(t, err)
	for _, status := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusFound} {
		g.change("moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL+"/mcp", status) })
		require.Error(t, call(t, m, info.ID.Reveal()))
	}
	// Nor does a server that is asked for metadata elsewhere send them there.
	g.change("moved", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+thief.URL+`/metadata"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	require.Error(t, call(t, m, info.ID.Reveal()))
	mu.Lock()
	defer mu.Unlock()
	for _, header := range stolen {
		require.NotContains(t, fmt.Sprint(header), apiKey)
	}
}

// The host's own headers are made for each request, and win.
func TestHeaderProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	type traceKey struct{}
	errIdentity := errors.New("no identity today")
	var fail sync.Map
	provider := func(c *session.Config) {
		allowKeys(c)
		c.HeaderProvider = func(ctx context.Context, info session.Info) (http.Header, error) {
			if _, failing := fail.Load("now"); failing {
				return nil, errIdentity
			}
			if _, empty := fail.Load("empty"); empty {
				return http.Header{"Mcp-Session-Id": {}, "content-type": nil, "Accept": {}, "X-Tenant": {}}, nil
			}
			if name, ok := fail.Load("name"); ok {
				return http.Header{name.(string): {"x"}}, nil
			}
			trace, _ := ctx.Value(traceKey{}).(string)
			return http.Header{"x-identity": {info.Owner + " at " + info.ServerURL}, "X-Trace": {"t" + trace}, "X-Tenant": {"of the host"}}, nil
		}
	}
	first, second := w.manager(t, provider), w.manager(t, provider)
	p := w.params()
	p.Headers = secretMap("X-Tenant", "of the user")
	info, err := first.Connect(t.Context(), alice, p)
	id := info.ID.Reveal()
	_, err = second.FinishAuth(t.Context(), alice, "", w.approve(t, requireAuthorization(t, err).AuthURL))
	require.NoError(t, err)
	_, err = first.CallTool(context.WithValue(t.Context(), traceKey{}, "42"), alice, id, "echo", nil)
	require.NoError(t, err)
	sent := w.mcp.RPC("tools/call")[0].Header
	require.Equal(t, []string{"alice at " + w.mcp.URL()}, sent["X-Identity"])
	require.Equal(t, []string{"of the host"}, sent["X-Tenant"])
	require.Equal(t, "t42", sent.Get("X-Trace"))

	fail.Store("empty", true)
	require.NoError(t, call(t, first, id), "no values take no header of the protocol away")
	bare := w.mcp.RPC("tools/call")[1].Header
	for _, name := range []string{"Content-Type", "Accept", "Authorization", "Mcp-Protocol-Version"} {
		require.Equal(t, sent[name], bare[name], name)
	}
	require.NotContains(t, bare, "X-Tenant", "but one of the user")
	fail.Delete("empty")

	asked := len(w.mcp.Requests())
	var failed *oauthclient.HeadersError
	for _, name := range []string{"Authorization", "Mcp-Session-Id", "Cookie", "a b"} {
		fail.Store("name", name)
		require.ErrorAs(t, call(t, first, id), &failed, name)
	}
	fail.Store("now", true)
	require.ErrorAs(t, call(t, second, id), &failed)
	require.ErrorIs(t, failed, errIdentity)
	require.Len(t, w.mcp.Requests(), asked)
	requireStatus(t, second, id, session.StatusConnected)
}

// No log, error or value shows a header, also when the server repeats it.
func TestHeadersAreNotShown(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t, authtest.Options{}, mcptest.Options{}), newGate(t, "Authorization", "Bearer "+apiKey)
	var log testlog.Buffer
	m := w.manager(t, allowKeys, func(c *session.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	headers := secretMap("Authorization", "Bearer "+apiKey)
	info, err := m.Connect(t.Context(), alice, session.ConnectParams{ServerURL: g.URL + "/mcp", Headers: headers})
	require.NoError(t, err)
	shown := []string{fmt.Sprintf("%v %+v %#v", info, info, info)}
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503, 200} {
		for _, body := range []string{"your key " + apiKey + " is wrong", `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"key Bearer ` + apiKey + `","data":{"key":"` + apiKey + `"}}}`} {
			g.change("moved", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="key `+apiKey+`"`)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			})
			err := call(t, m, info.ID.Reveal())
			require.Error(t, err)
			_, again := m.Connect(t.Context(), alice, session.ConnectParams{SessionID: info.ID.Reveal()})
			require.Error(t, again)
			for _, err := range []error{err, again} {
				shown = append(shown, fmt.Sprintf("%v %+v %#v", err, err, err))
			}
			g.change("Bearer "+apiKey, nil)
			_, again = m.Connect(t.Context(), alice, session.ConnectParams{SessionID: info.ID.Reveal()})
			require.NoError(t, again)
		}
	}
	require.NotContains(t, strings.Join(shown, "\n"), apiKey)
	require.NotContains(t, log.String(), apiKey)
	require.Contains(t, log.String(), "[redacted]")
}
