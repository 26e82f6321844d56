package mcptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The names of the endpoints in [Request.Endpoint].
const (
	EndpointMCP      = "mcp"
	EndpointMetadata = "metadata"
	// EndpointOther is whatever nothing else answers.
	EndpointOther = "other"
)

const (
	methodCallTool = "tools/call"
	maxBody        = 16 << 20
)

// Request is what the server was sent.
type Request struct {
	// Endpoint is one of the Endpoint constants.
	Endpoint string
	Method   string
	Path     string
	Header   http.Header
	// Token is the access token, whatever its scheme.
	Token string
	// RPCMethod is the JSON-RPC method; empty for other requests.
	RPCMethod string
	// RPCID is the JSON-RPC ID as sent; empty for a notification.
	RPCID json.RawMessage
	// Params are the JSON-RPC parameters as sent.
	Params json.RawMessage
	// Tool is the name of the tool that tools/call names.
	Tool string
	Body []byte
	Time time.Time
	// Status is that of the answer; 0 when there was none (yet).
	Status int
}

// counts says how many requests arrived, whatever became of them.
type counts struct {
	rpc    map[string]int
	http   map[string]int // of the MCP endpoint
	tools  map[string]int
	tokens []string // distinct, in order of arrival
	seen   map[string]struct{}
}

func newCounts() counts {
	return counts{
		rpc: make(map[string]int), http: make(map[string]int),
		tools: make(map[string]int), seen: make(map[string]struct{}),
	}
}

// Requests returns the requests to every endpoint, oldest first.
func (s *Server) Requests() []Request { return s.log.Select(nil) }

// RPC returns the requests with a JSON-RPC method, oldest first.
func (s *Server) RPC(method string) []Request {
	return s.log.Select(func(r *Request) bool { return r.RPCMethod == method })
}

// Count says how many requests with a JSON-RPC method arrived, refused and
// faulted ones included.
func (s *Server) Count(rpcMethod string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.rpc[rpcMethod]
}

// CountHTTP says how many requests with an HTTP method arrived at the MCP
// endpoint; DELETE ends a session.
func (s *Server) CountHTTP(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.http[method]
}

// Executed says how often a tool ran, as opposed to being asked to.
func (s *Server) Executed(tool string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.tools[tool]
}

// Cancelled says how often the tool slow was cancelled.
func (s *Server) Cancelled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancelled
}

// Tokens returns the distinct access tokens seen, the first one seen first.
func (s *Server) Tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.counts.tokens)
}

// Reset forgets the recorded requests, the counts and the faults. Sessions and
// the metadata stay.
func (s *Server) Reset() {
	s.log.Reset()
	s.faults.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = newCounts()
	s.rejects = 0
	s.cancelled = 0
}

// record logs r, leaving its body readable, and returns where to report the
// status of the answer.
func (s *Server) record(endpoint string, r *http.Request) (*Request, func(int), error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, nil, fmt.Errorf("mcptest: read body: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	req := &Request{
		Endpoint: endpoint,
		Method:   r.Method,
		Path:     r.URL.Path,
		Header:   r.Header.Clone(),
		Token:    bearer(r),
		Body:     body,
		Time:     time.Now(),
	}
	if endpoint == EndpointMCP {
		req.readMessage()
	}
	s.tally(req)
	if s.opts.DiscardRequests {
		return req, func(int) {}, nil
	}
	edit := s.log.Add(*req)
	return req, func(status int) { edit(func(r *Request) { r.Status = status }) }, nil
}

// readMessage decodes the JSON-RPC envelope; of a batch, nothing.
func (r *Request) readMessage() {
	var message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(r.Body, &message) != nil {
		return
	}
	r.RPCMethod, r.RPCID, r.Params = message.Method, message.ID, message.Params
	if r.RPCMethod == methodCallTool {
		var call struct {
			Name string `json:"name"`
		}
		_ = json.Unmarshal(message.Params, &call)
		r.Tool = call.Name
	}
}

func (s *Server) tally(req *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Endpoint == EndpointMCP {
		s.counts.http[req.Method]++
	}
	if req.RPCMethod != "" {
		s.counts.rpc[req.RPCMethod]++
	}
	if _, seen := s.counts.seen[req.Token]; req.Token != "" && !seen {
		s.counts.seen[req.Token] = struct{}{}
		s.counts.tokens = append(s.counts.tokens, req.Token)
	}
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") {
		return ""
	}
	return strings.TrimSpace(token)
}
