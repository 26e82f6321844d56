package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

// The names of the endpoints, for [Server.Requests] and the faults.
const (
	EndpointAuthorize = "authorize"
	EndpointToken     = "token"
	EndpointRegister  = "register"
	EndpointRevoke    = "revoke"
	EndpointMetadata  = "metadata"
	// EndpointOther is whatever nothing else answers.
	EndpointOther = "other"
)

// Server is an OAuth authorization server on the loopback interface.
type Server struct {
	opts     Options
	listener *wire.Listener
	issuer   string
	faults   wire.Faults
	identity *ecdsa.PrivateKey // signs ID tokens and assertions
	log      wire.Log[Request]

	mu           sync.Mutex // guards what follows
	clients      map[string]*Client
	codes        map[string]*code
	access       map[string]*accessToken
	refresh      map[string]*refreshToken
	jtis         map[string]struct{} // of assertions and proofs, each good once
	unused       map[string]struct{} // nonces that are good for one proof
	counts       Counts
	accessTTL    time.Duration
	nonce        string
	denials      int
	editMetadata func(map[string]any)
	extra        *http.ServeMux
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
	identity, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("authtest: %w", err)
	}
	s := &Server{
		opts:         opts,
		identity:     identity,
		clients:      make(map[string]*Client),
		codes:        make(map[string]*code),
		access:       make(map[string]*accessToken),
		refresh:      make(map[string]*refreshToken),
		jtis:         make(map[string]struct{}),
		unused:       make(map[string]struct{}),
		accessTTL:    opts.AccessTokenTTL,
		editMetadata: opts.EditMetadata,
		extra:        http.NewServeMux(),
	}
	for _, c := range opts.Clients {
		s.AddClient(c)
	}
	ready := make(chan struct{})
	listener, err := wire.Listen(opts.Addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready // the issuer is known only once the port is
		s.serve(w, r)
	}))
	if err != nil {
		return nil, fmt.Errorf("authtest: %w", err)
	}
	s.listener = listener
	s.issuer = listener.URL() + opts.IssuerPath
	close(ready)
	return s, nil
}

// Close stops the server and cuts every connection.
func (s *Server) Close() { s.listener.Close() }

// URL is the origin of the server, without a trailing slash.
func (s *Server) URL() string { return s.listener.URL() }

// Issuer is the issuer identifier: the origin and [Options.IssuerPath].
func (s *Server) Issuer() string { return s.issuer }

// EndpointURL is the URL of the authorize, token, register or revoke endpoint.
func (s *Server) EndpointURL(endpoint string) string { return s.issuer + "/" + endpoint }

// Handle serves h at pattern, a [http.ServeMux] pattern, on the server's own
// origin. A 2025-03-26 MCP server is its own authorization server that way.
// Requests to h are neither recorded nor faulted. It panics where a pattern
// conflicts with an earlier one.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra.Handle(pattern, h)
}

// serve routes, records and applies faults.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	endpoint, h := s.route(r)
	if endpoint == "" {
		h.ServeHTTP(w, r)
		return
	}
	status, err := s.record(endpoint, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.faults.Serve(endpoint, h, wire.NewStatusWriter(w, status), r)
}

// route names the endpoint a request is for; an empty name is a handler that
// was added with Handle.
func (s *Server) route(r *http.Request) (string, http.Handler) {
	if s.isMetadataPath(r.URL.Path) {
		return EndpointMetadata, http.HandlerFunc(s.serveMetadata)
	}
	if path, ok := strings.CutPrefix(r.URL.Path, s.opts.IssuerPath); ok {
		switch path {
		case "/authorize":
			return EndpointAuthorize, http.HandlerFunc(s.serveAuthorize)
		case "/token":
			return EndpointToken, http.HandlerFunc(s.serveToken)
		case "/register":
			if !s.opts.NoRegistration {
				return EndpointRegister, http.HandlerFunc(s.serveRegister)
			}
		case "/revoke":
			return EndpointRevoke, http.HandlerFunc(s.serveRevoke)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, pattern := s.extra.Handler(r); pattern != "" {
		return "", h
	}
	return EndpointOther, http.NotFoundHandler()
}

// SetAccessTokenTTL changes the life of the access tokens issued from now on.
func (s *Server) SetAccessTokenTTL(ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessTTL = ttl
}

// SetEditMetadata replaces [Options.EditMetadata]; nil changes nothing.
func (s *Server) SetEditMetadata(edit func(doc map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.editMetadata = edit
}
