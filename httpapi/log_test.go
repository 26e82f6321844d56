package httpapi_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mcpoauth/mcpoauth/httpapi"
	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/internal/testlog"
	"github.com/mcpoauth/mcpoauth/oauthclient"
	"github.com/mcpoauth/mcpoauth/session"
)

// lines returns the lines of a log at a level and above that have a text.
func lines(log, text string, levels ...string) (found []string) {
	for line := range strings.Lines(log) {
		for _, level := range levels {
			if strings.Contains(line, "level="+level) && strings.Contains(line, text) {
				found = append(found, line)
			}
		}
	}
	return found
}

// A failure is one line, which names server, session, tool and the server's words.
func TestLogNamesAFailureOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader)
	alice := w.browser(t, "alice")
	id := alice.authorized()
	require.Equal(t, 200, alice.call(id, "echo", "{}").status)
	before := len(w.log.String())
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "the pump is broken", http.StatusInternalServerError)
	})
	require.Equal(t, 502, alice.call(id, "echo", "{}").status)

	found := lines(w.log.String()[before:], "", "INFO", "WARN", "ERROR")
	require.Len(t, found, 1, "%s", found)
	for _, want := range []string{"level=WARN", "endpoint=call_tool", "session=" + id[:26], "server=" + oauthclient.ServerHost(w.mcp.URL()), "tool=echo", "code=upstream_unavailable", "the pump is broken"} {
		require.Contains(t, found[0], want)
	}
	require.NotContains(t, w.log.String(), id[26:])
}

func TestDebugLogShowsTheAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, authtest.Options{}, mcptest.Options{RequiredScopes: []string{"notes:read"}})
	w.replica(t, byHeader)
	id := w.browser(t, "alice").authorized()
	for text, want := range map[string][]string{
		"asks for authorization": {"status=401", "scopes=notes:read", "resource_metadata=http", "session=" + id[:26], "server="},
		"registered a client":    {"issuer=" + w.as.Issuer(), "client_id=", "auth_method="},
		"authorization begun":    {"scopes=", "notes:read", "reason=first_time"},
		"sent a request":         {"method=POST", "status=200", "took="},
		"code=requires_auth":     {"reason=first_time", "session=" + id[:26]},
	} {
		found := lines(w.log.String(), text, "DEBUG")
		require.NotEmpty(t, found, text)
		for _, want := range want {
			require.Contains(t, strings.Join(found, ""), want, text)
		}
	}
}

func TestRefusedRequestsDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, log := newFake(t, &fake{}, byUser, func(c *httpapi.Config) { c.RequestsPerMinute = 1 })
		refuse := func(n int) {
			for range n {
				request(t, h, "GET", pathList+"?sessionId=x", "", userHeader, "mallory")
			}
		}
		time.Sleep(time.Minute - time.Duration(time.Now().Second())*time.Second)
		refuse(2001)
		require.Len(t, lines(log.String(), "code=rate_limited", "INFO"), 10)
		// Failures of another kind are seen all the same.
		require.Equal(t, 404, request(t, h, "GET", "/api/mcp/nothing", "").Code)
		require.Len(t, lines(log.String(), "code=not_found", "DEBUG"), 1)
		time.Sleep(time.Minute)
		require.Equal(t, 404, request(t, h, "GET", "/api/mcp/nothing", "").Code)
		found := lines(log.String(), "further requests failed in a minute", "WARN")
		require.Len(t, found, 1)
		require.Contains(t, found[0], "count=1990 endpoint=list_tools code=rate_limited")
	})
}

// The kinds of failures that are counted in a minute are bounded.
func TestFailureKindsAreBounded(t *testing.T) {
	t.Parallel()
	n := httpapi.CountFailureKinds(5000)
	require.LessOrEqual(t, n, 1001)
}

//nolint:paralleltest // sets the process's default logger
func TestDefaultLogger(t *testing.T) {
	log, before := new(testlog.Buffer), slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	defer slog.SetDefault(before)
	w := newWorld(t, authtest.Options{}, mcptest.Options{})
	w.replica(t, byHeader, func(c *session.Config) { c.Logger = nil }, func(c *httpapi.Config) { c.Logger = nil })
	alice := w.browser(t, "alice")
	id := alice.authorized()
	w.mcp.SetOutage(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) })
	require.Equal(t, 502, alice.call(id, "echo", "{}").status)
	require.Len(t, lines(log.String(), "mcpoauth: request failed", "WARN"), 1)
	require.Len(t, lines(log.String(), "mcpoauth: authorized", "INFO"), 1)
}
