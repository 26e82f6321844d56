package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/internal/wire"
)

const discovered = `{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":[]},"instructions":"be kind","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}`

// older is a server of one older revision that does not know server/discover.
type older struct {
	version  string
	discover func(w http.ResponseWriter, r *http.Request, m rpc)
	refuse   func(w http.ResponseWriter, m rpc) // other revisions
}

func (o older) answer(w http.ResponseWriter, r *http.Request, m rpc) {
	var p struct{ ProtocolVersion string }
	_ = json.Unmarshal(m.Params, &p)
	switch {
	case m.Method == "server/discover" && o.discover != nil:
		o.discover(w, r, m)
	case m.Method == "initialize" && o.refuse != nil && p.ProtocolVersion != o.version:
		o.refuse(w, m)
	case m.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", "S")
		result(w, m, `{"protocolVersion":"`+o.version+`","capabilities":{},"serverInfo":{"name":"s"},"instructions":"be kind"}`)
	case m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		fail(w, 200, m, `{"code":-32601,"message":"Method not found"}`)
	}
}

// The newest revision takes one request, and the server's words are kept.
func TestDiscover(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, discovered) })
	op := f.NewOp()
	op.OnProgress = func(mcp.ProgressNotificationParams) {}
	conn, err := f.Negotiate(t.Context(), op, false)
	require.NoError(t, err)
	require.NotContains(t, f.request(0).Body, "progressToken", "progress is that of a call")
	require.Equal(t, &wire.Conn{Version: "2026-07-28", Capabilities: []byte(`{"tools":[]}`), ServerInfo: []byte(`{"name":"s"}`), Instructions: "be kind"}, conn)
	require.Equal(t, []string{"server/discover"}, f.requests())
	require.Equal(t, "server/discover", f.request(0).Header.Get("Mcp-Method"))
	require.Less(t, op.MaxBytes, f.MaxBytes)
	require.False(t, op.Sent)
	text, err := json.Marshal(conn)
	require.NoError(t, err)
	var again wire.Conn
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, *conn, again)
}

// After an answer that no server of the newest revision gives, the client sends
// initialize.
func TestFallBack(t *testing.T) {
	t.Parallel()
	for name, discover := range map[string]func(w http.ResponseWriter, r *http.Request, m rpc){
		"method not found":   nil,
		"400 text":           func(w http.ResponseWriter, _ *http.Request, _ rpc) { http.Error(w, "no session", 400) },
		"404":                func(w http.ResponseWriter, r *http.Request, _ rpc) { http.NotFound(w, r) },
		"405":                func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(405) },
		"408":                func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(408) },
		"500 with RPC error": func(w http.ResponseWriter, _ *http.Request, m rpc) { fail(w, 500, m, `{"code":-32603,"message":"?"}`) },
		"older revisions": func(w http.ResponseWriter, _ *http.Request, m rpc) {
			result(w, m, `{"supportedVersions":["2025-06-18"]}`)
		},
		"only the oldest": func(w http.ResponseWriter, _ *http.Request, m rpc) {
			result(w, m, `{"supportedVersions":["2024-11-05"]}`)
		},
		"unsupported": func(w http.ResponseWriter, _ *http.Request, m rpc) {
			fail(w, 400, m, `{"code":-32022,"message":"?","data":{"supported":["2025-06-18"],"requested":"2026-07-28"}}`)
		},
		"result of another":     func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, `{}`) },
		"null result":           func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, `null`) },
		"202":                   func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(202) },
		"stream without answer": func(w http.ResponseWriter, _ *http.Request, m rpc) { stream(w, m, ": x\n\n") },
		"silence":               func(_ http.ResponseWriter, r *http.Request, _ rpc) { <-r.Context().Done() },
		"silent stream": func(w http.ResponseWriter, r *http.Request, m rpc) {
			stream(w, m, ": x\n\n")
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, older{version: "2025-06-18", discover: discover}.answer)
			f.DiscoverTimeout = 2 * time.Second // in which the request arrives
			conn, err := f.Negotiate(t.Context(), f.NewOp(), false)
			require.NoError(t, err)
			require.Equal(t, &wire.Conn{Version: "2025-06-18", Capabilities: []byte(`{}`), ServerInfo: []byte(`{"name":"s"}`), Instructions: "be kind", SessionID: "S"}, conn)
			require.Equal(t, []string{"server/discover", "initialize", "notifications/initialized"}, f.requests())
			first, second := f.request(1), f.request(2)
			require.Empty(t, first.Header.Values("Mcp-Protocol-Version"))
			require.Empty(t, first.Header.Values("Mcp-Session-Id"))
			require.Contains(t, string(first.Params), `"capabilities":{},"clientInfo":{"name":"test","version":"1"}`)
			require.Equal(t, "2025-06-18", second.Header.Get("Mcp-Protocol-Version"))
			require.Equal(t, "S", second.Header.Get("Mcp-Session-Id"))
		})
	}
}

// Refusals that say nothing about the revision end the negotiation.
func TestNoFallBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		discover func(w http.ResponseWriter, m rpc)
		want     error
	}{
		"401":                   {func(w http.ResponseWriter, _ rpc) { w.WriteHeader(401) }, nil},
		"403":                   {func(w http.ResponseWriter, _ rpc) { w.WriteHeader(403) }, nil},
		"429":                   {func(w http.ResponseWriter, m rpc) { fail(w, 429, m, `{"code":-32000,"message":"slow down"}`) }, nil},
		"500":                   {func(w http.ResponseWriter, _ rpc) { w.WriteHeader(500) }, nil},
		"redirect":              {func(w http.ResponseWriter, _ rpc) { w.Header().Set("Location", "/"); w.WriteHeader(302) }, wire.ErrRedirect},
		"header mismatch":       {func(w http.ResponseWriter, m rpc) { fail(w, 400, m, `{"code":-32020,"message":"?"}`) }, nil},
		"capability":            {func(w http.ResponseWriter, m rpc) { fail(w, 400, m, `{"code":-32021,"message":"?"}`) }, nil},
		"only future revisions": {func(w http.ResponseWriter, m rpc) { result(w, m, `{"supportedVersions":["2027-01-01"]}`) }, wire.ErrNoVersion},
		"unsupported, future": {func(w http.ResponseWriter, m rpc) {
			fail(w, 400, m, `{"code":-32022,"message":"?","data":{"supported":["2027-01-01"]}}`)
		}, wire.ErrNoVersion},
		"unsupported, unnamed": {func(w http.ResponseWriter, m rpc) { fail(w, 400, m, `{"code":-32022,"message":"?"}`) }, wire.ErrNoVersion},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, older{version: "2025-06-18", discover: func(w http.ResponseWriter, _ *http.Request, m rpc) { tc.discover(w, m) }}.answer)
			_, err := f.Negotiate(t.Context(), f.NewOp(), false)
			require.Error(t, err)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
			require.Equal(t, []string{"server/discover"}, f.requests())
		})
	}
}

// The caller's own deadline does not lead to initialize.
func TestOwnDeadline(t *testing.T) {
	t.Parallel()
	ctx, expire := newExpiring(t)
	f := newFake(t, older{discover: func(_ http.ResponseWriter, r *http.Request, _ rpc) {
		expire()
		<-r.Context().Done()
	}}.answer)
	_, err := f.Negotiate(ctx, f.NewOp(), false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []string{"server/discover"}, f.requests())
}

// A server that refuses a revision gets the one it names, or the next older
// one.
func TestRefusedRevision(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		version string
		refuse  func(w http.ResponseWriter, m rpc)
		offers  int
	}{
		"400 text": {"2025-03-26", func(w http.ResponseWriter, _ rpc) {
			http.Error(w, "Unsupported protocol version (supported versions: 2025-03-26, 2024-11-05)", 400)
		}, 2},
		"400 RPC": {"2025-06-18", func(w http.ResponseWriter, m rpc) {
			fail(w, 400, m, `{"code":-32000,"message":"Unsupported protocol version (supported versions: 2025-06-18, 2025-03-26, 2024-11-05)"}`)
		}, 2},
		"data": {"2025-03-26", func(w http.ResponseWriter, m rpc) {
			fail(w, 200, m, `{"code":-32602,"message":"Unsupported protocol version","data":{"supported":["2025-03-26"],"requested":"2025-11-25"}}`)
		}, 2},
		"the oldest, named": {"2024-11-05", func(w http.ResponseWriter, m rpc) { fail(w, 200, m, `{"code":-32602,"message":"2024-11-05 only"}`) }, 2},
		"names what it refuses": {"2025-03-26", func(w http.ResponseWriter, m rpc) {
			fail(w, 200, m, `{"code":-32602,"message":"no 2025-11-25, no 2025-06-18"}`)
		}, 3},
		"400 without a revision": {"2025-03-26", func(w http.ResponseWriter, _ rpc) { w.WriteHeader(400) }, 3},
		"200, a word about it":   {"2025-06-18", func(w http.ResponseWriter, m rpc) { fail(w, 200, m, `{"code":-32602,"message":"Bad protocolVersion"}`) }, 2},
		"422 without a revision": {"2025-06-18", func(w http.ResponseWriter, _ rpc) { w.WriteHeader(422) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, older{version: tc.version, refuse: tc.refuse}.answer)
			conn, err := f.Negotiate(t.Context(), f.NewOp(), false)
			require.NoError(t, err)
			require.Equal(t, tc.version, conn.Version)
			require.Equal(t, tc.offers, strings.Count(strings.Join(f.requests(), " "), "initialize "))
		})
	}
}

// Offering ends, each revision at most once, and says why.
func TestNoRevisionInCommon(t *testing.T) {
	t.Parallel()
	f := newFake(t, older{version: "2024-11-05", refuse: func(w http.ResponseWriter, m rpc) {
		fail(w, 400, m, `{"code":-32602,"message":"?","data":{"supported":["2023-01-01"]}}`)
	}}.answer)
	_, err := f.Negotiate(t.Context(), f.NewOp(), false)
	require.ErrorIs(t, err, wire.ErrNoVersion)
	require.ErrorContains(t, err, "-32602")
	require.Len(t, f.requests(), 2)

	for _, status := range []int{401, 403, 429, 500} {
		f = newFake(t, older{version: "x", refuse: func(w http.ResponseWriter, _ rpc) { w.WriteHeader(status) }}.answer)
		_, err = f.Negotiate(t.Context(), f.NewOp(), false)
		require.Error(t, err)
		require.Len(t, f.requests(), 2, status)
	}
	f = newFake(t, older{version: "x", refuse: func(w http.ResponseWriter, m rpc) { fail(w, 200, m, `{"code":-32603,"message":"out of order"}`) }}.answer)
	_, err = f.Negotiate(t.Context(), f.NewOp(), false)
	require.ErrorContains(t, err, "out of order")
	require.Len(t, f.requests(), 2)

	// A session of a revision that the client does not know is ended.
	f = newFake(t, older{version: "2099-01-01"}.answer)
	_, err = f.Negotiate(t.Context(), f.NewOp(), false)
	require.ErrorIs(t, err, wire.ErrNoVersion)
	require.Equal(t, []string{"server/discover", "initialize", "DELETE"}, f.requests())
	require.Equal(t, "S", f.request(2).Header.Get("Mcp-Session-Id"))
}

// A server known to be older is not asked for the newest revision, unless it
// refuses initialize.
func TestOlderServerIsNotAskedForTheNewestRevision(t *testing.T) {
	t.Parallel()
	f := newFake(t, older{version: "2025-06-18"}.answer)
	_, err := f.Negotiate(t.Context(), f.NewOp(), true)
	require.NoError(t, err)
	require.Equal(t, []string{"initialize", "notifications/initialized"}, f.requests())

	f = newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
		if m.Method == "server/discover" {
			result(w, m, discovered)
			return
		}
		fail(w, 400, m, `{"code":-32022,"message":"?","data":{"supported":["2026-07-28"]}}`)
	})
	conn, err := f.Negotiate(t.Context(), f.NewOp(), true)
	require.NoError(t, err)
	require.Equal(t, "2026-07-28", conn.Version)
	require.Equal(t, []string{"initialize", "server/discover"}, f.requests())
}

// A refused notifications/initialized is no failure; a refusal of the client's
// own is, and ends the session.
func TestInitialized_RefusalIsNoFailure(t *testing.T) {
	t.Parallel()
	serve := older{version: "2025-06-18"}.answer
	for _, status := range []int{200, 204, 400, 404, 500} {
		f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
			if m.Method == "notifications/initialized" {
				w.WriteHeader(status)
				return
			}
			serve(w, r, m)
		})
		_, err := f.Negotiate(t.Context(), f.NewOp(), true)
		require.NoError(t, err)
	}
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		if m.Method == "notifications/initialized" {
			panic(http.ErrAbortHandler)
		}
		serve(w, r, m)
	})
	_, err := f.Negotiate(t.Context(), f.NewOp(), true)
	require.NoError(t, err)

	f = newFake(t, serve)
	refusal := errors.New("authorization required")
	n, base := 0, f.HTTP.Transport
	f.HTTP.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if n++; n == 2 {
			return nil, refusal
		}
		return base.RoundTrip(r)
	})
	_, err = f.Negotiate(t.Context(), f.NewOp(), true)
	require.ErrorIs(t, err, refusal)
	require.Equal(t, []string{"initialize", "DELETE"}, f.requests())
}

// Answers to initialize that other types would refuse are taken.
func TestLenientInitialize(t *testing.T) {
	t.Parallel()
	for _, capabilities := range []string{`{"tools":[]}`, `[]`, `null`, `{"tools":true}`} {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) {
			result(w, m, `{"protocolVersion":"2025-06-18","capabilities":`+capabilities+`,"serverInfo":[],"instructions":7}`)
		})
		conn, err := f.Negotiate(t.Context(), f.NewOp(), true)
		require.NoError(t, err)
		require.Equal(t, capabilities, string(conn.Capabilities))
		require.Empty(t, conn.Instructions)
	}
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, `{}`) })
	conn, err := f.Negotiate(t.Context(), f.NewOp(), true)
	require.NoError(t, err)
	require.Equal(t, "2025-11-25", conn.Version)
	for _, text := range []string{`null`, `[]`, `"2025-06-18"`} {
		f = newFake(t, func(w http.ResponseWriter, _ *http.Request, m rpc) { result(w, m, text) })
		_, err = f.Negotiate(t.Context(), f.NewOp(), true)
		requireMalformed(t, err, "initialize")
	}
}

// A server of the HTTP+SSE transport is recognized by the first event of a GET.
func TestOldTransport(t *testing.T) {
	t.Parallel()
	for _, status := range []int{404, 405} {
		for body, want := range map[string]bool{
			"event: endpoint\ndata: /messages?sessionId=1\n\n": true, ": hi\r\n\r\nevent:endpoint\r\ndata:/messages\r\n\r\n": true,
			"data: {}\n\n": false, "": false,
		} {
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
				if r.Method != http.MethodGet {
					w.WriteHeader(status)
					return
				}
				stream(w, m, body)
				if body != "" {
					<-r.Context().Done()
				}
			})
			_, err := f.Negotiate(t.Context(), f.NewOp(), false)
			require.Equal(t, want, errors.Is(err, wire.ErrOldTransport), body)
			require.Error(t, err)
			require.Equal(t, []string{"server/discover", "initialize", "GET"}, f.requests())
		}
	}
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, _ rpc) { w.WriteHeader(404) })
	_, err := f.Negotiate(t.Context(), f.NewOp(), false)
	var status *wire.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, 404, status.Status)
}

// A session is ended with DELETE; what the server says about it matters little.
func TestEndSendsDelete(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{200: true, 204: true, 404: true, 405: true, 410: true, 400: false, 500: false} {
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, _ rpc) { w.WriteHeader(status) })
		err := f.End(t.Context(), connOf("2025-06-18"))
		require.Equal(t, want, err == nil, status)
		require.Equal(t, []string{"DELETE"}, f.requests())
		require.Equal(t, "SESSION-C4N4RY", f.request(0).Header.Get("Mcp-Session-Id"))
		require.Equal(t, "2025-06-18", f.request(0).Header.Get("Mcp-Protocol-Version"))
		require.NoError(t, f.End(t.Context(), connOf("2026-07-28")))
		require.Len(t, f.requests(), 1)
	}
}

// Only the server's time counts against DiscoverTimeout: authorizing in between
// may take longer.
func TestDiscoverTimeoutIsTheServers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient("https://mcp.example")
		c.DiscoverTimeout = 5 * time.Second
		asked := 0
		server := func(r *http.Request) (*http.Response, error) {
			var m rpc
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				return nil, err
			}
			asked++
			time.Sleep(4 * time.Second)
			rec := httptest.NewRecorder()
			result(rec, m, discovered)
			return rec.Result(), r.Context().Err()
		}
		c.HTTP.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if _, err := server(r); err != nil { // refused without a token
				return nil, err
			}
			time.Sleep(7 * time.Second) // the user's authorization server is slow
			again := r.Clone(r.Context())
			again.Header.Set("Authorization", "Bearer x")
			var err error
			if again.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
			return server(again)
		})
		conn, err := c.Negotiate(t.Context(), c.NewOp(), false)
		require.NoError(t, err)
		require.Equal(t, "2026-07-28", conn.Version)
		require.Equal(t, 2, asked)
	})
}
