// Package loadtest is a load of many users who work through the replicas of a host
// while parts of it fail. In the end every session has to work, and the
// authorization server must not have seen a refresh token or a code twice.
package loadtest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

const (
	// PublicURL is where the host is.
	PublicURL = "https://app.example"
	// Patience bounds what should happen soon, on a busy machine.
	Patience = 60 * time.Second

	apiPrefix  = "/api/mcp"
	userHeader = "X-User" // stands for the host's own login
)

// Replica is one process of a web application, or a part of this process that
// stands for one.
type Replica struct {
	Name    string
	Base    string // of its URLs
	Client  http.RoundTripper
	Manager *session.Manager   // nil for a process of its own
	Store   store.SessionStore // likewise
}

// NewReplica returns a replica in this process.
func NewReplica(t testing.TB, name string, m *session.Manager, s store.SessionStore) *Replica {
	t.Helper()
	api, err := httpapi.New(m, APIConfig())
	require.NoError(t, err)
	return &Replica{Name: name, Base: PublicURL, Client: direct{api}, Manager: m, Store: s}
}

// APIConfig is the configuration of each replica.
func APIConfig() httpapi.Config {
	return httpapi.Config{
		PublicURL:         PublicURL,
		ConnectsPerMinute: -1, CallbacksPerMinute: -1, RequestsPerMinute: -1,
		Identify: func(r *http.Request) (string, error) {
			if user := r.Header.Get(userHeader); user != "" {
				return user, nil
			}
			return "", errors.New("no user is signed in")
		},
	}
}

// direct is a network without a wire.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "192.0.2.1:1234"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	d.handler.ServeHTTP(rec, in)
	return rec.Result(), nil
}

// Eventually polls, because real processes and networks take their time.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNow(t, "it did not happen: "+what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
