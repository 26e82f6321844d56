package authtest

import (
	"net/http"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

// FailNext answers the next n requests to an endpoint with status.
func (s *Server) FailNext(endpoint string, n, status int) {
	s.faults.Next(endpoint, n, wire.Status(status))
}

// FailNextWith answers the next n requests to an endpoint with h, for instance
// one of [StatusOutage], [OAuthError], [MalformedJSON].
func (s *Server) FailNextWith(endpoint string, n int, h http.HandlerFunc) {
	s.faults.Next(endpoint, n, h)
}

// SetOutage answers every request to an endpoint with h; nil ends the outage.
func (s *Server) SetOutage(endpoint string, h http.HandlerFunc) {
	s.faults.Outage(endpoint, h)
}

// DropNext serves the next n requests to an endpoint completely, but cuts the
// connection instead of answering. A refresh token is rotated then, and the
// client never sees the new one.
func (s *Server) DropNext(endpoint string, n int) { s.faults.Drop(endpoint, n) }

// SetDelay makes an endpoint slow; 0 makes it fast again.
func (s *Server) SetDelay(endpoint string, d time.Duration) { s.faults.Delay(endpoint, d) }

// Block holds the requests to an endpoint until release is called, which
// serves the waiting requests. release may be called more than once.
func (s *Server) Block(endpoint string) (release func()) { return s.faults.Block(endpoint) }

// Held tells how many requests are held by Block. One whose client has gone is
// given up, a moment later.
func (s *Server) Held() int { return s.faults.Held() }

// StatusOutage answers with status and a short text body.
func StatusOutage(status int) http.HandlerFunc { return wire.Status(status) }

// MalformedJSON answers 200 with JSON that ends too early.
func MalformedJSON() http.HandlerFunc { return wire.MalformedJSON() }

// Abort cuts the connection without serving the request.
func Abort() http.HandlerFunc { return wire.Abort() }

// Body answers with status and body, for instance one that holds a canary
// secret which must not reach a log.
func Body(status int, contentType, body string) http.HandlerFunc {
	return wire.Body(status, contentType, body)
}

// OAuthError answers with an error of RFC 6749 section 5.2.
func OAuthError(status int, code, description string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		(&oauthError{status: status, code: code, description: description}).write(w)
	}
}

// Faults returns the faults by endpoint, for a kit that is built on this one.
func (s *Server) Faults() *wire.Faults { return &s.faults }
