package session_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// 50 calls at once on two replicas on an MCP session that the server has lost,
// however it says so: one new MCP session is left, the other one is ended.
func TestLostSessionIsReplacedOnceAmongReplicas(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]func(http.ResponseWriter, scriptedRequest){
		"404": nil,
		"400": func(w http.ResponseWriter, _ scriptedRequest) { w.WriteHeader(http.StatusBadRequest) },
		"410": func(w http.ResponseWriter, _ scriptedRequest) { w.WriteHeader(http.StatusGone) },
		"400 with an RPC error": func(w http.ResponseWriter, r scriptedRequest) {
			r.answer(w, http.StatusBadRequest, "error", `{"code":-32000,"message":"Bad Request: No valid session ID provided"}`)
		},
		"404 with an RPC error": func(w http.ResponseWriter, r scriptedRequest) {
			r.answer(w, http.StatusNotFound, "error", `{"code":-32001,"message":"Session not found"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, &scripted{lost: lost})
			_, a, b, id := scriptedWorld(t, s)
			s.restart()
			release := s.block("initialize")
			t.Cleanup(release)
			done := make(chan []error, 1)
			replicas := []*session.Manager{a, b}
			go func() { done <- concurrently(50, func(i int) error { return call(t, replicas[i%2], id) }) }()
			require.Eventually(t, func() bool { return s.count("initialize") == 2 }, 30*time.Second, time.Millisecond)
			release()
			requireNoErrors(t, <-done)
			require.Equal(t, 2, s.count("initialize"))
			require.Equal(t, 1, s.count("DELETE"))
			require.Equal(t, 1, s.alive())
			s.mu.Lock()
			clear(s.counts)
			s.mu.Unlock()
			require.NoError(t, call(t, a, id))
			require.NoError(t, call(t, b, id))
			require.Equal(t, map[string]int{"tools/call": 2}, s.posts())
			requireStatus(t, b, id, session.StatusConnected)
		})
	}
}

// Two replicas negotiate at once, with a session that has no connection data
// yet: they end with one set.
func TestTwoReplicasNegotiateAtOnce(t *testing.T) {
	t.Parallel()
	for method, modern := range map[string]bool{"initialize": false, "server/discover": true} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t, &scripted{modern: modern})
			w := newWorld(t, authtest.Options{}, mcptest.Options{})
			replicas := []*session.Manager{w.manager(t), w.manager(t)}
			client, err := oauthclient.New(oauthclient.Config{ServerURL: s.URL, CallbackURL: callbackURL})
			require.NoError(t, err)
			id := session.GenerateSessionID()
			require.NoError(t, replicas[0].SetClient(t.Context(), alice, id, client))
			release := s.block(method)
			t.Cleanup(release)
			done := make(chan []error, 1)
			go func() { done <- concurrently(50, func(i int) error { return call(t, replicas[i%2], id) }) }()
			require.Eventually(t, func() bool { return s.count(method) == 2 }, 30*time.Second, time.Millisecond)
			release()
			requireNoErrors(t, <-done)
			require.Equal(t, 2, s.count(method))
			if !modern {
				require.Equal(t, 1, s.alive())
				require.Equal(t, 1, s.count("DELETE"))
			}
			s.mu.Lock()
			clear(s.counts)
			s.mu.Unlock()
			for _, m := range replicas {
				require.NoError(t, call(t, m, id))
			}
			require.Equal(t, map[string]int{"tools/call": 2}, s.posts())
		})
	}
}

// What goes wrong with one call says nothing about the connection.
func TestFailedCallsKeepTheConnection(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"2026-07-28": {}, "2025-11-25": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			m := w.manager(t)
			id := w.connected(t, m)
			requireWorks(t, m, alice, id)
			records := w.store.records()
			w.mcp.Reset()
			for range 3 {
				_, err := m.CallTool(t.Context(), alice, id, "no_such_tool", nil)
				require.Error(t, err)
				result, err := m.CallTool(t.Context(), alice, id, "add", map[string]any{"a": "no number"})
				require.True(t, err != nil || result.IsError)
				_, err = m.CallTool(t.Context(), alice, id, "protocol_error", nil)
				require.Error(t, err)
				result, err = m.CallTool(t.Context(), alice, id, "fail", nil)
				require.NoError(t, err)
				require.True(t, result.IsError)
			}
			requireWorks(t, m, alice, id)
			require.Zero(t, w.mcp.Count("initialize"))
			require.Zero(t, w.mcp.Count("server/discover"))
			require.Zero(t, w.mcp.CountHTTP("DELETE"))
			require.Equal(t, records, w.store.records(), "nothing is written")
			requireStatus(t, m, id, session.StatusConnected)
		})
	}
}

// annotated is a tool whose argument goes into a header, and how a server
// refuses calls without.
const annotated = `{"name":"echo","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}`

func demandHeader(w http.ResponseWriter, r scriptedRequest) bool { return demand("Region", w, r) }

func demand(header string, w http.ResponseWriter, r scriptedRequest) bool {
	if r.Method != "tools/call" || r.http.Header.Get("Mcp-Param-"+header) == r.Params.Arguments["region"] {
		return false
	}
	r.answer(w, http.StatusBadRequest, "error", `{"code":-32020,"message":"header mismatch"}`)
	return true
}

func callRegion(t *testing.T, m *session.Manager, id string) {
	t.Helper()
	_, err := m.CallTool(t.Context(), alice, id, "echo", map[string]any{"region": "eu"})
	require.NoError(t, err)
}

// A replica that never listed the tools sends the headers that they ask for: at
// once if another replica has listed them.
func TestHeadersOfToolsOnAReplicaThatNeverListed(t *testing.T) {
	t.Parallel()
	s := newScripted(t, &scripted{modern: true, tools: annotated, before: demandHeader})
	w, a, b, id := scriptedWorld(t, s)
	callRegion(t, a, id)
	require.Equal(t, 1, s.count("tools/list"), "the record had no annotations yet")
	callRegion(t, b, id)
	callRegion(t, w.manager(t), id)
	require.Equal(t, 1, s.count("tools/list"))
	require.Equal(t, 3, s.count("tools/call"))
	require.Equal(t, 1, s.count("server/discover"))
}

// Connection data that exceed their part of the record: each replica lists the
// tools once, and nothing is negotiated or written again.
func TestConnectionDataThatDoNotFit(t *testing.T) {
	t.Parallel()
	var tools strings.Builder
	tools.WriteString(annotated)
	for i := range 400 {
		fmt.Fprintf(&tools, `,{"name":"tool_%03d","inputSchema":{"type":"object","properties":{"argument_%03d":{"type":"string","x-mcp-header":"Argument-%03d"}}}}`, i, i, i)
	}
	var renamed atomic.Bool
	s := newScripted(t, &scripted{modern: true, tools: tools.String(), instructions: strings.Repeat("Read this. ", 2000)})
	s.before = func(w http.ResponseWriter, r scriptedRequest) bool {
		switch {
		case !renamed.Load():
			return demand("Region", w, r)
		case r.Method == "tools/list":
			r.result(w, `{"tools":[`+strings.Replace(s.tools, "Region", "Zone", 1)+`]}`)
			return true
		}
		return demand("Zone", w, r)
	}
	w, a, b, id := scriptedWorld(t, s)
	for range 3 {
		callRegion(t, a, id)
		callRegion(t, b, id)
	}
	require.Equal(t, 1, s.count("server/discover"))
	require.Equal(t, 2, s.count("tools/list"), "once on each replica")
	writes := w.store.count("swap session")
	callRegion(t, a, id)
	callRegion(t, b, id)
	require.Equal(t, writes, w.store.count("swap session"))
	renamed.Store(true)
	callRegion(t, a, id)
	callRegion(t, b, id)
	require.Equal(t, 4, s.count("tools/list"), "once more on each replica")
	require.Equal(t, writes, w.store.count("swap session"))
	for _, value := range w.store.stored() {
		require.Less(t, len(value), oauthclient.MaxConnectionBytes+4<<10)
	}
	info, err := liveClient(t, a, id).ServerInfo(t.Context())
	require.NoError(t, err)
	require.Len(t, info.Instructions, len(s.instructions), "the replica that negotiated has them in memory")
	require.NoError(t, b.RemoveClient(t.Context(), alice, id))
}

// A load balancer with sticky cookies knows each MCP session on one of its
// servers only: every replica sends the cookie.
func TestStickyCookiesOnAllReplicas(t *testing.T) {
	t.Parallel()
	s := newScripted(t, &scripted{})
	s.before = func(w http.ResponseWriter, r scriptedRequest) bool {
		_, err := r.http.Cookie("lb")
		switch {
		case r.Method == "initialize":
			http.SetCookie(w, &http.Cookie{Name: "lb", Value: "server-1", HttpOnly: true, Path: "/"})
		case err != nil:
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	_, a, b, id := scriptedWorld(t, s)
	require.NoError(t, call(t, a, id))
	require.NoError(t, call(t, b, id))
	require.Equal(t, 1, s.count("initialize"))
	require.NoError(t, b.RemoveClient(t.Context(), alice, id))
	require.Zero(t, s.alive(), "the DELETE has the cookie, too")
}

// A server that never answers server/discover costs the wait once an hour, not
// once a session.
func TestSilentDiscoverCostsOnceAnHour(t *testing.T) {
	t.Parallel()
	s := newScripted(t, &scripted{})
	s.before = func(_ http.ResponseWriter, r scriptedRequest) bool {
		if r.Method == "server/discover" {
			<-r.http.Context().Done()
			return true
		}
		return false
	}
	w, a, _, _ := scriptedWorld(t, s, func(c *session.Config) { c.Client.DiscoverTimeout = 2 * time.Second })
	for range 3 {
		_, err := a.Connect(t.Context(), alice, withServer(w, s.URL))
		require.NoError(t, err)
	}
	require.Equal(t, 1, s.count("server/discover"))
	w.advance(time.Hour)
	_, err := a.Connect(t.Context(), alice, withServer(w, s.URL))
	require.NoError(t, err)
	require.Equal(t, 2, s.count("server/discover"))
	require.Equal(t, 5, s.count("initialize"))
}

// A client of GetClient works at once: after a restart, and after the server
// forgot the MCP session.
func TestGetClientAfterARestart(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]mcptest.Options{"2026-07-28": {}, "2025-11-25": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, authtest.Options{}, opts)
			before := w.manager(t)
			id := w.connected(t, before)
			require.NoError(t, before.Close())
			m := w.manager(t)
			client := liveClient(t, m, id)
			info, err := client.ServerInfo(t.Context())
			require.NoError(t, err)
			require.Equal(t, "mcptest", info.ServerInfo.Name)
			for range 2 {
				_, err = client.CallTool(t.Context(), "echo", nil)
				require.NoError(t, err)
				tools, err := client.ListTools(t.Context())
				require.NoError(t, err)
				require.NotEmpty(t, tools)
				w.mcp.KillSessions()
			}
		})
	}
}

// The SDK's own client on Transport, after a restart and with a token that has
// expired: it authorizes like everything else.
func TestTransportAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{Stateful: true})
	before := w.manager(t)
	id := w.connected(t, before)
	require.NoError(t, before.Close())
	w.as.ExpireAccessTokens()
	m := w.manager(t)
	sdk := mcp.NewClient(&mcp.Implementation{Name: "host", Version: "1"}, nil)
	conn, err := sdk.Connect(t.Context(), liveClient(t, m, id).Transport(), nil)
	require.NoError(t, err)
	tools, err := conn.ListTools(t.Context(), nil)
	require.NoError(t, err)
	require.NotEmpty(t, tools.Tools)
	require.Equal(t, 1, w.as.Counts().Refreshes)
	_, err = conn.CallTool(t.Context(), &mcp.CallToolParams{Name: "admin"})
	requireAuthorization(t, err)
	require.NoError(t, conn.Close())
	requireWorks(t, m, alice, id)
}
