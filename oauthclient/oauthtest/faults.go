package oauthtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest/wire"
)

// Faults says which requests fail, and how. A key is one of the Endpoint
// constants, [EveryEndpoint] or, on an [MCPServer], a JSON-RPC method such as
// "tools/call".
type Faults map[string]Fault

// EveryEndpoint is the key for all endpoints of a server that have no key of their
// own: an outage of the whole server. [Fault.Times] counts for each by itself.
const EveryEndpoint = "*"

// Fault is how requests fail. The zero value does not fail.
type Fault struct {
	// Times is how many requests fail. Delay does not count: it holds for every
	// request. Defaults to all, until the faults are set again.
	Times int
	// Status is what the server answers in place of serving the request.
	// Defaults to 400 with OAuthError, to 200 with Body, else to no such answer.
	Status int
	// RetryAfter is the header of that answer, rounded up to seconds. Defaults to
	// no header.
	RetryAfter time.Duration
	// OAuthError is the error code of an OAuth answer (RFC 6749 section 5.2),
	// such as "invalid_grant". Defaults to none.
	OAuthError string
	// Body is the body of that answer. Its type is JSON, also if it is not valid.
	// Defaults to the name of the status.
	Body string
	// Cut cuts the connection before the server does anything.
	Cut bool
	// CutAnswer lets the server do all its work, such as rotating a refresh
	// token, and cuts the connection in place of the answer.
	CutAnswer bool
	// Delay is how long the server waits first. Defaults to no delay.
	Delay time.Duration
}

// set replaces the faults of a server with these endpoints. key translates a key,
// or returns "" for a key that the server does not have.
func (f Faults) set(of *wire.Faults, endpoints []string, key func(string) string) {
	f = f.onEach(endpoints)
	for name := range f {
		if key(name) == "" {
			panic(fmt.Sprintf("oauthtest: Faults: this server has no %q", name))
		}
	}
	of.Reset()
	for name, fault := range f {
		at := key(name)
		of.Delay(at, fault.Delay)
		answer := fault.answer()
		switch {
		case fault.CutAnswer && fault.Times > 0:
			of.Drop(at, fault.Times)
		case fault.CutAnswer:
			of.Drop(at, math.MaxInt)
		case answer != nil && fault.Times > 0:
			of.Next(at, fault.Times, answer)
		case answer != nil:
			of.Outage(at, answer)
		}
	}
}

// onEach returns the faults with those of [EveryEndpoint] at each endpoint.
func (f Faults) onEach(endpoints []string) Faults {
	every, ok := f[EveryEndpoint]
	if !ok {
		return f
	}
	f = maps.Clone(f)
	delete(f, EveryEndpoint)
	for _, name := range endpoints {
		if _, has := f[name]; !has {
			f[name] = every
		}
	}
	return f
}

// answer is what the server answers without doing anything; nil for nothing.
func (f Fault) answer() http.HandlerFunc {
	status, body := f.Status, f.Body
	switch {
	case f.Cut:
		return wire.Abort()
	case f.OAuthError != "" && body == "":
		text, _ := json.Marshal(map[string]string{"error": f.OAuthError})
		body = string(text)
		if status == 0 {
			status = http.StatusBadRequest
		}
	case body != "" && status == 0:
		status = http.StatusOK
	}
	if status == 0 {
		return nil
	}
	plain := wire.StatusRetryAfter(status, f.RetryAfter)
	if body == "" {
		return plain
	}
	return func(w http.ResponseWriter, r *http.Request) {
		plain(headerOnly{w}, r)
		wire.Body(status, "application/json", body)(w, r)
	}
}

// headerOnly takes the headers of an answer, and nothing else.
type headerOnly struct{ http.ResponseWriter }

func (headerOnly) WriteHeader(int)             {}
func (headerOnly) Write(b []byte) (int, error) { return len(b), nil }
