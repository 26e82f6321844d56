package httpapi_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
	"github.com/mcpoauth/mcpoauth/store/memstore"
)

// world is everything, over real HTTP: an authorization server, an MCP server
// that it protects, and replicas of a host behind one address.
type world struct {
	as    *authtest.Server
	mcp   *mcptest.Server
	store store.SessionStore
	log   *testlog.Buffer

	url string // of the host

	mu      sync.Mutex
	serving http.Handler // the replica that the load balancer picks
}

// userHeader is how these tests' host knows who is signed in.
const userHeader = "X-Test-User"

func byHeader(c *httpapi.Config) {
	c.Identify = func(r *http.Request) (string, error) {
		if user := r.Header.Get(userHeader); user != "" {
			return user, nil
		}
		return "", errors.New("not signed in")
	}
}

func newWorld(t testing.TB, as authtest.Options, srv mcptest.Options) *world {
	t.Helper()
	w := &world{as: authtest.New(as), store: memstore.New(memstore.Config{}), log: new(testlog.Buffer)}
	t.Cleanup(w.as.Close)
	srv.Auth = w.as
	w.mcp = mcptest.New(srv)
	t.Cleanup(w.mcp.Close)
	host := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		serving := w.serving
		w.mu.Unlock()
		serving.ServeHTTP(rw, r)
	}))
	t.Cleanup(host.Close)
	w.url = host.URL
	return w
}

// replica starts a replica of the host, which gets all requests from now on.
func (w *world) replica(t testing.TB, change ...any) *httpapi.Handler {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	managerConfig := session.Config{Store: w.store, Logger: logger}
	managerConfig.Client.Transport = oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true})
	cfg := httpapi.Config{PublicURL: w.url, Logger: logger, ConnectsPerMinute: -1, CallbacksPerMinute: -1, RequestsPerMinute: -1}
	for _, fn := range change {
		switch fn := fn.(type) {
		case func(*session.Config):
			fn(&managerConfig)
		case func(*httpapi.Config):
			fn(&cfg)
		}
	}
	manager, err := session.New(managerConfig)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, manager.Close()) })
	h, err := httpapi.New(manager, cfg)
	require.NoError(t, err)
	w.mu.Lock()
	w.serving = h
	w.mu.Unlock()
	return h
}

// browser is a browser with the host's front end in it.
type browser struct {
	t      testing.TB
	w      *world
	client *http.Client
	user   string
}

func (w *world) browser(t testing.TB, user string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t: t, w: w, user: user, client: &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// answer is the host's answer to the front end.
type answer struct {
	httpapi.Response
	status int
	header http.Header
	body   string
}

func (b *browser) send(method, target, body string, headers ...string) answer {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.w.url + target
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(body))
	require.NoError(b.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set(userHeader, b.user)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	require.NoError(b.t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, body: readAll(b.t, resp.Body)}
	record(b.t, exchange{method, r.URL.RequestURI(), r.Header, body, a.status, a.header, a.body})
	if resp.Header.Get("Content-Type") == "application/json" {
		require.NoError(b.t, json.Unmarshal([]byte(a.body), &a.Response), a.body)
	}
	return a
}

func (b *browser) connect() answer { b.t.Helper(); return b.connectTo(b.w.mcp.URL()) }

func (b *browser) connectTo(serverURL string) answer {
	b.t.Helper()
	body, err := json.Marshal(httpapi.ConnectRequest{ServerURL: serverURL})
	require.NoError(b.t, err)
	return b.send("POST", pathConnect, string(body))
}

// approve visits an authorization URL and says yes; it returns where the
// browser is sent then.
func (b *browser) approve(a answer) string {
	b.t.Helper()
	require.Equal(b.t, 401, a.status, a.body)
	require.True(b.t, httpapi.IsConnectAuthRequired(a.Response), a.body)
	callback, err := b.w.as.Approve(b.t.Context(), a.AuthRequired.AuthURL)
	require.NoError(b.t, err)
	return callback
}

// authorized returns a session that the user has authorized.
func (b *browser) authorized() string {
	b.t.Helper()
	a := b.connect()
	done := b.send("GET", b.approve(a), "")
	require.Equal(b.t, 200, done.status, done.body)
	require.Equal(b.t, `{"success":true,"message":"Authorization completed"}`, done.body)
	return a.AuthRequired.SessionID
}

func (b *browser) status(sessionID string) httpapi.SessionStatus {
	b.t.Helper()
	a := b.send("GET", pathStatus+"?sessionId="+url.QueryEscape(sessionID), "")
	require.Equal(b.t, 200, a.status, a.body)
	var status httpapi.SessionStatus
	require.NoError(b.t, json.Unmarshal([]byte(a.body), &status))
	return status
}

func (b *browser) list(sessionID string) answer {
	b.t.Helper()
	return b.send("GET", pathList+"?sessionId="+url.QueryEscape(sessionID), "")
}

func (b *browser) call(sessionID, tool, args string, headers ...string) answer {
	b.t.Helper()
	return b.send("POST", pathCall, callBody(b.t, sessionID, tool, args), headers...)
}

func callBody(t testing.TB, sessionID, tool, args string) string {
	t.Helper()
	// Not through json.Marshal, which would tidy up args.
	id, err := json.Marshal(sessionID)
	require.NoError(t, err)
	name, err := json.Marshal(tool)
	require.NoError(t, err)
	return `{"sessionId":` + string(id) + `,"toolName":` + string(name) + `,"toolArgs":` + args + `}`
}
