package authtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const maxBody = 1 << 20

// Request is what the server was sent.
type Request struct {
	// Endpoint is one of the Endpoint constants.
	Endpoint string
	Method   string
	Path     string
	Header   http.Header
	Query    url.Values
	// Form is the decoded form body, without the query.
	Form url.Values
	// JSON is the decoded JSON body, with numbers as [json.Number].
	JSON map[string]any
	Body []byte
	Time time.Time
	// Status is that of the answer; 0 when there was none (yet).
	Status int
}

// Get returns the first value of a parameter, from the form or else the query.
func (r Request) Get(key string) string {
	if r.Form.Has(key) {
		return r.Form.Get(key)
	}
	return r.Query.Get(key)
}

// Counts says how often something succeeded.
type Counts struct {
	Registrations  int
	Authorizations int // codes issued
	Denials        int
	Exchanges      int
	Refreshes      int
	Revocations    int // requests accepted, unknown tokens included (RFC 7009)
	// ReuseDetected counts refresh tokens that were presented after their
	// rotation; each revoked its whole family of tokens.
	ReuseDetected int
	// CodesReused counts codes that were presented again; each revoked the
	// tokens issued from it.
	CodesReused int
}

// Counts returns what succeeded since the start or the last Reset.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Requests returns the requests to an endpoint, oldest first; an empty name
// returns those to every endpoint. Refused and faulted ones are included.
func (s *Server) Requests(endpoint string) []Request {
	return s.log.Select(func(r *Request) bool { return endpoint == "" || r.Endpoint == endpoint })
}

// TokenRequests returns the token requests with a grant type
// ("authorization_code", "refresh_token"), refused and faulted ones included.
func (s *Server) TokenRequests(grantType string) []Request {
	return s.log.Select(func(r *Request) bool {
		return r.Endpoint == EndpointToken && r.Form.Get("grant_type") == grantType
	})
}

// Reset forgets the recorded requests, the counts and the faults. Clients and
// tokens stay.
func (s *Server) Reset() {
	s.log.Reset()
	s.faults.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = Counts{}
	s.denials = 0
}

// record logs r, leaving its body readable, and returns where to report the
// status of the answer.
func (s *Server) record(endpoint string, r *http.Request) (status func(int), err error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("authtest: read body: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if s.opts.DiscardRequests {
		return func(int) {}, nil
	}
	query, _ := url.ParseQuery(r.URL.RawQuery)
	req := Request{
		Endpoint: endpoint,
		Method:   r.Method,
		Path:     r.URL.Path,
		Header:   r.Header.Clone(),
		Query:    query,
		Body:     body,
		Time:     s.opts.Now(),
	}
	switch mediaType(r) {
	case "application/x-www-form-urlencoded":
		req.Form, _ = url.ParseQuery(string(body))
	case "application/json":
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		_ = dec.Decode(&req.JSON)
	}
	edit := s.log.Add(req)
	return func(status int) { edit(func(r *Request) { r.Status = status }) }, nil
}

// count changes the counters.
func (s *Server) count(change func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}
