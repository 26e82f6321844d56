package mcptest

import (
	"net/http"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

// rpcKey is the fault key of a JSON-RPC method.
func rpcKey(method string) string { return "rpc:" + method }

// Faults returns the faults, for a kit that is built on this one. A key is an
// endpoint, or "rpc:" and a JSON-RPC method.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// FailNext answers the next n requests to the MCP endpoint with status, and
// with Retry-After when retryAfter is not zero.
func (s *Server) FailNext(n, status int, retryAfter time.Duration) {
	s.faults.Next(EndpointMCP, n, wire.StatusRetryAfter(status, retryAfter))
}

// FailNextRPC is [Server.FailNext] for one JSON-RPC method.
func (s *Server) FailNextRPC(rpcMethod string, n, status int, retryAfter time.Duration) {
	s.faults.Next(rpcKey(rpcMethod), n, wire.StatusRetryAfter(status, retryAfter))
}

// SetOutage answers every request to the MCP endpoint with h; nil ends the
// outage.
func (s *Server) SetOutage(h http.HandlerFunc) { s.faults.Outage(EndpointMCP, h) }

// SetMetadataOutage is [Server.SetOutage] for the protected resource metadata.
func (s *Server) SetMetadataOutage(h http.HandlerFunc) { s.faults.Outage(EndpointMetadata, h) }

// DropNextRPC serves the next n requests with a JSON-RPC method completely, but
// cuts the connection instead of answering.
func (s *Server) DropNextRPC(rpcMethod string, n int) { s.faults.Drop(rpcKey(rpcMethod), n) }

// SetDelay makes the MCP endpoint slow; 0 makes it fast again.
func (s *Server) SetDelay(d time.Duration) { s.faults.Delay(EndpointMCP, d) }

// Block holds every request to the MCP endpoint until release is called, which
// serves the waiting requests. release may be called more than once.
func (s *Server) Block() (release func()) { return s.faults.Block(EndpointMCP) }

// BlockRPC is [Server.Block] for one JSON-RPC method.
func (s *Server) BlockRPC(rpcMethod string) (release func()) {
	return s.faults.Block(rpcKey(rpcMethod))
}

// RejectNext answers the next n requests to the MCP endpoint with 401 and the
// challenge, however good their token is.
func (s *Server) RejectNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejects = n
}

func (s *Server) rejectsNext() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rejects == 0 {
		return false
	}
	s.rejects--
	return true
}
