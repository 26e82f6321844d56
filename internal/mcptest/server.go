package mcptest

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

// Server is an MCP server on the loopback interface.
type Server struct {
	opts   Options
	close  func()
	origin string
	sdk    *mcp.Server
	faults wire.Faults
	log    wire.Log[Request]
	ending sync.WaitGroup // sessions that KillSessions closes

	mu        sync.Mutex // guards what follows
	handler   http.Handler
	metadata  Metadata
	rejects   int
	cancelled int
	counts    counts
}

// New starts a server. Like [net/http/httptest.NewServer] it panics where it
// cannot listen, and for options that contradict themselves.
func New(opts Options) *Server {
	s, err := Start(opts)
	if err != nil {
		panic(err)
	}
	return s
}

// Start is [New] for programs that prefer an error, for instance because they
// ask for a fixed [Options.Addr].
func Start(opts Options) (*Server, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, metadata: opts.Metadata, counts: newCounts()}
	s.sdk = s.newSDKServer()
	s.handler = s.newHandler()
	if opts.SharedOrigin {
		s.origin = opts.Auth.URL()
		s.close = func() {} // Auth owns the listener
		opts.Auth.Handle("/", http.HandlerFunc(s.serve))
		return s, nil
	}
	ready := make(chan struct{})
	listener, err := wire.Listen(opts.Addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready // the origin is known only once the port is
		s.serve(w, r)
	}))
	if err != nil {
		return nil, fmt.Errorf("mcptest: %w", err)
	}
	s.origin = listener.URL()
	s.close = listener.Close
	close(ready)
	return s, nil
}

// closeGrace bounds how long Close waits for calls that are still running.
const closeGrace = 5 * time.Second

// Close stops the server, cuts every connection and ends every session.
func (s *Server) Close() {
	s.close()
	s.KillSessions()
	ended := make(chan struct{})
	go func() { s.ending.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(closeGrace):
	}
}

// Origin is the scheme, host and port, without a trailing slash.
func (s *Server) Origin() string { return s.origin }

// URL is the MCP endpoint.
func (s *Server) URL() string { return s.origin + s.opts.Path }

// KillSessions forgets every session, as a restart does: the next request with
// one of their IDs is answered 404. Stateless servers have none.
func (s *Server) KillSessions() {
	s.mu.Lock()
	s.handler = s.newHandler()
	s.mu.Unlock()
	for session := range s.sdk.Sessions() {
		// Close waits for running calls, which a restart would not.
		s.ending.Go(func() { _ = session.Close() })
	}
}

func (s *Server) newHandler() http.Handler {
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.sdk },
		&mcp.StreamableHTTPOptions{
			Stateless:                    !s.opts.Stateful,
			JSONResponse:                 s.opts.JSONResponse,
			PropagateRequestCancellation: true,
		})
}

func (s *Server) newSDKServer() *mcp.Server {
	options := &mcp.ServerOptions{PageSize: s.opts.PageSize, SupportedProtocolVersions: s.opts.ProtocolVersions}
	if s.opts.Describe != nil {
		s.opts.Describe(options)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "mcptest", Version: "1.0.0"}, options)
	s.addTools(server)
	if s.opts.Configure != nil {
		s.opts.Configure(server)
	}
	return server
}

// serve routes, records and applies faults.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	endpoint, h := s.route(r)
	req, status, err := s.record(endpoint, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := wire.NewStatusWriter(w, status)
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, req) })
	if endpoint != EndpointMCP {
		s.faults.Serve(endpoint, serve, out, r)
		return
	}
	byMethod := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.faults.Serve(rpcKey(req.RPCMethod), serve, w, r)
	})
	s.faults.Serve(EndpointMCP, byMethod, out, r)
}

type handler func(w http.ResponseWriter, r *http.Request, req *Request)

func (s *Server) route(r *http.Request) (string, handler) {
	if r.URL.Path == s.opts.Path {
		return EndpointMCP, s.serveMCP
	}
	if resource, ok := s.metadataAt(r.URL.Path); ok {
		return EndpointMetadata, func(w http.ResponseWriter, r *http.Request, _ *Request) {
			s.serveMetadata(w, r, resource)
		}
	}
	return EndpointOther, func(w http.ResponseWriter, r *http.Request, _ *Request) { http.NotFound(w, r) }
}
