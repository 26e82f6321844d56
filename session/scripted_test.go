package session_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
)

// scripted is an open MCP server that answers as a test says. Its sessions are
// those of revision 2025-11-25.
type scripted struct {
	URL string
	// modern serves revision 2026-07-28, without sessions.
	modern bool
	// lost answers requests on an MCP session that the server does not know.
	// Defaults to 404.
	lost func(w http.ResponseWriter, r scriptedRequest)
	// before answers a request in place of the server, if it returns true.
	before func(w http.ResponseWriter, r scriptedRequest) bool
	// tools is the JSON of the tools; instructions what the server says.
	tools, instructions string

	mu       sync.Mutex
	counts   map[string]int // by JSON-RPC method, or else HTTP method
	sessions map[string]bool
	made     int
	gates    map[string]chan struct{}
}

type scriptedRequest struct {
	http   *http.Request
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name      string         `json:"name"`
		Arguments map[string]any `json:"arguments"`

		Capabilities json.RawMessage `json:"capabilities"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func (r scriptedRequest) result(w http.ResponseWriter, result string) {
	r.answer(w, http.StatusOK, "result", result)
}

func (r scriptedRequest) answer(w http.ResponseWriter, status int, member, value string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%q:%s}`, r.ID, member, value)
}

func newScripted(t *testing.T, s *scripted) *scripted {
	t.Helper()
	s.counts, s.sessions, s.gates = make(map[string]int), make(map[string]bool), make(map[string]chan struct{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := scriptedRequest{http: req}
	_ = json.NewDecoder(req.Body).Decode(&r) // other requests than POST have none
	name, sessionID := r.Method, req.Header.Get("Mcp-Session-Id")
	if name == "" {
		name = req.Method
	}
	s.mu.Lock()
	s.counts[name]++
	gate, known := s.gates[name], s.sessions[sessionID]
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if s.before != nil && s.before(w, r) {
		return
	}
	switch {
	case strings.HasPrefix(r.Method, "notifications/"):
		w.WriteHeader(http.StatusAccepted)
	case r.Method == "server/discover" && s.modern:
		r.result(w, fmt.Sprintf(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":%q}`, s.instructions))
	case r.Method == "initialize" && !s.modern:
		w.Header().Set("Mcp-Session-Id", s.begin())
		r.result(w, fmt.Sprintf(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"},"instructions":%q}`, s.instructions))
	case !s.modern && !known && s.lost != nil:
		s.lost(w, r)
	case !s.modern && !known:
		w.WriteHeader(http.StatusNotFound)
	case req.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.sessions, sessionID)
		s.mu.Unlock()
	case r.Method == "tools/list":
		r.result(w, `{"tools":[`+s.tools+`]}`)
	case r.Method == "tools/call", r.Method == "ping":
		r.result(w, `{"content":[]}`)
	default:
		r.answer(w, http.StatusBadRequest, "error", `{"code":-32601,"message":"Method not found"}`)
	}
}

func (s *scripted) begin() (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	id = fmt.Sprintf("mcp-session-%d", s.made)
	s.sessions[id] = true
	return id
}

// restart forgets all MCP sessions and counts.
func (s *scripted) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	clear(s.counts)
}

func (s *scripted) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[method]
}

// posts returns how many requests arrived, by JSON-RPC method.
func (s *scripted) posts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

// alive returns how many MCP sessions there are.
func (s *scripted) alive() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// block holds requests with a method until release is called.
func (s *scripted) block(method string) (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	s.gates[method] = gate
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		delete(s.gates, method)
		s.mu.Unlock()
		close(gate)
	})
}

// scriptedWorld returns two replicas and a session with a server.
func scriptedWorld(t *testing.T, s *scripted, change ...func(*session.Config)) (w *world, a, b *session.Manager, id string) {
	t.Helper()
	w = newWorld(t, authtest.Options{}, mcptest.Options{})
	a, b = w.manager(t, change...), w.manager(t, change...)
	info, err := a.Connect(t.Context(), alice, withServer(w, s.URL))
	require.NoError(t, err)
	return w, a, b, info.ID.Reveal()
}

// refuseCalls answers tool calls with a JSON-RPC error.
func refuseCalls(rpcError string) func(http.ResponseWriter, scriptedRequest) bool {
	return func(w http.ResponseWriter, r scriptedRequest) bool {
		if r.Method != "tools/call" {
			return false
		}
		r.answer(w, http.StatusOK, "error", rpcError)
		return true
	}
}
