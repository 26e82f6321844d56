package httpapi_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/session"
	"github.com/mcpoauth/mcpoauth/store"
)

// watched is a store that notes what is asked of it, by operation and kind of
// record.
type watched struct {
	store.SessionStore
	mu  sync.Mutex
	ops []string
}

func (s *watched) note(op, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, _, _ := strings.Cut(key, ":")
	s.ops = append(s.ops, op+" "+kind)
}

// asked returns what was asked since the last time.
func (s *watched) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

func (s *watched) Get(ctx context.Context, key string) ([]byte, time.Time, error) {
	s.note("get", key)
	return s.SessionStore.Get(ctx, key)
}

func (s *watched) Swap(ctx context.Context, key string, old, new []byte, expiry time.Time) error {
	s.note("swap", key)
	return s.SessionStore.Swap(ctx, key, old, new, expiry)
}

func (s *watched) Extend(ctx context.Context, key string, expiry time.Time) error {
	s.note("extend", key)
	return s.SessionStore.Extend(ctx, key, expiry)
}

func (s *watched) Delete(ctx context.Context, key string) error {
	s.note("delete", key)
	return s.SessionStore.Delete(ctx, key)
}

func (s *watched) Lock(ctx context.Context, key string, ttl time.Duration) (func(), error) {
	s.note("lock", key)
	return s.SessionStore.Lock(ctx, key, ttl)
}

// On every route a session of another user, one that never was, one that has
// ended and one that cannot be are one answer, byte for byte, and the same
// work: the store is asked the same, once.
func TestNotFound_ForeignUnknownAndEndedSessionsGetOneAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	spy := &watched{SessionStore: w.store}
	var offset atomic.Int64
	h := w.replica(t, byHeader, func(c *session.Config) {
		c.Store, c.SealKeys = spy, [][]byte{bytes.Repeat([]byte{1}, 32)}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	}, func(c *httpapi.Config) { c.RequestsPerMinute = 0 }) // the default
	alice, bob := w.browser(t, "alice"), w.browser(t, "bob")
	expired := alice.authorized()
	offset.Add(int64(25 * time.Hour))
	mine, removed, begun := alice.authorized(), alice.authorized(), bob.connect().AuthRequired.SessionID
	foreign := bob.authorized()
	require.Equal(t, 200, alice.send("POST", pathDisconnect, `{"sessionId":"`+removed+`"}`).status)
	require.Equal(t, 200, alice.list(mine).status)
	require.Equal(t, 200, bob.list(foreign).status)

	routes := map[string]func(id string) *http.Request{
		"status": func(id string) *http.Request { return httptest.NewRequest("GET", pathStatus+"?sessionId="+id, nil) },
		"list":   func(id string) *http.Request { return httptest.NewRequest("GET", pathList+"?sessionId="+id, nil) },
		"call":   func(id string) *http.Request { return jsonRequest(pathCall, callBody(t, id, "echo", `{}`)) },
		"waiting": func(id string) *http.Request {
			return httptest.NewRequest("GET", pathStatus+"?wait=25&sessionId="+id, nil)
		},
		"input": func(id string) *http.Request {
			return jsonRequest(pathInput, strings.Replace(anyInput, `"s"`, `"`+id+`"`, 1))
		},
		"disconnect": func(id string) *http.Request { return jsonRequest(pathDisconnect, `{"sessionId":"`+id+`"}`) },
		"stream": func(id string) *http.Request {
			r := jsonRequest(pathCall, callBody(t, id, "echo", `{}`))
			r.Header.Set("Accept", "text/event-stream")
			return r
		},
	}
	for route, request := range routes {
		for name, tc := range map[string]struct {
			id    string
			reads int
		}{
			"another owner's":               {foreign, 1},
			"another owner's, pending":      {begun, 1},
			"unknown":                       {session.GenerateSessionID(), 1},
			"expired":                       {expired, 1},
			"removed":                       {removed, 1},
			"one's own with a wrong secret": {mine[:26] + foreign[26:], 1},
			"another's with one's secret":   {foreign[:26] + mine[26:], 1},
			"malformed":                     {"x", 0}, // the sender knows
			"too long":                      {mine + "A", 0},
			"in small letters":              {strings.ToLower(mine), 0},
		} {
			spy.asked()
			r := request(tc.id)
			r.Header.Set(userHeader, "alice")
			toHost(r, h)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			asked := spy.asked()
			require.Equal(t, 404, rec.Code, "%s: %s", route, name)
			require.Equal(t, `{"error":"There is no such session. Connect again.","code":"session_not_found"}`, rec.Body.String(), "%s: %s", route, name)
			rec.Header().Del("X-Request-Id")
			require.Equal(t, http.Header{
				"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}, "Content-Length": {"79"},
				"X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"no-referrer"},
				"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
			}, rec.Header(), "%s: %s", route, name)
			require.Len(t, asked, tc.reads, "%s: %s: %v", route, name, asked)
			for _, op := range asked {
				require.Equal(t, "get session", op)
			}
		}
	}
	require.Equal(t, 200, alice.list(mine).status, "and nothing has happened to those that are somebody's")
	require.Equal(t, 200, bob.list(foreign).status)
}

func jsonRequest(path, body string) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}
